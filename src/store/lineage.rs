//! Origins of images.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::lineage::ImageProvenance;
use contree_sqlite::DatabaseError;

const COLUMNS: &str = "image, parent, operation, kind, source, made_at";

fn origin(row: &Row<'_>) -> rusqlite::Result<ImageProvenance> {
    Ok(ImageProvenance {
        image: row.get(0)?,
        parent: row.get(1)?,
        operation: row.get(2)?,
        kind: row.get(3)?,
        source: row.get(4)?,
        made_at: row.get(5)?,
    })
}

/// Stores an image's origin. For a known image, only a missing source or time is filled in.
pub(crate) fn insert(
    c: &Connection,
    backend: &str,
    origin: &ImageProvenance,
) -> Result<(), DatabaseError> {
    c.prepare_cached(
        "INSERT INTO lineage (backend, image, parent, operation, kind, source, made_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (backend, image) DO UPDATE SET
            source = coalesce(source, excluded.source), made_at = coalesce(made_at, excluded.made_at)",
    )?
    .execute(params![
        backend,
        origin.image,
        origin.parent,
        origin.operation,
        origin.kind,
        origin.source,
        origin.made_at
    ])?;
    Ok(())
}

/// Finds an image's origin.
pub(crate) fn find(
    c: &Connection,
    backend: &str,
    image: &str,
) -> Result<Option<ImageProvenance>, DatabaseError> {
    Ok(c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM lineage WHERE backend = ?1 AND image = ?2"
    ))?
    .query_row([backend, image], origin)
    .optional()?)
}

/// Finds the known images made directly from an image, oldest first.
pub(crate) fn child_images(
    c: &Connection,
    backend: &str,
    image: &str,
) -> Result<Vec<ImageProvenance>, DatabaseError> {
    let mut statement = c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM lineage WHERE backend = ?1 AND parent = ?2 ORDER BY made_at, image"
    ))?;
    let rows = statement.query_map([backend, image], origin)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
