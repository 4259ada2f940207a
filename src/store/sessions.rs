//! Sessions of the command line: their branches and their history.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{last_runs, now};
use contree_sqlite::DatabaseError;

/// The branch of a new session.
pub(crate) const FIRST_BRANCH: &str = "main";

/// One entry of a session's history, with the state of the session after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionEntry {
    /// The number of the entry, from 1.
    pub(crate) id: i64,
    pub(crate) parent: Option<i64>,
    /// The kind of the change: `use`, `run`, `cd` or `env`.
    pub(crate) kind: String,
    pub(crate) title: String,
    /// The UUID of the image.
    pub(crate) image: String,
    pub(crate) operation: Option<String>,
    pub(crate) cwd: Option<String>,
    pub(crate) env: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    pub(crate) made_at: i64,
}

/// A session in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRow {
    pub(crate) key: String,
    pub(crate) branch: String,
    /// Milliseconds since 1970.
    pub(crate) used_at: i64,
    /// The newest entry of the active branch.
    pub(crate) tip: Option<SessionEntry>,
}

/// The result of adding an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) id: i64,
    /// Whether the branch now ends with the entry. It does not if another process added one.
    pub(crate) is_tip: bool,
}

const COLUMNS: &str = "id, parent, kind, title, image, operation, cwd, env, made_at";

fn entry_of(row: &Row<'_>) -> rusqlite::Result<SessionEntry> {
    let env: String = row.get(7)?;
    Ok(SessionEntry {
        id: row.get(0)?,
        parent: row.get(1)?,
        kind: row.get(2)?,
        title: row.get(3)?,
        image: row.get(4)?,
        operation: row.get(5)?,
        cwd: row.get(6)?,
        env: serde_json::from_str(&env).unwrap_or_default(),
        made_at: row.get(8)?,
    })
}

/// The active branch of a session; none if there is no such session.
pub(crate) fn active_branch(
    c: &Connection,
    backend: &str,
    key: &str,
) -> Result<Option<String>, DatabaseError> {
    let branch = c
        .prepare_cached("SELECT branch FROM cli_sessions WHERE backend = ?1 AND key = ?2")?
        .query_row([backend, key], |row| row.get(0))
        .optional()?;
    Ok(branch)
}

/// The number of the newest entry of a branch.
pub(crate) fn tip(
    c: &Connection,
    backend: &str,
    key: &str,
    branch: &str,
) -> Result<Option<i64>, DatabaseError> {
    let tip = c
        .prepare_cached(
            "SELECT tip FROM cli_branches WHERE backend = ?1 AND key = ?2 AND name = ?3",
        )?
        .query_row([backend, key, branch], |row| row.get(0))
        .optional()?;
    Ok(tip)
}

/// An entry by its number.
pub(crate) fn entry(
    c: &Connection,
    backend: &str,
    key: &str,
    id: i64,
) -> Result<Option<SessionEntry>, DatabaseError> {
    let found = c
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM cli_entries WHERE backend = ?1 AND key = ?2 AND id = ?3"
        ))?
        .query_row(params![backend, key, id], entry_of)
        .optional()?;
    Ok(found)
}

/// All entries of a session, the oldest first.
pub(crate) fn entries(
    c: &Connection,
    backend: &str,
    key: &str,
) -> Result<Vec<SessionEntry>, DatabaseError> {
    let mut statement = c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM cli_entries WHERE backend = ?1 AND key = ?2 ORDER BY id"
    ))?;
    let rows = statement.query_map([backend, key], entry_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The branches of a session with their newest entries, by name.
pub(crate) fn branches(
    c: &Connection,
    backend: &str,
    key: &str,
) -> Result<Vec<(String, i64)>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "SELECT name, tip FROM cli_branches WHERE backend = ?1 AND key = ?2 ORDER BY name",
    )?;
    let rows = statement.query_map([backend, key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds an entry, whose `id` and time are set here, to a branch. A new session is created.
///
/// The branch moves to the entry only if the entry's parent is still its newest one.
pub(crate) fn append(
    c: &Connection,
    backend: &str,
    key: &str,
    branch: &str,
    entry: &SessionEntry,
) -> Result<Appended, DatabaseError> {
    c.execute(
        "INSERT INTO cli_sessions (backend, key, branch, used_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (backend, key) DO UPDATE SET used_at = excluded.used_at",
        params![backend, key, branch, now()],
    )?;
    let id: i64 = c.query_row(
        "SELECT coalesce(max(id), 0) + 1 FROM cli_entries WHERE backend = ?1 AND key = ?2",
        [backend, key],
        |row| row.get(0),
    )?;
    let env = serde_json::to_string(&entry.env).unwrap_or_else(|_| "{}".to_owned());
    c.execute(
        &format!(
            "INSERT INTO cli_entries (backend, key, {COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        ),
        params![
            backend,
            key,
            id,
            entry.parent,
            entry.kind,
            entry.title,
            entry.image,
            entry.operation,
            entry.cwd,
            env,
            now()
        ],
    )?;
    let is_tip = tip(c, backend, key, branch)? == entry.parent;
    if is_tip {
        set_branch(c, backend, key, branch, id)?;
    }
    Ok(Appended { id, is_tip })
}

/// Adds an entry as [`append`] does, if its parent is the newest one of the branch. Returns its id,
/// or `None` if another process has moved the branch meanwhile.
pub(crate) fn append_at_tip(
    c: &Connection,
    backend: &str,
    key: &str,
    branch: &str,
    entry: &SessionEntry,
) -> Result<Option<i64>, DatabaseError> {
    if tip(c, backend, key, branch)? != entry.parent {
        return Ok(None);
    }
    append(c, backend, key, branch, entry).map(|appended| Some(appended.id))
}

/// Creates a branch or moves it to an entry.
pub(crate) fn set_branch(
    c: &Connection,
    backend: &str,
    key: &str,
    branch: &str,
    tip: i64,
) -> Result<(), DatabaseError> {
    c.execute(
        "INSERT INTO cli_branches (backend, key, name, tip) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (backend, key, name) DO UPDATE SET tip = excluded.tip",
        params![backend, key, branch, tip],
    )?;
    Ok(())
}

/// Makes a branch the active one.
pub(crate) fn activate(
    c: &Connection,
    backend: &str,
    key: &str,
    branch: &str,
) -> Result<(), DatabaseError> {
    c.execute(
        "UPDATE cli_sessions SET branch = ?3, used_at = ?4 WHERE backend = ?1 AND key = ?2",
        params![backend, key, branch, now()],
    )?;
    Ok(())
}

/// Deletes a branch. Its entries stay.
pub(crate) fn delete_branch(
    c: &Connection,
    backend: &str,
    key: &str,
    branch: &str,
) -> Result<bool, DatabaseError> {
    let deleted = c.execute(
        "DELETE FROM cli_branches WHERE backend = ?1 AND key = ?2 AND name = ?3",
        [backend, key, branch],
    )?;
    Ok(deleted > 0)
}

/// All sessions of a backend, the one used last first.
pub(crate) fn list(c: &Connection, backend: &str) -> Result<Vec<SessionRow>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "SELECT key, branch, used_at FROM cli_sessions WHERE backend = ?1 ORDER BY used_at DESC, key",
    )?;
    let rows = statement.query_map([backend], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let rows: Vec<(String, String, i64)> = rows.collect::<Result<_, _>>()?;
    let mut sessions = Vec::with_capacity(rows.len());
    for (key, branch, used_at) in rows {
        let tip = match tip(c, backend, &key, &branch)? {
            Some(id) => entry(c, backend, &key, id)?,
            None => None,
        };
        sessions.push(SessionRow {
            key,
            branch,
            used_at,
            tip,
        });
    }
    Ok(sessions)
}

/// Deletes a session with its history. Returns whether there was one.
pub(crate) fn delete(c: &Connection, backend: &str, key: &str) -> Result<bool, DatabaseError> {
    c.execute(
        "DELETE FROM cli_entries WHERE backend = ?1 AND key = ?2",
        [backend, key],
    )?;
    c.execute(
        "DELETE FROM cli_branches WHERE backend = ?1 AND key = ?2",
        [backend, key],
    )?;
    last_runs::delete(c, backend, key)?;
    let deleted = c.execute(
        "DELETE FROM cli_sessions WHERE backend = ?1 AND key = ?2",
        [backend, key],
    )?;
    Ok(deleted > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(parent: Option<i64>, image: &str) -> SessionEntry {
        SessionEntry {
            id: 0,
            parent,
            kind: "run".into(),
            title: "make".into(),
            image: image.into(),
            operation: None,
            cwd: Some("/src".into()),
            env: BTreeMap::from([("A".into(), "b".into())]),
            made_at: 0,
        }
    }

    #[test]
    fn an_entry_moves_only_the_branch_that_it_continues() {
        let c = super::super::in_memory().unwrap();
        let append = |parent, image: &str| {
            append(&c, "b", "/dir", FIRST_BRANCH, &run(parent, image)).unwrap()
        };
        let first = append(None, "i1");
        assert_eq!((first.id, first.is_tip), (1, true));
        assert!(append(Some(1), "i2").is_tip);
        // Another process started from the first entry and ends later: nothing is lost.
        let late = append(Some(1), "i3");
        assert_eq!((late.id, late.is_tip), (3, false));
        assert_eq!(tip(&c, "b", "/dir", FIRST_BRANCH).unwrap(), Some(2));
        // A change of settings is made again to the newest entry.
        let at_tip =
            |parent| append_at_tip(&c, "b", "/dir", FIRST_BRANCH, &run(parent, "i4")).unwrap();
        assert_eq!((at_tip(Some(1)), at_tip(Some(2))), (None, Some(4)));
        assert_eq!(tip(&c, "b", "/dir", FIRST_BRANCH).unwrap(), Some(4));
        let kept = entry(&c, "b", "/dir", 3).unwrap().unwrap();
        assert_eq!((kept.image.as_str(), kept.parent), ("i3", Some(1)));
        assert_eq!(kept.env["A"], "b");
        assert_eq!(active_branch(&c, "other", "/dir").unwrap(), None);
    }

    #[test]
    fn branches_are_switched_and_sessions_deleted() {
        let c = super::super::in_memory().unwrap();
        append(&c, "b", "s", FIRST_BRANCH, &run(None, "i1")).unwrap();
        set_branch(&c, "b", "s", "two", 1).unwrap();
        activate(&c, "b", "s", "two").unwrap();
        assert_eq!(active_branch(&c, "b", "s").unwrap(), Some("two".into()));
        append(&c, "b", "s", "two", &run(Some(1), "i2")).unwrap();
        let expected = vec![("main".to_owned(), 1), ("two".to_owned(), 2)];
        assert_eq!(branches(&c, "b", "s").unwrap(), expected);
        let listed = list(&c, "b").unwrap();
        assert_eq!(listed[0].tip.as_ref().unwrap().image, "i2");
        assert!(delete_branch(&c, "b", "s", "main").unwrap());
        assert_eq!(entries(&c, "b", "s").unwrap().len(), 2);
        assert!(delete(&c, "b", "s").unwrap());
        assert!(!delete(&c, "b", "s").unwrap());
        assert!(list(&c, "b").unwrap().is_empty());
    }
}
