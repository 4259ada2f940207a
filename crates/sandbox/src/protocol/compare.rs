//! The messages of comparing two chains of layers.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::wire::text;

/// A side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ComparedSide {
    /// The base.
    Before,
    /// The chain with the changes.
    After,
}

/// A file that differs between two chains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The path from the root of the comparison, without a leading slash. It is empty for the root
    /// itself.
    #[serde(with = "text::os")]
    pub path: OsString,
    /// The file before. `None` if there was none.
    pub before: Option<Entry>,
    /// The file now. `None` if there is none.
    pub after: Option<Entry>,
    /// True if both are regular files of equal content.
    pub same_content: bool,
}

/// The task of comparing two chains. The directories are topmost first, relative to the store.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CompareBoot {
    /// The layers of the chain with the changes, above the common ones.
    pub after: Vec<PathBuf>,
    /// The layers of the base, above the common ones.
    pub before: Vec<PathBuf>,
    /// The layers that both chains share.
    pub common: Vec<PathBuf>,
    /// The file or directory to compare, absolute.
    #[serde(with = "text::path")]
    pub path: PathBuf,
}

/// A request to a comparison.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum CompareRequest {
    /// Requests the next differences.
    Next,
    /// Opens a regular file of one side. The path is from the root of the comparison.
    Open {
        side: ComparedSide,
        #[serde(with = "text::path")]
        path: PathBuf,
    },
}
