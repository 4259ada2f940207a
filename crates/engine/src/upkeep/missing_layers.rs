//! Recorded layers that are not on disk.

use std::collections::{HashMap, HashSet};

use contree_sandbox::LayerId;
use serde::Serialize;
use uuid::Uuid;

use crate::engine::Engine;
use crate::error::StorageError;
use crate::rows::layers;
use crate::rows::upkeep as rows;

/// A recorded layer that is not on disk.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct MissingLayer {
    /// Its id.
    pub layer: u64,
    /// The images that have it and that are not marked as lost. Commands on them fail.
    pub images: Vec<Uuid>,
}

/// The recorded layers that are not on disk.
pub(super) fn missing_layers(engine: &Engine) -> Result<Vec<MissingLayer>, StorageError> {
    // The records are read first, since a directory is removed after its record.
    let (all_layers, all_images, lost) = engine
        .rows
        .read_snapshot(|t| Ok((rows::layers(t)?, rows::images(t)?, rows::lost_images(t)?)))?;
    let parents: HashMap<u64, Option<u64>> = all_layers
        .iter()
        .map(|layer| (layer.id, layer.parent))
        .collect();
    let mut missing = Vec::new();
    for layer in all_layers.iter().filter(|layer| layer.ready) {
        if engine.store.layer_exists(LayerId(layer.id)) {
            continue;
        }
        // Another engine may have removed it meanwhile.
        if !engine.rows.read(layers::ids)?.contains(&layer.id) {
            continue;
        }
        let has_layer = |top: u64| {
            let mut next = Some(top);
            let mut seen = HashSet::new();
            while let Some(id) = next
                && seen.insert(id)
            {
                if id == layer.id {
                    return true;
                }
                next = parents.get(&id).copied().flatten();
            }
            false
        };
        missing.push(MissingLayer {
            layer: layer.id,
            images: all_images
                .iter()
                .filter(|image| !lost.contains(&image.uuid) && has_layer(image.layer))
                .map(|image| image.uuid)
                .collect(),
        });
    }
    Ok(missing)
}
