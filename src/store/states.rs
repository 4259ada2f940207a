//! Directory states: the files of a directory at the time that `rsync` sent it. `run` places them
//! in a sandbox.

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::now;
use contree_sqlite::DbError;

/// Maximum number of bytes that all states may take together. Beyond it, the states unused for
/// longest are deleted.
const MAX_TOTAL_BYTES: i64 = 128 * 1024 * 1024;
/// Number of most recently used states that are kept whatever their size.
const ALWAYS_KEPT: i64 = 16;

/// One file of a directory state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateFile {
    /// Path in the sandbox.
    #[serde(rename = "p")]
    pub(crate) path: String,
    #[serde(rename = "h")]
    pub(crate) sha256: String,
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) executable: bool,
    /// Path on this machine.
    #[serde(rename = "s")]
    pub(crate) source: String,
}

/// A stored directory state.
#[derive(Clone, Debug)]
pub(crate) struct StoredDirectoryState {
    pub(crate) backend: String,
    pub(crate) source: String,
    pub(crate) files: Vec<StateFile>,
}

/// Size of a new id in bits. JSON readers that use floating-point numbers keep such a number exact.
const ID_BITS: u32 = 48;

/// Stores a state and returns its id. An equal state keeps the id it already has.
///
/// A new id is random. Counted ids would start again in a new store, and an id from the old store
/// would then mean another directory.
pub(crate) fn insert(
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
    let id = new_id(c)?;
    c.execute(
        "INSERT INTO states (id, backend, digest, source, files, size, used_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![id, backend, digest, source, files, size, now()],
    )?;
    c.execute(
        "DELETE FROM states WHERE id IN (
            SELECT id FROM (
                SELECT id, sum(size) OVER newest AS bytes, row_number() OVER newest AS position FROM states
                WINDOW newest AS (ORDER BY used_at DESC, id = ?3 DESC, id DESC)
            ) WHERE bytes > ?1 AND position > ?2
        )",
        [MAX_TOTAL_BYTES, ALWAYS_KEPT, id],
    )?;
    Ok(id)
}

/// A random id that no state has.
fn new_id(c: &Connection) -> Result<i64, DbError> {
    loop {
        let (_, random) = Uuid::new_v4().as_u64_pair();
        let id = i64::try_from(random & ((1 << ID_BITS) - 1)).unwrap_or_default();
        // Clients that fill in every argument send 0 for "none".
        if id == 0 {
            continue;
        }
        let is_taken: bool = c.query_row(
            "SELECT EXISTS (SELECT 1 FROM states WHERE id = ?1)",
            [id],
            |row| row.get(0),
        )?;
        if id > 0 && !is_taken {
            return Ok(id);
        }
    }
}

/// Finds a state by its id. A state that cannot be decoded counts as missing.
pub(crate) fn find(c: &Connection, id: i64) -> Result<Option<StoredDirectoryState>, DbError> {
    let row: Option<(String, String, Vec<u8>)> = c
        .query_row(
            "SELECT backend, source, files FROM states WHERE id = ?1",
            [id],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    Ok(row.and_then(|(backend, source, files)| {
        Some(StoredDirectoryState {
            backend,
            source,
            files: serde_json::from_slice(&files).ok()?,
        })
    }))
}

/// Sets a state's time of use to now.
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
    fn an_id_from_another_store_means_no_state_here() {
        let mut ids = std::collections::HashSet::new();
        for _ in 0..50 {
            let c = super::super::in_memory().unwrap();
            let id = insert(&c, "b", "0", "/s", b"[]").unwrap();
            assert!(id > 0 && id < 1 << ID_BITS);
            assert!(ids.insert(id), "{id} was given twice");
            assert_eq!(insert(&c, "b", "0", "/s", b"[]").unwrap(), id);
            assert!(find(&c, id).unwrap().is_some());
        }
    }

    #[test]
    fn an_equal_state_keeps_its_id_and_old_states_are_deleted() {
        let c = super::super::in_memory().unwrap();
        let large = vec![b' '; 10 * 1024 * 1024];
        let first = insert(&c, "b", "0", "/s", &large).unwrap();
        assert_eq!(insert(&c, "b", "0", "/s", &large).unwrap(), first);
        assert_ne!(insert(&c, "other", "0", "/s", b"[]").unwrap(), first);
        for n in 1..40 {
            insert(&c, "b", &n.to_string(), "/s", &large).unwrap();
        }
        let (count, size): (i64, i64) = c
            .query_row("SELECT count(*), sum(size) FROM states", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert!(count >= ALWAYS_KEPT && size <= MAX_TOTAL_BYTES + ALWAYS_KEPT * 10 * 1024 * 1024);
        assert!(find(&c, first).unwrap().is_none());
    }
}
