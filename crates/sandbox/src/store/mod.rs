//! The store's directory on disk. Nothing here starts a process.
//!
//! It holds:
//!
//! - `idmap`: the ids that its files belong to
//! - `lock`
//! - `layers/<n>/d`: the files of a layer
//! - `layers/<n>/about.jsonl`: the layer's description, in the caller's words
//! - `l/<n>`: short links to layers, for mount(2)
//! - `run/<name>/{lock,L/d,w,m}`: run directories
//! - `sys/<name>/{d,empty}`: descriptions of the machine
//! - directories of the caller
//!
//! A commit renames `L`, which the engine owns. The permissions that a command gave to `/` cannot
//! prevent it.

pub(crate) mod error;
pub(crate) mod layers;
pub(crate) mod layout;
mod machine_view;
pub(crate) mod runs;
