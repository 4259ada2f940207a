//! Registry credentials that `registry_auth` has verified.

use rusqlite::{Connection, OptionalExtension as _, params};

use contree_sqlite::DatabaseError;

/// A registry's user name and secret. Has no `Debug`, so that no log can show it.
pub(crate) struct StoredCredentials {
    pub(crate) username: String,
    pub(crate) secret: String,
}

/// Stores the credentials for a registry, replacing earlier ones.
pub(crate) fn insert(
    c: &Connection,
    backend: &str,
    registry: &str,
    username: &str,
    secret: &str,
) -> Result<(), DatabaseError> {
    c.execute(
        "INSERT OR REPLACE INTO credentials (backend, registry, username, secret) VALUES (?1, ?2, ?3, ?4)",
        params![backend, registry, username, secret],
    )?;
    Ok(())
}

/// Finds the credentials stored for a registry.
pub(crate) fn find(
    c: &Connection,
    backend: &str,
    registry: &str,
) -> Result<Option<StoredCredentials>, DatabaseError> {
    Ok(c.query_row(
        "SELECT username, secret FROM credentials WHERE backend = ?1 AND registry = ?2",
        [backend, registry],
        |row| {
            Ok(StoredCredentials {
                username: row.get(0)?,
                secret: row.get(1)?,
            })
        },
    )
    .optional()?)
}

/// The registries with stored credentials, and their user names.
pub(crate) fn list(c: &Connection, backend: &str) -> Result<Vec<(String, String)>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "SELECT registry, username FROM credentials WHERE backend = ?1 ORDER BY registry",
    )?;
    let rows = statement.query_map([backend], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Deletes the credentials stored for a registry. Returns false if there are none.
pub(crate) fn delete(c: &Connection, backend: &str, registry: &str) -> Result<bool, DatabaseError> {
    let deleted = c.execute(
        "DELETE FROM credentials WHERE backend = ?1 AND registry = ?2",
        [backend, registry],
    )?;
    Ok(deleted > 0)
}
