//! Deleting one image: its record, its tags, and the layers that only it needs.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;
use uuid::Uuid;

use super::selection::Selection;
use super::selection::remove_records;
use crate::engine::Engine;
use crate::error::StorageError;
use crate::rows::images::{self, Image};
use crate::rows::upkeep::{self as rows, LayerRow};
use crate::rows::{layers, log};
use contree_sandbox::LayerId;
use contree_sqlite::DatabaseError;

/// The result of a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeletedImage {
    pub(crate) tags: Vec<String>,
    /// The number of layers.
    pub(crate) layers: u64,
    /// The disk space of these layers in bytes.
    pub(crate) bytes: u64,
}

/// The reason why an image is not deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeleteError {
    /// There is no such image.
    #[error("there is no image {0}")]
    Missing(Uuid),
    /// It is the image of this machine's programs.
    #[error(
        "the image {0} has this machine's programs; `contree-mcp engine refresh-host` makes a new one, and then this one can be deleted"
    )]
    Host(Uuid),
    /// An operation runs on it.
    #[error("an operation runs on the image {0}; wait for it or cancel it, then delete the image")]
    Running(Uuid),
    /// Other images are based on it.
    #[error(
        "{count} other images are based on the image {image}, such as {example}; delete them first, or use force=true, which keeps the layers that they need"
    )]
    Needed {
        image: Uuid,
        count: usize,
        example: Uuid,
    },
    /// The records or the layers.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Deletes an image. Blocks.
///
/// One transaction removes the records, and notes the layers that are being removed. So after a
/// crash, the image is whole or gone, and the next upkeep removes the rest of the layers.
pub(crate) fn delete_image(
    engine: &Engine,
    uuid: Uuid,
    force: bool,
) -> Result<DeletedImage, DeleteError> {
    let deletion = engine
        .rows
        .write(|t| {
            let deletion = Deletion::plan(t, uuid, force)?;
            if let Ok(deletion) = &deletion {
                let selection = Selection {
                    images: vec![uuid],
                    layers: deletion.layers.clone(),
                    ..Selection::default()
                };
                remove_records(t, selection, usize::MAX)?;
            }
            Ok(deletion)
        })
        .map_err(StorageError::from)??;
    let mut removed = Vec::new();
    for layer in &deletion.layers {
        engine.views.forget(&[layer.id]);
        match engine.store.remove_layer(LayerId(layer.id)) {
            Ok(()) => removed.push(layer.id),
            // It is noted, so the next upkeep removes it. A tree that was renamed goes earlier.
            Err(error) => {
                tracing::warn!(layer = layer.id, %error, "cannot remove a layer");
                engine.cleanup.notify_one();
            }
        }
    }
    engine
        .rows
        .write(|t| layers::forget_removing(t, &removed))
        .map_err(StorageError::from)?;
    let own = |layer: &&LayerRow| layer.stands_for.is_none();
    Ok(DeletedImage {
        tags: deletion.tags,
        layers: deletion.layers.iter().filter(own).count() as u64,
        bytes: deletion
            .layers
            .iter()
            .filter(own)
            .map(|layer| layer.bytes)
            .sum(),
    })
}

/// The records that are deleted with an image.
struct Deletion {
    tags: Vec<String>,
    layers: Vec<LayerRow>,
}

impl Deletion {
    /// Finds the records that are deleted with an image, or the reason why it cannot be deleted.
    fn plan(
        c: &Connection,
        uuid: Uuid,
        force: bool,
    ) -> Result<Result<Self, DeleteError>, DatabaseError> {
        let Some(image) = images::by_uuid(c, uuid)? else {
            return Ok(Err(DeleteError::Missing(uuid)));
        };
        if log::is_current_host(c, uuid)? {
            return Ok(Err(DeleteError::Host(uuid)));
        }
        if rows::in_use(c)?.0.contains(&uuid) {
            return Ok(Err(DeleteError::Running(uuid)));
        }
        let all = rows::layers(c)?;
        let others: Vec<Image> = others(c, uuid)?;
        let chains = Chains::of(&all);
        let dependents: Vec<Uuid> = others
            .iter()
            .filter(|other| chains.is_based_on(other, &image))
            .map(|other| other.uuid)
            .collect();
        if let (Some(&example), false) = (dependents.first(), force) {
            return Ok(Err(DeleteError::Needed {
                image: uuid,
                count: dependents.len(),
                example,
            }));
        }
        let mut needed: HashSet<u64> = HashSet::new();
        for other in &others {
            chains.mark(Some(other.layer), &mut needed);
        }
        // An unfinished commit or squash needs the layers that it depends on.
        for layer in all.iter().filter(|layer| !layer.ready) {
            chains.mark(Some(layer.id), &mut needed);
            chains.mark(layer.stands_for, &mut needed);
        }
        let mut own = HashSet::new();
        chains.mark(Some(image.layer), &mut own);
        let is_own = |layer: &LayerRow| {
            let id = layer.stands_for.unwrap_or(layer.id);
            own.contains(&id) && !needed.contains(&id)
        };
        let mut layers: Vec<LayerRow> = all.iter().filter(|layer| is_own(layer)).cloned().collect();
        // Squashed layers first, then the upper layers before the lower ones.
        layers.sort_unstable_by_key(|layer| {
            std::cmp::Reverse((layer.stands_for.is_some(), layer.depth))
        });
        Ok(Ok(Self {
            tags: log::tags(c, uuid)?,
            layers,
        }))
    }
}

/// All images but one.
fn others(c: &Connection, except: Uuid) -> Result<Vec<Image>, DatabaseError> {
    let filter = images::ImageFilter {
        limit: u32::MAX,
        ..images::ImageFilter::default()
    };
    let mut seen = HashSet::new();
    let mut all: Vec<Image> = images::list(c, &filter)?
        .into_iter()
        .map(|entry| entry.image)
        .collect();
    all.retain(|image| image.uuid != except && seen.insert(image.uuid));
    // Lost images keep their layers until they are pruned.
    for uuid in rows::lost_images(c)? {
        if uuid != except {
            all.extend(images::by_uuid(c, uuid)?);
        }
    }
    Ok(all)
}

/// The layers below each layer.
struct Chains<'a> {
    layers: HashMap<u64, &'a LayerRow>,
}

impl<'a> Chains<'a> {
    fn of(layers: &'a [LayerRow]) -> Self {
        Self {
            layers: layers.iter().map(|layer| (layer.id, layer)).collect(),
        }
    }

    /// Adds a layer and all layers below it.
    fn mark(&self, top: Option<u64>, marked: &mut HashSet<u64>) {
        let mut next = top;
        while let Some(layer) = next
            && marked.insert(layer)
        {
            next = self.layers.get(&layer).and_then(|layer| layer.parent);
        }
    }

    /// Returns true if an image was made from another, directly or not.
    ///
    /// Imported images share layers too, and are not based on each other.
    fn is_based_on(&self, image: &Image, base: &Image) -> bool {
        if image.layer == base.layer {
            // They differ in their settings.
            return image.created_at > base.created_at;
        }
        let mut current = image.layer;
        while let Some(layer) = self.layers.get(&current) {
            let Some(parent) = layer.parent else {
                return false;
            };
            if parent == base.layer {
                return !layer.imported;
            }
            current = parent;
        }
        false
    }
}
