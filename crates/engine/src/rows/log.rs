//! Statements about the history of images: the operation that made each, its parent, and the images
//! that are based on it.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::Rows;
use super::images::{self, Image};
use super::operations::{self, Operation};
use contree_sqlite::DatabaseError;

/// An image in a history, with all that is recorded about it.
#[derive(Clone, Debug)]
pub(crate) struct LoggedImage {
    pub(crate) uuid: Uuid,
    /// The image that it was made from.
    pub(crate) parent: Option<Uuid>,
    /// `None` if the image was deleted.
    pub(crate) image: Option<Image>,
    /// The operation that made it. `None` if its record was removed, and for the image of this
    /// machine's programs.
    pub(crate) operation: Option<Operation>,
    /// The program that asked for the operation.
    pub(crate) client: Option<String>,
    pub(crate) tags: Vec<String>,
    /// The number of images made directly from it.
    pub(crate) children: u64,
    /// The number of files that it changed.
    pub(crate) files: Option<u64>,
    /// The disk space of its changes.
    pub(crate) bytes: Option<u64>,
    /// True if it is the image of this machine's programs, or was one.
    pub(crate) is_host: bool,
    /// True if it was imported.
    pub(crate) is_import: bool,
}

/// A part of a history.
#[derive(Clone, Debug, Default)]
pub(crate) struct HistoryPage {
    pub(crate) images: Vec<LoggedImage>,
    /// Whether more images follow.
    pub(crate) more: bool,
}

/// An image of a chain, and the layer that it has or had.
#[derive(Clone, Copy, Debug)]
struct Step {
    uuid: Uuid,
    layer: Option<u64>,
}

/// Lists an image and its ancestors, the newest first.
pub(crate) fn ancestors(
    c: &Connection,
    image: Uuid,
    limit: usize,
    offset: u64,
) -> Result<HistoryPage, DatabaseError> {
    let mut page = HistoryPage::default();
    let mut seen = HashSet::new();
    let mut skipped = 0;
    let mut next = Some(Step {
        uuid: image,
        layer: None,
    });
    while let Some(step) = next {
        // No run makes a circle, but a damaged record must not cause an endless loop.
        if !seen.insert(step.uuid) {
            break;
        }
        if page.images.len() == limit {
            page.more = true;
            break;
        }
        let found = images::by_uuid(c, step.uuid)?;
        let layer = found.as_ref().map(|image| image.layer).or(step.layer);
        let operation = maker(c, step.uuid, found.as_ref())?;
        let parent = parent(c, step.uuid, found.as_ref(), operation.as_ref(), layer)?;
        if skipped < offset {
            skipped += 1;
        } else {
            let parent_layer = parent.and_then(|parent| parent.layer);
            let parent = parent.map(|parent| parent.uuid);
            page.images.push(describe(
                c,
                step.uuid,
                found,
                operation,
                parent,
                (layer, parent_layer),
            )?);
        }
        next = parent;
    }
    Ok(page)
}

/// Lists the images that were made directly from an image, the newest first.
pub(crate) fn children(
    c: &Connection,
    image: &Image,
    limit: usize,
    offset: u64,
) -> Result<HistoryPage, DatabaseError> {
    let mut statement = c.prepare_cached(&format!(
        "SELECT uuid FROM ({CHILDREN}) ORDER BY created_at DESC, uuid LIMIT ?3 OFFSET ?4"
    ))?;
    let rows = statement.query_map(
        params![image.uuid.to_string(), image.layer, limit + 1, offset],
        |row| row.get(0).map(super::parse_uuid),
    )?;
    let mut uuids: Vec<Uuid> = rows.collect::<Result<_, _>>()?;
    let more = uuids.len() > limit;
    uuids.truncate(limit);
    let mut images = Vec::new();
    for uuid in uuids {
        let found = images::by_uuid(c, uuid)?;
        let layer = found.as_ref().map(|image| image.layer);
        let operation = maker(c, uuid, found.as_ref())?;
        let layers = (layer, Some(image.layer));
        images.push(describe(
            c,
            uuid,
            found,
            operation,
            Some(image.uuid),
            layers,
        )?);
    }
    Ok(HistoryPage { images, more })
}

/// The images that were made from image ?1 with layer ?2. Where the record of an operation was
/// removed, the layers tell it.
const CHILDREN: &str =
    "SELECT i.uuid, i.created_at FROM operations o JOIN images i ON i.uuid = o.result_image
     WHERE o.image = ?1 AND o.result_image <> ?1 AND i.lost = 0
     UNION
     SELECT i.uuid, i.created_at FROM layers l JOIN images i ON i.layer = l.id
     WHERE l.parent = ?2 AND l.chain IS NULL AND l.stands_for IS NULL AND i.lost = 0
       AND NOT EXISTS (SELECT 1 FROM operations o WHERE o.uuid = i.operation)";

/// The image that an image was made from, if there is one.
pub(crate) fn parent_of(c: &Connection, image: &Image) -> Result<Option<Uuid>, DatabaseError> {
    let operation = maker(c, image.uuid, Some(image))?;
    let layer = Some(image.layer);
    let parent = parent(c, image.uuid, Some(image), operation.as_ref(), layer)?;
    Ok(parent.map(|parent| parent.uuid))
}

/// The operation that made an image.
fn maker(
    c: &Connection,
    uuid: Uuid,
    image: Option<&Image>,
) -> Result<Option<Operation>, DatabaseError> {
    if let Some(operation) = image.and_then(|image| image.operation) {
        return operations::by_uuid(c, operation);
    }
    if image.is_some() {
        return Ok(None);
    }
    let mut statement = c.prepare_cached(
        "SELECT uuid FROM operations WHERE result_image = ?1 AND coalesce(image, '') <> ?1
         ORDER BY created_at LIMIT 1",
    )?;
    let operation = statement
        .query_row([uuid.to_string()], |row| row.get(0).map(super::parse_uuid))
        .optional()?;
    match operation {
        Some(operation) => operations::by_uuid(c, operation),
        None => Ok(None),
    }
}

fn parent(
    c: &Connection,
    uuid: Uuid,
    image: Option<&Image>,
    operation: Option<&Operation>,
    layer: Option<u64>,
) -> Result<Option<Step>, DatabaseError> {
    if let Some(operation) = operation {
        let parent = operation.image.filter(|parent| *parent != uuid);
        let Some(parent) = parent else {
            return Ok(None);
        };
        let layer = match images::by_uuid(c, parent)? {
            Some(parent) => Some(parent.layer),
            // A deleted image had the layer below.
            None => layer
                .map(|layer| layer_below(c, layer))
                .transpose()?
                .flatten(),
        };
        return Ok(Some(Step {
            uuid: parent,
            layer,
        }));
    }
    let Some(layer) = layer else {
        return Ok(None);
    };
    parent_by_layer(c, image, layer)
}

/// The nearest older image below, as the layers tell it.
fn parent_by_layer(
    c: &Connection,
    image: Option<&Image>,
    layer: u64,
) -> Result<Option<Step>, DatabaseError> {
    let find = |layer: u64, before: i64, except: Uuid| -> Result<Option<Uuid>, DatabaseError> {
        let mut statement = c.prepare_cached(
            "SELECT uuid FROM images WHERE layer = ?1 AND created_at <= ?2 AND uuid <> ?3
             ORDER BY created_at, uuid LIMIT 1",
        )?;
        Ok(statement
            .query_row(params![layer, before, except.to_string()], |row| {
                row.get(0).map(super::parse_uuid)
            })
            .optional()?)
    };
    // Images that differ only in their settings share a layer.
    if let Some(image) = image {
        let before = super::to_micros(image.created_at).saturating_sub(1);
        if let Some(uuid) = find(layer, before, image.uuid)? {
            let layer = Some(layer);
            return Ok(Some(Step { uuid, layer }));
        }
    }
    let except = image.map_or_else(Uuid::nil, |image| image.uuid);
    let mut current = layer;
    while !is_imported(c, current)?
        && let Some(below) = layer_below(c, current)?
    {
        if let Some(uuid) = find(below, i64::MAX, except)? {
            let layer = Some(below);
            return Ok(Some(Step { uuid, layer }));
        }
        current = below;
    }
    Ok(None)
}

fn layer_below(c: &Connection, layer: u64) -> Result<Option<u64>, DatabaseError> {
    let mut statement = c.prepare_cached("SELECT parent FROM layers WHERE id = ?1")?;
    let parent: Option<Option<u64>> = statement.query_row([layer], |row| row.get(0)).optional()?;
    Ok(parent.flatten())
}

/// Returns whether an import made a layer.
pub(crate) fn is_imported(c: &Connection, layer: u64) -> Result<bool, DatabaseError> {
    let mut statement = c.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM layers WHERE id = ?1 AND chain IS NOT NULL)",
    )?;
    Ok(statement.query_row([layer], |row| row.get(0))?)
}

fn describe(
    c: &Connection,
    uuid: Uuid,
    image: Option<Image>,
    operation: Option<Operation>,
    parent: Option<Uuid>,
    (layer, parent_layer): (Option<u64>, Option<u64>),
) -> Result<LoggedImage, DatabaseError> {
    let (files, bytes) = match layer {
        Some(layer) => changed(c, layer, parent_layer)?,
        None => (None, None),
    };
    let imported = layer.map(|layer| is_imported(c, layer)).transpose()?;
    let is_import = match &operation {
        Some(operation) => operation.kind == "image_import",
        None => parent.is_none() && imported == Some(true),
    };
    let is_host = !is_import
        && parent.is_none()
        && image
            .as_ref()
            .is_some_and(|image| image.operation.is_none());
    let client = match &operation {
        Some(operation) => client(c, operation.uuid)?,
        None => None,
    };
    Ok(LoggedImage {
        uuid,
        parent,
        operation,
        client,
        tags: tags(c, uuid)?,
        children: count_children(c, uuid, layer)?,
        files,
        bytes,
        is_host,
        is_import,
        image,
    })
}

/// The number of files and the bytes of the layers from `layer` down to `parent`, which does not
/// count.
fn changed(
    c: &Connection,
    layer: u64,
    parent: Option<u64>,
) -> Result<(Option<u64>, Option<u64>), DatabaseError> {
    let mut statement = c.prepare_cached(
        "WITH RECURSIVE own (id, parent, bytes, files) AS (
             SELECT id, parent, bytes, files FROM layers WHERE id = ?1 AND id IS NOT ?2
             UNION ALL
             SELECT l.id, l.parent, l.bytes, l.files FROM own JOIN layers l ON l.id = own.parent
             WHERE l.id IS NOT ?2
         ) SELECT coalesce(sum(bytes), 0), coalesce(sum(files), 0), count(*) = count(files) FROM own",
    )?;
    Ok(statement.query_row(params![layer, parent], |row| {
        let known: bool = row.get(2)?;
        let files: u64 = row.get(1)?;
        Ok((known.then_some(files), Some(row.get(0)?)))
    })?)
}

fn client(c: &Connection, operation: Uuid) -> Result<Option<String>, DatabaseError> {
    let mut statement = c.prepare_cached("SELECT client FROM operations WHERE uuid = ?1")?;
    let client: Option<Option<String>> = statement
        .query_row([operation.to_string()], |row| row.get(0))
        .optional()?;
    Ok(client.flatten())
}

/// The tags of an image, in order.
pub(crate) fn tags(c: &Connection, image: Uuid) -> Result<Vec<String>, DatabaseError> {
    let mut statement = c.prepare_cached("SELECT tag FROM tags WHERE image = ?1 ORDER BY tag")?;
    let rows = statement.query_map([image.to_string()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn count_children(c: &Connection, image: Uuid, layer: Option<u64>) -> Result<u64, DatabaseError> {
    let mut statement = c.prepare_cached(&format!("SELECT count(*) FROM ({CHILDREN})"))?;
    Ok(statement.query_row(params![image.to_string(), layer], |row| row.get(0))?)
}

/// The time when an image was made, if it is known.
pub(crate) fn created_at(image: &LoggedImage) -> Option<chrono::DateTime<chrono::Utc>> {
    match (&image.image, &image.operation) {
        (Some(image), _) => Some(image.created_at),
        (None, Some(operation)) => operation.ended_at,
        (None, None) => None,
    }
}

/// Returns whether an image is the current one of this machine's programs.
pub(crate) fn is_current_host(c: &Connection, image: Uuid) -> Result<bool, DatabaseError> {
    let host = Rows::meta(c, "host_image")?;
    Ok(host.is_some_and(|host| host == image.to_string()))
}
