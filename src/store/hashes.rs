//! Cached hashes of local files. A hash is valid while the file's stamp is unchanged.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::now;
use crate::sync::FileStamp;
use contree_sqlite::DatabaseError;

/// How long a hash is kept after it was computed, in milliseconds.
const RETENTION_MS: i64 = 90 * 24 * 3600 * 1000;

/// Finds the hashes of a path and of everything below it.
pub(crate) fn hashes_below(
    c: &Connection,
    root: &[u8],
) -> Result<HashMap<Vec<u8>, (FileStamp, String)>, DatabaseError> {
    // `0` is the byte after `/`, so this range covers exactly the paths below `root`.
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

/// Stores a file's hash.
pub(crate) fn insert(
    c: &Connection,
    path: &[u8],
    stamp: FileStamp,
    sha256: &str,
) -> Result<(), DatabaseError> {
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

/// Deletes the hashes of removed files, and hashes older than [`RETENTION_MS`].
pub(crate) fn prune(c: &Connection, removed: &[Vec<u8>]) -> Result<(), DatabaseError> {
    let mut statement = c.prepare_cached("DELETE FROM hashes WHERE path = ?1")?;
    for path in removed {
        statement.execute(params![path])?;
    }
    c.execute(
        "DELETE FROM hashes WHERE used_at < ?1",
        [now() - RETENTION_MS],
    )?;
    Ok(())
}
