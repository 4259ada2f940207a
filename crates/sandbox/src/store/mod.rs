//! The layers of images on disk. Nothing here starts a process.
//!
//! `idmap` (which ids its files belong to), `lock`, `layers/<n>/d`, `l/<n>` (short names for old
//! mount calls), `run/<name>/{lock,L/d,w,m}` and directories of the caller's. A commit renames `L`,
//! whose owner is the engine, so that what a command did to `/` cannot be in the way.

pub(crate) mod error;
pub(crate) mod layers;
pub(crate) mod layout;
pub(crate) mod runs;
