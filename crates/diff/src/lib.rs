//! Differences between two trees of files.
//!
//! [`compare`] says how one file changed, [`pair_renames`] joins removed and added files of equal
//! content, and [`write_patch`] writes a change in the format of `git apply`. The caller reads the
//! files. [`hunks`] compares two texts.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod change;
mod lines;
mod patch;
mod quote;
mod rename;
mod sha256;
mod summary;

pub use change::{Change, ChangeKind, Node, NodeKind, compare};
pub use lines::hunks;
pub use patch::{Content, Digest, MAX_TEXT_BYTES, needs_content, write_patch};
pub use rename::{Side, pair_renames};
pub use sha256::{sha256, sha256_of};
pub use summary::Summary;

/// The most changes of a comparison. They are held in memory to find renames.
pub const MAX_CHANGES: usize = 500_000;
/// The size at which a page of a patch ends, in bytes.
pub const MAX_PATCH_BYTES: usize = 1024 * 1024;
