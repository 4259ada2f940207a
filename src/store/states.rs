//! Directories as they were sent: what `run` puts into a sandbox.

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::now;
use contree_sqlite::DbError;

/// How many bytes all states may take; beyond it, those that were not used for longest go.
const MOST: i64 = 128 * 1024 * 1024;
/// How many stay whatever their size.
const ALWAYS: i64 = 16;

/// One file of a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateFile {
    /// Where it goes in the sandbox.
    #[serde(rename = "p")]
    pub(crate) path: String,
    #[serde(rename = "h")]
    pub(crate) sha256: String,
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) executable: bool,
    /// Where it came from, on this machine.
    #[serde(rename = "s")]
    pub(crate) source: String,
}

/// A state as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct StoredDirectoryState {
    pub(crate) backend: String,
    pub(crate) source: String,
    pub(crate) files: Vec<StateFile>,
}

/// Keeps a state and gives its id; the same one again has the id that it has.
pub(crate) fn keep(
    c: &Connection,
    backend: &str,
    digest: &str,
    source: &str,
    files: &[u8],
) -> Result<i64, DbError> {
    let known: Option<i64> = c
        .query_row(
            "SELECT id FROM states WHERE backend = ?1 AND digest = ?2",
            [backend, digest],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(id) = known {
        c.execute(
            "UPDATE states SET used_at = ?2 WHERE id = ?1",
            params![id, now()],
        )?;
        return Ok(id);
    }
    let size = i64::try_from(files.len()).unwrap_or(i64::MAX);
    c.execute(
        "INSERT INTO states (backend, digest, source, files, size, used_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![backend, digest, source, files, size, now()],
    )?;
    let id = c.last_insert_rowid();
    c.execute(
        "DELETE FROM states WHERE id IN (
            SELECT id FROM (
                SELECT id, sum(size) OVER newest AS bytes, row_number() OVER newest AS place FROM states
                WINDOW newest AS (ORDER BY used_at DESC, id DESC)
            ) WHERE bytes > ?1 AND place > ?2
        )",
        [MOST, ALWAYS],
    )?;
    Ok(id)
}

/// A state by its id.
pub(crate) fn find(c: &Connection, id: i64) -> Result<Option<StoredDirectoryState>, DbError> {
    let row: Option<(String, String, Vec<u8>)> = c
        .query_row(
            "SELECT backend, source, files FROM states WHERE id = ?1",
            [id],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    // What cannot be read is as good as gone.
    Ok(row.and_then(|(backend, source, files)| {
        Some(StoredDirectoryState {
            backend,
            source,
            files: serde_json::from_slice(&files).ok()?,
        })
    }))
}

/// Notes that a state is in use.
pub(crate) fn touch(c: &Connection, id: i64) -> Result<(), DbError> {
    c.execute(
        "UPDATE states SET used_at = ?2 WHERE id = ?1",
        params![id, now()],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_state_keeps_its_id_and_old_ones_make_room() {
        let c = super::super::in_memory().unwrap();
        let large = vec![b' '; 10 * 1024 * 1024];
        let first = keep(&c, "b", "0", "/s", &large).unwrap();
        assert_eq!(keep(&c, "b", "0", "/s", &large).unwrap(), first);
        assert_ne!(keep(&c, "other", "0", "/s", b"[]").unwrap(), first);
        for n in 1..40 {
            keep(&c, "b", &n.to_string(), "/s", &large).unwrap();
        }
        let (count, size): (i64, i64) = c
            .query_row("SELECT count(*), sum(size) FROM states", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert!(count >= ALWAYS && size <= MOST + ALWAYS * 10 * 1024 * 1024);
        assert!(find(&c, first).unwrap().is_none());
    }
}
