//! Files that a backend stores, by SHA-256, with their UUIDs there.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::now;
use contree_sqlite::DatabaseError;

/// Records that a backend stores a file with this SHA-256.
pub(crate) fn insert(
    c: &Connection,
    backend: &str,
    sha256: &str,
    uuid: &str,
) -> Result<(), DatabaseError> {
    c.prepare_cached(
        "INSERT INTO uploads (backend, sha256, uuid, used_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (backend, sha256) DO UPDATE SET uuid = excluded.uuid, used_at = excluded.used_at",
    )?
    .execute(params![backend, sha256, uuid, now()])?;
    Ok(())
}

/// Records whether the path that a file was uploaded from was executable.
pub(crate) fn set_executable(
    c: &Connection,
    backend: &str,
    sha256: &str,
    executable: bool,
) -> Result<(), DatabaseError> {
    c.execute(
        "UPDATE uploads SET executable = ?3 WHERE backend = ?1 AND sha256 = ?2",
        params![backend, sha256, executable],
    )?;
    Ok(())
}

/// Finds the UUID of an uploaded file.
pub(crate) fn find(
    c: &Connection,
    backend: &str,
    sha256: &str,
) -> Result<Option<String>, DatabaseError> {
    Ok(
        c.prepare_cached("SELECT uuid FROM uploads WHERE backend = ?1 AND sha256 = ?2")?
            .query_row([backend, sha256], |row| row.get(0))
            .optional()?,
    )
}

/// Finds the UUIDs of those `wanted` hashes that are uploaded.
pub(crate) fn find_all<'a>(
    c: &Connection,
    backend: &str,
    wanted: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<String, String>, DatabaseError> {
    let mut found = BTreeMap::new();
    for sha256 in wanted {
        if let Some(uuid) = find(c, backend, sha256)? {
            found.insert(sha256.to_owned(), uuid);
        }
    }
    Ok(found)
}

/// Reports whether a file was uploaded from an executable path. An unknown file counts as not
/// executable.
pub(crate) fn is_executable(
    c: &Connection,
    backend: &str,
    uuid: &str,
) -> Result<bool, DatabaseError> {
    let found = c
        .prepare_cached("SELECT executable FROM uploads WHERE backend = ?1 AND uuid = ?2")?
        .query_row([backend, uuid], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Deletes the record of a file that a backend has lost.
///
/// A record used since `checked_at` stays: another call has sent the file again.
pub(crate) fn delete(
    c: &Connection,
    backend: &str,
    sha256: &str,
    checked_at: i64,
) -> Result<(), DatabaseError> {
    c.prepare_cached("DELETE FROM uploads WHERE backend = ?1 AND sha256 = ?2 AND used_at < ?3")?
        .execute(params![backend, sha256, checked_at])?;
    Ok(())
}
