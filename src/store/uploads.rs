//! Which contents a backend has, and under which UUID.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::now;
use contree_sqlite::DbError;

/// Remembers that a backend has a content.
pub(crate) fn remember(
    c: &Connection,
    backend: &str,
    sha256: &str,
    uuid: &str,
) -> Result<(), DbError> {
    c.prepare_cached(
        "INSERT INTO uploads (backend, sha256, uuid, used_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (backend, sha256) DO UPDATE SET uuid = excluded.uuid, used_at = excluded.used_at",
    )?
    .execute(params![backend, sha256, uuid, now()])?;
    Ok(())
}

/// Remembers whether the path that a content came from was executable.
pub(crate) fn set_executable(
    c: &Connection,
    backend: &str,
    sha256: &str,
    executable: bool,
) -> Result<(), DbError> {
    c.execute(
        "UPDATE uploads SET executable = ?3 WHERE backend = ?1 AND sha256 = ?2",
        params![backend, sha256, executable],
    )?;
    Ok(())
}

/// The UUID of a content, if it is known.
pub(crate) fn find(c: &Connection, backend: &str, sha256: &str) -> Result<Option<String>, DbError> {
    Ok(
        c.prepare_cached("SELECT uuid FROM uploads WHERE backend = ?1 AND sha256 = ?2")?
            .query_row([backend, sha256], |row| row.get(0))
            .optional()?,
    )
}

/// Those of `wanted` that are known, with their UUIDs.
pub(crate) fn known<'a>(
    c: &Connection,
    backend: &str,
    wanted: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<String, String>, DbError> {
    let mut found = BTreeMap::new();
    for sha256 in wanted {
        if let Some(uuid) = find(c, backend, sha256)? {
            found.insert(sha256.to_owned(), uuid);
        }
    }
    Ok(found)
}

/// Whether a file came from an executable path.
pub(crate) fn is_executable(c: &Connection, backend: &str, uuid: &str) -> Result<bool, DbError> {
    let found = c
        .prepare_cached("SELECT executable FROM uploads WHERE backend = ?1 AND uuid = ?2")?
        .query_row([backend, uuid], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Forgets a content that a backend was found to have lost, unless somebody has used it since `asked`: it was sent again meanwhile.
pub(crate) fn forget(
    c: &Connection,
    backend: &str,
    sha256: &str,
    asked: i64,
) -> Result<(), DbError> {
    c.prepare_cached("DELETE FROM uploads WHERE backend = ?1 AND sha256 = ?2 AND used_at < ?3")?
        .execute(params![backend, sha256, asked])?;
    Ok(())
}
