//! Credentials of registries, as `registry_auth` found them to be good.

use rusqlite::{Connection, OptionalExtension as _, params};

use contree_registry::{Host, Login, Secret};
use contree_sqlite::DbError;

/// Keeps a user's credentials for a registry.
pub(crate) fn keep(
    c: &Connection,
    backend: &str,
    registry: &Host,
    username: &str,
    secret: &Secret,
) -> Result<(), DbError> {
    c.execute(
        "INSERT OR REPLACE INTO credentials (backend, registry, username, secret) VALUES (?1, ?2, ?3, ?4)",
        params![backend, registry.as_str(), username, secret.expose()],
    )?;
    Ok(())
}

/// The credentials kept for a registry.
pub(crate) fn find(
    c: &Connection,
    backend: &str,
    registry: &Host,
) -> Result<Option<Login>, DbError> {
    Ok(c.query_row(
        "SELECT username, secret FROM credentials WHERE backend = ?1 AND registry = ?2",
        [backend, registry.as_str()],
        |row| {
            Ok(Login::password(
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
            ))
        },
    )
    .optional()?)
}
