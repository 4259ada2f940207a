//! Directory states that runs placed, by operation.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use contree_sqlite::DatabaseError;

/// Remembers that an operation placed a directory state, after it removed some paths.
pub(crate) fn insert(
    c: &Connection,
    backend: &str,
    operation: &str,
    state: i64,
    removed: &[String],
) -> Result<(), DatabaseError> {
    let removed = serde_json::to_string(removed).unwrap_or_default();
    c.execute(
        "INSERT OR REPLACE INTO placements (backend, operation, state, removed) VALUES (?1, ?2, ?3, ?4)",
        params![backend, operation, state, removed],
    )?;
    Ok(())
}

/// Returns the paths that an operation removed before it placed a directory state.
pub(crate) fn removed(
    c: &Connection,
    backend: &str,
    operation: &str,
) -> Result<Vec<String>, DatabaseError> {
    let removed: Option<String> = c
        .query_row(
            "SELECT removed FROM placements WHERE backend = ?1 AND operation = ?2",
            [backend, operation],
            |row| row.get(0),
        )
        .optional()?;
    let paths = removed.and_then(|removed| serde_json::from_str(&removed).ok());
    Ok(paths.unwrap_or_default())
}

/// Returns the directory states that operations placed, of one destination or of all.
pub(crate) fn of_destination(
    c: &Connection,
    backend: &str,
    destination: Option<&str>,
) -> Result<HashMap<String, i64>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "SELECT p.operation, p.state FROM placements p JOIN states s ON s.id = p.state
         WHERE p.backend = ?1 AND (?2 IS NULL OR s.destination = ?2)",
    )?;
    let rows = statement.query_map(params![backend, destination], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
