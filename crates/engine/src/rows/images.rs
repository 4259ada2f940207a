//! Images and their tags.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::{micros, moment};
use contree_sqlite::DbError;

/// An immutable filesystem state, with what is saved beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// Names the image for ever.
    pub(crate) uuid: Uuid,
    /// The top layer of its chain.
    pub(crate) layer: u64,
    /// Saved environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Saved working directory; empty for `/`.
    pub(crate) cwd: String,
    /// The operation that made it; none for the image of this machine's programs.
    pub(crate) operation: Option<Uuid>,
    /// Its files did not survive a power loss.
    pub(crate) lost: bool,
    /// When it was made.
    pub(crate) created_at: DateTime<Utc>,
}

/// A line of a listing: an image under one of its tags, or under none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The image.
    pub(crate) image: Image,
    /// The tag, if it has one.
    pub(crate) tag: Option<String>,
}

/// What a listing is narrowed by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) limit: u32,
    pub(crate) offset: u64,
    /// Only images that carry a tag.
    pub(crate) tagged: bool,
    /// Only tags that begin so.
    pub(crate) tag_prefix: Option<String>,
    pub(crate) uuid: Option<Uuid>,
    pub(crate) since: Option<DateTime<Utc>>,
    pub(crate) until: Option<DateTime<Utc>>,
}

const COLUMNS: &str = "i.uuid, i.layer, i.env, i.cwd, i.operation, i.lost, i.created_at";

fn image(row: &Row<'_>) -> rusqlite::Result<Image> {
    Ok(Image {
        uuid: super::uuid(row.get(0)?),
        layer: row.get(1)?,
        env: serde_json::from_str(&row.get::<_, String>(2)?).unwrap_or_default(),
        cwd: row.get(3)?,
        operation: row.get::<_, Option<String>>(4)?.map(super::uuid),
        lost: row.get(5)?,
        created_at: moment(row.get(6)?),
    })
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    Ok(Listed {
        image: image(row)?,
        tag: row.get(7)?,
    })
}

/// Records an image.
pub(crate) fn insert(c: &Connection, image: &Image) -> Result<(), DbError> {
    c.execute(
        "INSERT INTO images (uuid, layer, env, cwd, operation, lost, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            image.uuid.to_string(),
            image.layer,
            serde_json::to_string(&image.env).unwrap_or_default(),
            image.cwd,
            image.operation.map(|u| u.to_string()),
            image.lost,
            micros(image.created_at)
        ],
    )?;
    Ok(())
}

/// The image of a UUID.
pub(crate) fn by_uuid(c: &Connection, uuid: Uuid) -> Result<Option<Image>, DbError> {
    let mut statement =
        c.prepare_cached(&format!("SELECT {COLUMNS} FROM images i WHERE i.uuid = ?1"))?;
    Ok(statement.query_row([uuid.to_string()], image).optional()?)
}

/// The image that a tag points to.
pub(crate) fn by_tag(c: &Connection, tag: &str) -> Result<Option<Image>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM images i JOIN tags t ON t.image = i.uuid WHERE t.tag = ?1"
    ))?;
    Ok(statement.query_row([tag], image).optional()?)
}

/// The tag of an image that was set last.
pub(crate) fn newest_tag(c: &Connection, uuid: Uuid) -> Result<Option<String>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT tag FROM tags WHERE image = ?1 ORDER BY updated_at DESC, tag LIMIT 1",
    )?;
    Ok(statement
        .query_row([uuid.to_string()], |row| row.get(0))
        .optional()?)
}

/// Points a tag to an image, away from the one it pointed to.
pub(crate) fn set_tag(c: &Connection, tag: &str, uuid: Uuid) -> Result<(), DbError> {
    c.execute(
        "INSERT INTO tags (tag, image, updated_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (tag) DO UPDATE SET image = excluded.image, updated_at = excluded.updated_at",
        params![tag, uuid.to_string(), micros(Utc::now())],
    )?;
    Ok(())
}

/// Removes one tag of an image, or all of them, and says how many went.
pub(crate) fn remove_tags(c: &Connection, uuid: Uuid, tag: Option<&str>) -> Result<usize, DbError> {
    Ok(match tag {
        Some(tag) => c.execute(
            "DELETE FROM tags WHERE image = ?1 AND tag = ?2",
            [&uuid.to_string(), tag],
        )?,
        None => c.execute("DELETE FROM tags WHERE image = ?1", [uuid.to_string()])?,
    })
}

/// Lists images, newest first; an image with several tags stands once under each.
pub(crate) fn list(c: &Connection, filter: &Filter) -> Result<Vec<Listed>, DbError> {
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
            filter.since.map(micros),
            filter.until.map(micros),
            filter.limit,
            filter.offset
        ],
        listed,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}
