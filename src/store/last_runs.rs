//! The last run that each session of the command line started, which may still be running.

use rusqlite::{Connection, OptionalExtension as _};

use contree_sqlite::DatabaseError;

/// Records an operation as the last run of a session.
pub(crate) fn set(
    c: &Connection,
    backend: &str,
    key: &str,
    operation: &str,
) -> Result<(), DatabaseError> {
    c.execute(
        "INSERT INTO cli_last_runs (backend, key, operation) VALUES (?1, ?2, ?3)
         ON CONFLICT (backend, key) DO UPDATE SET operation = excluded.operation",
        [backend, key, operation],
    )?;
    Ok(())
}

/// The last run of a session; none if it has started no run since a release that records them.
pub(crate) fn find(
    c: &Connection,
    backend: &str,
    key: &str,
) -> Result<Option<String>, DatabaseError> {
    let found = c
        .prepare_cached("SELECT operation FROM cli_last_runs WHERE backend = ?1 AND key = ?2")?
        .query_row([backend, key], |row| row.get(0))
        .optional()?;
    Ok(found)
}

/// Forgets the last run of a session.
pub(crate) fn delete(c: &Connection, backend: &str, key: &str) -> Result<(), DatabaseError> {
    c.execute(
        "DELETE FROM cli_last_runs WHERE backend = ?1 AND key = ?2",
        [backend, key],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_has_its_newest_run() {
        let c = super::super::in_memory().unwrap();
        for (key, operation) in [("/a", "1"), ("/b", "2"), ("/a", "3")] {
            set(&c, "b", key, operation).unwrap();
        }
        assert_eq!(find(&c, "b", "/a").unwrap(), Some("3".to_owned()));
        assert_eq!(find(&c, "b", "/b").unwrap(), Some("2".to_owned()));
        assert_eq!(find(&c, "other", "/a").unwrap(), None);
        // A deleted session leaves no run to a later one with its name.
        super::super::sessions::delete(&c, "b", "/a").unwrap();
        assert_eq!(find(&c, "b", "/a").unwrap(), None);
    }
}
