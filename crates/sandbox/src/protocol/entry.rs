//! Descriptions of files of an image.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use super::wire::text;

/// The type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO.
    Fifo,
    /// A unix socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
}

/// The description of a file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name without directories; `/` for the root.
    #[serde(with = "text::os")]
    pub name: OsString,
    /// The type.
    pub kind: EntryKind,
    /// The size in bytes.
    pub size: u64,
    /// Type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// The owner, as seen inside.
    pub uid: u32,
    /// The group, as seen inside.
    pub gid: u32,
    /// The time of the last modification, in seconds since 1970.
    pub mtime: i64,
    /// The number of hard links.
    pub nlink: u64,
    /// The target of a symbolic link.
    #[serde(with = "text::optional")]
    pub target: Option<OsString>,
}

/// A file that a walk found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkEntry {
    /// The description of the file.
    pub entry: Entry,
    /// Device and inode. They are equal for all names of one file.
    pub identity: (u64, u64),
}
