//! SQL statements for upkeep. They read whole tables rather than single rows.

use std::collections::HashSet;

use rusqlite::{Connection, params};
use uuid::Uuid;

use contree_sqlite::DatabaseError;

/// A layer with the layers on which it depends.
#[derive(Clone, Debug)]
pub(crate) struct LayerRow {
    pub(crate) id: u64,
    pub(crate) parent: Option<u64>,
    /// The length of its chain, itself included.
    pub(crate) depth: u64,
    /// For a squashed layer: the top of the chain that it replaces.
    pub(crate) stands_for: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) ready: bool,
    /// Whether it is a layer of an imported image.
    pub(crate) imported: bool,
}

/// An image with the facts that decide whether it is kept.
#[derive(Clone, Debug)]
pub(crate) struct ImageRow {
    pub(crate) uuid: Uuid,
    pub(crate) layer: u64,
    pub(crate) tags: Vec<String>,
    /// The time of its creation, in microseconds since the Unix epoch.
    pub(crate) created_at: i64,
}

impl ImageRow {
    #[cfg(test)]
    pub(crate) fn new(uuid: Uuid, layer: u64) -> Self {
        Self {
            uuid,
            layer,
            tags: Vec::new(),
            created_at: 0,
        }
    }
}

/// An uploaded file.
#[derive(Clone, Debug)]
pub(crate) struct FileRow {
    pub(crate) uuid: Uuid,
    pub(crate) sha256: String,
    pub(crate) size: u64,
    /// The time of its newest upload, in microseconds since the Unix epoch.
    pub(crate) updated_at: i64,
}

/// An operation that is over.
#[derive(Clone, Debug)]
pub(crate) struct EndedOperation {
    pub(crate) uuid: Uuid,
    /// The time of its end, in microseconds since the Unix epoch.
    pub(crate) ended_at: i64,
    /// The image that it made, if it made one.
    pub(crate) made: Option<Uuid>,
}

/// Lists all layers.
pub(crate) fn layers(c: &Connection) -> Result<Vec<LayerRow>, DatabaseError> {
    let mut statement = c.prepare(
        "SELECT id, parent, depth, stands_for, bytes, ready, chain IS NOT NULL FROM layers",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(LayerRow {
            id: row.get(0)?,
            parent: row.get(1)?,
            depth: row.get(2)?,
            stands_for: row.get(3)?,
            bytes: row.get(4)?,
            ready: row.get(5)?,
            imported: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists all images, the newest first.
pub(crate) fn images(c: &Connection) -> Result<Vec<ImageRow>, DatabaseError> {
    let mut statement = c.prepare(
        "SELECT i.uuid, i.layer, (SELECT group_concat(t.tag, char(10)) FROM tags t WHERE t.image = i.uuid),
                i.created_at
         FROM images i ORDER BY i.created_at DESC, i.uuid",
    )?;
    let rows = statement.query_map([], |row| {
        let tags: Option<String> = row.get(2)?;
        Ok(ImageRow {
            uuid: super::parse_uuid(row.get(0)?),
            layer: row.get(1)?,
            tags: tags
                .iter()
                .flat_map(|tags| tags.lines())
                .map(str::to_owned)
                .collect(),
            created_at: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists the images that are lost.
pub(crate) fn lost_images(c: &Connection) -> Result<HashSet<Uuid>, DatabaseError> {
    let mut statement = c.prepare("SELECT uuid FROM images WHERE lost = 1")?;
    let rows = statement.query_map([], |row| row.get(0).map(super::parse_uuid))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The key of the `meta` table for images that were recorded again.
const REBUILT: &str = "rebuilt_images";

/// Images that were recorded again, and the time of that in microseconds since the Unix epoch.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct RebuiltImages {
    pub(crate) at: i64,
    pub(crate) images: HashSet<Uuid>,
}

/// The images that were recorded again. Recording them counts as use, since the operations that
/// used them are not known.
///
/// `None` if the record of them is damaged. Then it may have been any image.
pub(crate) fn rebuilt(c: &Connection) -> Result<Option<RebuiltImages>, DatabaseError> {
    let Some(text) = super::Rows::meta(c, REBUILT)? else {
        return Ok(Some(RebuiltImages::default()));
    };
    let parsed = serde_json::from_str(&text).inspect_err(|error| {
        tracing::warn!(%error, "cannot read which images were recorded again; all images are kept until `engine check --rebuild` writes a new record");
    });
    Ok(parsed.ok())
}

/// Counts images as used at a time, because they were recorded again. If the earlier record is
/// damaged, all images count as used then.
pub(crate) fn keep_rebuilt(c: &Connection, images: &[Uuid], at: i64) -> Result<(), DatabaseError> {
    let mut rebuilt = match rebuilt(c)? {
        Some(rebuilt) => rebuilt,
        None => RebuiltImages {
            at,
            images: self::images(c)?.iter().map(|image| image.uuid).collect(),
        },
    };
    rebuilt.at = at;
    rebuilt.images.extend(images);
    super::Rows::set_meta(c, REBUILT, &super::to_json(&rebuilt)?)
}

/// Lists the images that operations used or made, with the times of these operations in
/// microseconds since the Unix epoch.
pub(crate) fn uses(c: &Connection) -> Result<Vec<(Uuid, i64)>, DatabaseError> {
    let mut statement = c.prepare(
        "SELECT image, created_at FROM operations WHERE image IS NOT NULL
         UNION ALL
         SELECT result_image, created_at FROM operations WHERE result_image IS NOT NULL",
    )?;
    let rows = statement.query_map([], |row| Ok((super::parse_uuid(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists the images of unfinished operations, and their requests as text.
pub(crate) fn in_use(c: &Connection) -> Result<(HashSet<Uuid>, Vec<String>), DatabaseError> {
    let mut statement = c.prepare(
        "SELECT image, result_image, request FROM operations WHERE status IN ('PENDING', 'ASSIGNED', 'EXECUTING')",
    )?;
    let (mut images, mut requests) = (HashSet::new(), Vec::new());
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..2 {
            images.extend(row.get::<_, Option<String>>(column)?.map(super::parse_uuid));
        }
        requests.push(row.get(2)?);
    }
    Ok((images, requests))
}

/// Lists all uploaded files.
pub(crate) fn files(c: &Connection) -> Result<Vec<FileRow>, DatabaseError> {
    let mut statement = c.prepare("SELECT uuid, sha256, size, updated_at FROM files")?;
    let rows = statement.query_map([], |row| {
        Ok(FileRow {
            uuid: super::parse_uuid(row.get(0)?),
            sha256: row.get(1)?,
            size: row.get(2)?,
            updated_at: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists the operations that are over.
pub(crate) fn ended_operations(c: &Connection) -> Result<Vec<EndedOperation>, DatabaseError> {
    let mut statement = c.prepare(
        "SELECT uuid, ended_at, CASE WHEN result_image <> coalesce(image, '') THEN result_image END
         FROM operations WHERE ended_at IS NOT NULL",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(EndedOperation {
            uuid: super::parse_uuid(row.get(0)?),
            ended_at: row.get(1)?,
            made: row.get::<_, Option<String>>(2)?.map(super::parse_uuid),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists the UUIDs of all operations.
pub(crate) fn operation_uuids(c: &Connection) -> Result<HashSet<Uuid>, DatabaseError> {
    let mut statement = c.prepare("SELECT uuid FROM operations")?;
    let rows = statement.query_map([], |row| row.get(0).map(super::parse_uuid))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists the digests of all files.
pub(crate) fn file_digests(c: &Connection) -> Result<HashSet<String>, DatabaseError> {
    let mut statement = c.prepare("SELECT sha256 FROM files")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes the record of an image, and its tags.
pub(crate) fn remove_image(c: &Connection, uuid: Uuid) -> Result<(), DatabaseError> {
    c.prepare_cached("DELETE FROM tags WHERE image = ?1")?
        .execute([uuid.to_string()])?;
    c.prepare_cached("DELETE FROM images WHERE uuid = ?1")?
        .execute([uuid.to_string()])?;
    Ok(())
}

/// Removes the record of a file.
pub(crate) fn remove_file(c: &Connection, uuid: Uuid) -> Result<(), DatabaseError> {
    c.prepare_cached("DELETE FROM files WHERE uuid = ?1")?
        .execute([uuid.to_string()])?;
    Ok(())
}

/// Removes the record of an operation.
pub(crate) fn remove_operation(c: &Connection, uuid: Uuid) -> Result<(), DatabaseError> {
    c.prepare_cached("DELETE FROM operations WHERE uuid = ?1")?
        .execute(params![uuid.to_string()])?;
    Ok(())
}
