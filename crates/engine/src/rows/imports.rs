//! Statements about imported images, which are found again by a key.

use rusqlite::{Connection, OptionalExtension as _};
use uuid::Uuid;

use contree_sqlite::DatabaseError;

/// Finds the image that was imported under `key`, if it still exists.
pub(crate) fn find(c: &Connection, key: &str) -> Result<Option<Uuid>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "SELECT i.uuid FROM imports m JOIN images i ON i.uuid = m.image WHERE m.key = ?1 AND i.lost = 0",
    )?;
    Ok(statement
        .query_row([key], |row| row.get(0).map(super::parse_uuid))
        .optional()?)
}

/// Records the image that was imported under `key`. It replaces one that is lost.
pub(crate) fn record(c: &Connection, key: &str, image: Uuid) -> Result<(), DatabaseError> {
    c.execute(
        "INSERT INTO imports (key, image) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET image = excluded.image",
        [key, &image.to_string()],
    )?;
    Ok(())
}
