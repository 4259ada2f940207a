//! Copies files of images into local directories: `apply` copies changes, and a download copies a
//! whole directory.
//!
//! Images are not trusted. Nothing is written through a link, and no link that leads out of the
//! directory is made. Contents are staged in a directory of their own, and each file appears by
//! a rename.

mod apply;
mod archive_copy;
mod base;
mod download;
mod link_target;
mod local_tree;
mod merge;
#[cfg(test)]
mod ordinary_user;
mod outcome;
mod perform;
mod plan;
mod rules;
mod staged_contents;
mod staging;
mod tree;
mod unfinished;

pub(crate) use apply::{ApplyRequest, apply};
pub(crate) use archive_copy::CopiedDirectory;
pub(crate) use base::{Base, SentEntry, SentKind};
pub(crate) use download::download_directory;
pub use outcome::{Applied, Conflicts, PathReason};
pub(crate) use rules::WriteRules;
#[cfg(feature = "mcp")]
pub(crate) use unfinished::wait_for_unfinished;
