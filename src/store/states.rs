//! Directory states: the files of a directory at the time that `rsync` sent it. `run` places them
//! in a sandbox.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::now;
use crate::sync::OtherKind;
use contree_sqlite::DatabaseError;

/// Maximum number of bytes that all states may take together. Beyond it, the states unused for
/// longest are deleted.
const MAX_TOTAL_BYTES: i64 = 128 * 1024 * 1024;
/// Number of most recently used states that are kept whatever their size.
const ALWAYS_KEPT: i64 = 16;

const COLUMNS: &str = "backend, source, destination, files";

/// One file, link or directory of a directory state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateFile {
    /// Path in the sandbox.
    #[serde(rename = "p")]
    pub(crate) path: String,
    /// The hash of the content. It is empty for links and directories.
    #[serde(rename = "h", default, skip_serializing_if = "String::is_empty")]
    pub(crate) sha256: String,
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) executable: bool,
    /// The permission bits. States of earlier releases have only `executable`.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<u32>,
    #[serde(rename = "d", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_directory: bool,
    /// The target of a symbolic link.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// Path on this machine.
    #[serde(rename = "s")]
    pub(crate) source: String,
}

impl StateFile {
    /// The permission bits in a sandbox.
    pub(crate) fn placed_mode(&self) -> u32 {
        let known = if self.executable { 0o755 } else { 0o644 };
        self.mode.unwrap_or(known)
    }

    /// The link or directory at the path; `None` for a file.
    pub(crate) fn other(&self) -> Option<OtherKind> {
        match &self.target {
            Some(target) => Some(OtherKind::Symlink {
                target: target.clone(),
            }),
            None if self.is_directory => Some(OtherKind::Directory {
                mode: self.placed_mode(),
                is_empty: true,
            }),
            None => None,
        }
    }
}

/// A stored directory state.
#[derive(Clone, Debug)]
pub(crate) struct StoredDirectoryState {
    pub(crate) backend: String,
    pub(crate) source: String,
    /// The place of the content in sandboxes, without a slash at its end. `None` for one file, and
    /// for a state of an earlier release.
    pub(crate) destination: Option<String>,
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
    destination: Option<&str>,
    files: &[u8],
) -> Result<i64, DatabaseError> {
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
            params![id, next_moment(c)?],
        )?;
        return Ok(id);
    }
    let size = i64::try_from(files.len()).unwrap_or(i64::MAX);
    let id = new_id(c)?;
    c.execute(
        "INSERT INTO states (id, backend, digest, source, destination, files, size, used_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            id,
            backend,
            digest,
            source,
            destination,
            files,
            size,
            next_moment(c)?
        ],
    )?;
    c.execute(
        "DELETE FROM states WHERE id IN (
            SELECT id FROM (
                SELECT id, sum(size) OVER newest AS bytes, row_number() OVER newest AS position FROM states
                WINDOW newest AS (ORDER BY used_at DESC, id DESC)
            ) WHERE bytes > ?1 AND position > ?2
        )",
        [MAX_TOTAL_BYTES, ALWAYS_KEPT],
    )?;
    c.execute(
        "DELETE FROM placements WHERE state NOT IN (SELECT id FROM states)",
        [],
    )?;
    Ok(id)
}

/// The time of a use now: later than that of any earlier use, also if the clock was set back.
fn next_moment(c: &Connection) -> Result<i64, DatabaseError> {
    let latest: Option<i64> =
        c.query_row("SELECT max(used_at) FROM states", [], |row| row.get(0))?;
    Ok(latest
        .map_or(0, |latest| latest.saturating_add(1))
        .max(now()))
}

/// A random id that no state has.
fn new_id(c: &Connection) -> Result<i64, DatabaseError> {
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
pub(crate) fn find(c: &Connection, id: i64) -> Result<Option<StoredDirectoryState>, DatabaseError> {
    let row = c
        .query_row(
            &format!("SELECT {COLUMNS} FROM states WHERE id = ?1"),
            [id],
            stored,
        )
        .optional()?;
    Ok(row.flatten())
}

/// Finds the state of a source and a destination that was used last.
pub(crate) fn newest(
    c: &Connection,
    backend: &str,
    source: &str,
    destination: &str,
) -> Result<Option<StoredDirectoryState>, DatabaseError> {
    let row = c
        .query_row(
            &format!(
                "SELECT {COLUMNS} FROM states WHERE backend = ?1 AND source = ?2 AND destination = ?3
                 ORDER BY used_at DESC LIMIT 1"
            ),
            [backend, source, destination],
            stored,
        )
        .optional()?;
    Ok(row.flatten())
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Option<StoredDirectoryState>> {
    let files: Vec<u8> = row.get(3)?;
    let Ok(files) = serde_json::from_slice(&files) else {
        return Ok(None);
    };
    Ok(Some(StoredDirectoryState {
        backend: row.get(0)?,
        source: row.get(1)?,
        destination: row.get(2)?,
        files,
    }))
}

/// Sets a state's time of use to now.
pub(crate) fn touch(c: &Connection, id: i64) -> Result<(), DatabaseError> {
    c.execute(
        "UPDATE states SET used_at = ?2 WHERE id = ?1",
        params![id, next_moment(c)?],
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
            let id = insert(&c, "b", "0", "/s", None, b"[]").unwrap();
            assert!(id > 0 && id < 1 << ID_BITS);
            assert!(ids.insert(id), "{id} was given twice");
            assert_eq!(insert(&c, "b", "0", "/s", None, b"[]").unwrap(), id);
            assert!(find(&c, id).unwrap().is_some());
        }
    }

    #[test]
    fn an_equal_state_keeps_its_id_and_old_states_are_deleted() {
        let c = super::super::in_memory().unwrap();
        let large = vec![b' '; 10 * 1024 * 1024];
        let first = insert(&c, "b", "0", "/s", None, &large).unwrap();
        assert_eq!(insert(&c, "b", "0", "/s", None, &large).unwrap(), first);
        assert_ne!(insert(&c, "other", "0", "/s", None, b"[]").unwrap(), first);
        for n in 1..40 {
            insert(&c, "b", &n.to_string(), "/s", None, &large).unwrap();
        }
        let (count, size): (i64, i64) = c
            .query_row("SELECT count(*), sum(size) FROM states", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert!(count >= ALWAYS_KEPT && size <= MAX_TOTAL_BYTES + ALWAYS_KEPT * 10 * 1024 * 1024);
        assert!(find(&c, first).unwrap().is_none());
    }

    #[test]
    fn the_newest_state_is_found_and_kept_after_the_clock_was_set_back() {
        let c = super::super::in_memory().unwrap();
        let large = serde_json::to_vec(&vec![0; 5 * 1024 * 1024]).unwrap();
        let mut ids = Vec::new();
        for n in 0..20 {
            ids.push(insert(&c, "b", &n.to_string(), "/s", Some("/d"), &large).unwrap());
        }
        let hour = 3_600_000;
        c.execute("UPDATE states SET used_at = used_at + ?1", [hour])
            .unwrap();
        let file = |path: &str| format!(r#"[{{"p":"{path}","s":"/s/x"}}]"#).into_bytes();
        let newest = |expected: &str| {
            let state = super::newest(&c, "b", "/s", "/d").unwrap().unwrap();
            assert_eq!(state.files[0].path, expected);
        };
        let one = insert(&c, "b", "one", "/s", Some("/d"), &file("/d/one")).unwrap();
        assert!(find(&c, one).unwrap().is_some());
        newest("/d/one");
        insert(&c, "b", "two", "/s", Some("/d"), &file("/d/two")).unwrap();
        newest("/d/two");
        touch(&c, one).unwrap();
        newest("/d/one");
    }
}
