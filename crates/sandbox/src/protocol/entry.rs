//! Files of an image, as views describe them.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use super::wire::text;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Kind {
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

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name, without directories; `/` for the root.
    #[serde(with = "text::os")]
    pub name: OsString,
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes.
    pub size: u64,
    /// Type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// Its owner, as seen inside.
    pub uid: u32,
    /// Its group, as seen inside.
    pub gid: u32,
    /// When it was last written to, in seconds since 1970.
    pub mtime: i64,
    /// How many names it has.
    pub nlink: u64,
    /// Where a symbolic link points.
    #[serde(with = "text::optional")]
    pub target: Option<OsString>,
}

/// A file that a walk came by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What it is.
    pub entry: Entry,
    /// Device and inode: names of one file have the same.
    pub identity: (u64, u64),
}
