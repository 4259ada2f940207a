//! Hashes of local files, good as long as nothing about a file has changed.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::now;
use contree_sqlite::DbError;

/// How long a hash is kept that nobody asks for, in milliseconds.
const KEPT: i64 = 90 * 24 * 3600 * 1000;

/// All that changes with a file's content, or may.
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

/// The hashes of a path and of all below it.
pub(crate) fn below(
    c: &Connection,
    root: &[u8],
) -> Result<HashMap<Vec<u8>, (FileStamp, String)>, DbError> {
    // `/` sorts right before `0`.
    let (mut from, mut to) = (root.to_vec(), root.to_vec());
    while from.last() == Some(&b'/') {
        from.pop();
        to.pop();
    }
    from.push(b'/');
    to.push(b'0');
    let mut statement = c.prepare_cached(
        "SELECT path, device, inode, size, mtime, ctime, sha256 FROM hashes WHERE path = ?1 OR (path > ?2 AND path < ?3)",
    )?;
    let rows = statement.query_map(params![root, from, to], |row| {
        let stamp = FileStamp {
            device: row.get(1)?,
            inode: row.get(2)?,
            size: row.get(3)?,
            mtime: row.get(4)?,
            ctime: row.get(5)?,
        };
        Ok((row.get(0)?, (stamp, row.get(6)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Remembers a hash.
pub(crate) fn remember(
    c: &Connection,
    path: &[u8],
    stamp: FileStamp,
    sha256: &str,
) -> Result<(), DbError> {
    c.prepare_cached(
        "INSERT OR REPLACE INTO hashes (path, device, inode, size, mtime, ctime, sha256, used_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        path,
        stamp.device,
        stamp.inode,
        stamp.size,
        stamp.mtime,
        stamp.ctime,
        sha256,
        now()
    ])?;
    Ok(())
}

/// Forgets what is gone from a directory, and what was made long ago.
pub(crate) fn prune(c: &Connection, gone: &[Vec<u8>]) -> Result<(), DbError> {
    let mut statement = c.prepare_cached("DELETE FROM hashes WHERE path = ?1")?;
    for path in gone {
        statement.execute(params![path])?;
    }
    c.execute("DELETE FROM hashes WHERE used_at < ?1", [now() - KEPT])?;
    Ok(())
}
