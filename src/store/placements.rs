//! Directory states that runs placed, by operation.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use contree_sqlite::DbError;

/// Remembers that an operation placed a directory state.
pub(crate) fn insert(
    c: &Connection,
    backend: &str,
    operation: &str,
    state: i64,
) -> Result<(), DbError> {
    c.execute(
        "INSERT OR REPLACE INTO placements (backend, operation, state) VALUES (?1, ?2, ?3)",
        params![backend, operation, state],
    )?;
    Ok(())
}

/// Returns the directory states that operations placed, of one destination or of all.
pub(crate) fn of_destination(
    c: &Connection,
    backend: &str,
    destination: Option<&str>,
) -> Result<HashMap<String, i64>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT p.operation, p.state FROM placements p JOIN states s ON s.id = p.state
         WHERE p.backend = ?1 AND (?2 IS NULL OR s.destination = ?2)",
    )?;
    let rows = statement.query_map(params![backend, destination], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
