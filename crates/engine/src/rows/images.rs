//! Statements about images and their tags.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::{from_micros, to_micros};
use contree_sqlite::DatabaseError;

/// An immutable file system snapshot with its saved settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// The permanent identifier.
    pub(crate) uuid: Uuid,
    /// The id of its top layer.
    pub(crate) layer: u64,
    /// The saved environment.
    pub(crate) env: BTreeMap<String, String>,
    /// The saved working directory. Empty for `/`.
    pub(crate) cwd: String,
    /// The operation that made it. `None` for the image of this machine's programs.
    pub(crate) operation: Option<Uuid>,
    /// Whether a power loss has destroyed its files.
    pub(crate) lost: bool,
    /// The time of its creation.
    pub(crate) created_at: DateTime<Utc>,
}

/// An entry of a listing: an image with one of its tags, or without a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageListEntry {
    /// The image.
    pub(crate) image: Image,
    /// The tag.
    pub(crate) tag: Option<String>,
}

/// The filter of a listing of images.
#[derive(Clone, Debug, Default)]
pub(crate) struct ImageFilter {
    pub(crate) limit: u32,
    pub(crate) offset: u64,
    /// Only images with a tag.
    pub(crate) tagged: bool,
    /// Only tags with this prefix.
    pub(crate) tag_prefix: Option<String>,
    pub(crate) uuid: Option<Uuid>,
    /// Only images that were created at this time or later.
    pub(crate) since: Option<DateTime<Utc>>,
    /// Only images that were created at this time or earlier.
    pub(crate) until: Option<DateTime<Utc>>,
}

const COLUMNS: &str = "i.uuid, i.layer, i.env, i.cwd, i.operation, i.lost, i.created_at";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Image> {
    let uuid = super::parse_uuid(row.get(0)?);
    let env = serde_json::from_str(&row.get::<_, String>(2)?).unwrap_or_else(|error| {
        tracing::warn!(image = %uuid, %error, "cannot read the environment of an image; it counts as empty");
        BTreeMap::new()
    });
    Ok(Image {
        uuid,
        layer: row.get(1)?,
        env,
        cwd: row.get(3)?,
        operation: row.get::<_, Option<String>>(4)?.map(super::parse_uuid),
        lost: row.get(5)?,
        created_at: from_micros(row.get(6)?),
    })
}

fn entry_from_row(row: &Row<'_>) -> rusqlite::Result<ImageListEntry> {
    Ok(ImageListEntry {
        image: from_row(row)?,
        tag: row.get(7)?,
    })
}

/// Records an image.
pub(crate) fn insert(c: &Connection, image: &Image) -> Result<(), DatabaseError> {
    c.execute(
        "INSERT INTO images (uuid, layer, env, cwd, operation, lost, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            image.uuid.to_string(),
            image.layer,
            super::to_json(&image.env)?,
            image.cwd,
            image.operation.map(|u| u.to_string()),
            image.lost,
            to_micros(image.created_at)
        ],
    )?;
    Ok(())
}

/// Finds an image by its UUID.
pub(crate) fn by_uuid(c: &Connection, uuid: Uuid) -> Result<Option<Image>, DatabaseError> {
    let mut statement =
        c.prepare_cached(&format!("SELECT {COLUMNS} FROM images i WHERE i.uuid = ?1"))?;
    Ok(statement
        .query_row([uuid.to_string()], from_row)
        .optional()?)
}

/// Finds the image of a tag.
pub(crate) fn by_tag(c: &Connection, tag: &str) -> Result<Option<Image>, DatabaseError> {
    let mut statement = c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM images i JOIN tags t ON t.image = i.uuid WHERE t.tag = ?1"
    ))?;
    Ok(statement.query_row([tag], from_row).optional()?)
}

/// Finds the most recently set tag of an image.
pub(crate) fn newest_tag(c: &Connection, uuid: Uuid) -> Result<Option<String>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "SELECT tag FROM tags WHERE image = ?1 ORDER BY updated_at DESC, tag LIMIT 1",
    )?;
    Ok(statement
        .query_row([uuid.to_string()], |row| row.get(0))
        .optional()?)
}

/// Points a tag to an image. It no longer points to its earlier image.
pub(crate) fn set_tag(c: &Connection, tag: &str, uuid: Uuid) -> Result<(), DatabaseError> {
    set_tag_at(c, tag, uuid, to_micros(Utc::now()))
}

/// Points a tag to an image, as of a time in microseconds since the Unix epoch.
pub(crate) fn set_tag_at(
    c: &Connection,
    tag: &str,
    uuid: Uuid,
    at: i64,
) -> Result<(), DatabaseError> {
    c.execute(
        "INSERT INTO tags (tag, image, updated_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (tag) DO UPDATE SET image = excluded.image, updated_at = excluded.updated_at",
        params![tag, uuid.to_string(), at],
    )?;
    Ok(())
}

/// Returns whether a tag was set at a time or later, in microseconds since the Unix epoch.
pub(crate) fn tag_is_newer_than(c: &Connection, tag: &str, at: i64) -> Result<bool, DatabaseError> {
    Ok(c.query_row(
        "SELECT EXISTS (SELECT 1 FROM tags WHERE tag = ?1 AND updated_at >= ?2)",
        params![tag, at],
        |row| row.get(0),
    )?)
}

/// Marks an image as lost.
pub(crate) fn mark_lost(c: &Connection, uuid: Uuid) -> Result<(), DatabaseError> {
    c.execute(
        "UPDATE images SET lost = 1 WHERE uuid = ?1",
        [uuid.to_string()],
    )?;
    Ok(())
}

/// Removes one tag of an image, or all of them. Returns the removed tags.
pub(crate) fn remove_tags(
    c: &Connection,
    uuid: Uuid,
    tag: Option<&str>,
) -> Result<Vec<String>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "DELETE FROM tags WHERE image = ?1 AND (?2 IS NULL OR tag = ?2) RETURNING tag",
    )?;
    let removed = statement.query_map(params![uuid.to_string(), tag], |row| row.get(0))?;
    Ok(removed.collect::<Result<_, _>>()?)
}

/// Lists images, newest first, without lost ones. An image with several tags has an entry for each.
pub(crate) fn list(
    c: &Connection,
    filter: &ImageFilter,
) -> Result<Vec<ImageListEntry>, DatabaseError> {
    let mut statement = c.prepare_cached(&format!(
        "SELECT {COLUMNS}, t.tag FROM images i LEFT JOIN tags t ON t.image = i.uuid
         WHERE i.lost = 0
           AND (?1 = 0 OR t.tag IS NOT NULL)
           AND (?2 IS NULL OR substr(t.tag, 1, length(?2)) = ?2)
           AND (?3 IS NULL OR i.uuid = ?3)
           AND (?4 IS NULL OR i.created_at >= ?4)
           AND (?5 IS NULL OR i.created_at <= ?5)
         ORDER BY i.created_at DESC, i.uuid, t.tag LIMIT ?6 OFFSET ?7"
    ))?;
    let rows = statement.query_map(
        params![
            filter.tagged || filter.tag_prefix.is_some(),
            filter.tag_prefix,
            filter.uuid.map(|u| u.to_string()),
            filter.since.map(to_micros),
            filter.until.map(to_micros),
            filter.limit,
            filter.offset
        ],
        entry_from_row,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}
