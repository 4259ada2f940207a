//! Stamps of files, which tell whether a file has changed.

use std::fs::Metadata;

/// Metadata that changes whenever a file's content changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    pub(crate) device: i64,
    pub(crate) inode: i64,
    pub(crate) size: i64,
    /// Nanoseconds since 1970.
    pub(crate) mtime: i64,
    /// Nanoseconds since 1970.
    pub(crate) ctime: i64,
}

#[cfg(unix)]
pub(crate) fn stamp(metadata: &Metadata) -> FileStamp {
    use std::os::unix::fs::MetadataExt as _;
    let nanoseconds =
        |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    FileStamp {
        device: metadata.dev().cast_signed(),
        inode: metadata.ino().cast_signed(),
        size: metadata.size().cast_signed(),
        mtime: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        ctime: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    }
}

#[cfg(not(unix))]
pub(crate) fn stamp(metadata: &Metadata) -> FileStamp {
    let modified = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::SystemTime::UNIX_EPOCH).ok())
        .map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
    FileStamp {
        device: 0,
        inode: 0,
        size: i64::try_from(metadata.len()).unwrap_or(i64::MAX),
        mtime: modified,
        ctime: modified,
    }
}
