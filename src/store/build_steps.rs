//! Images of the steps of Dockerfiles, by the hash of all that a step depends on.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::now;
use contree_sqlite::DatabaseError;

/// A step that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuildStep {
    pub(crate) image: String,
    /// A JSON object about the image.
    pub(crate) config: Option<String>,
}

/// Records the image of a step.
pub(crate) fn insert(
    c: &Connection,
    backend: &str,
    key: &str,
    step: &BuildStep,
) -> Result<(), DatabaseError> {
    c.execute(
        "INSERT OR REPLACE INTO build_steps (backend, key, image, config, made_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![backend, key, step.image, step.config, now()],
    )?;
    Ok(())
}

/// Finds the image of a step. It may be gone from the backend.
pub(crate) fn find(
    c: &Connection,
    backend: &str,
    key: &str,
) -> Result<Option<BuildStep>, DatabaseError> {
    let mut statement =
        c.prepare_cached("SELECT image, config FROM build_steps WHERE backend = ?1 AND key = ?2")?;
    let found = statement.query_row([backend, key], |row| {
        Ok(BuildStep {
            image: row.get(0)?,
            config: row.get(1)?,
        })
    });
    Ok(found.optional()?)
}
