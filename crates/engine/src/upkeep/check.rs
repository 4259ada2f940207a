//! Comparing the records of layers with the layers on disk.

use std::collections::BTreeMap;

use contree_sandbox::LayerId;
use serde::Serialize;
use uuid::Uuid;

use super::missing_layers::{MissingLayer, missing_layers};
use super::rebuild::{Rebuilt, rebuild};
use crate::config::LocalConfig;
use crate::engine::Engine;
use crate::error::{EngineError, StorageError};
use crate::layer_note::{LayerNote, noted_images, noted_layer};
use crate::operation::events::timestamp;
use crate::rows::from_micros;
use crate::unrecorded_layers;

/// The differences between the records of a data directory and its layers.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StoreCheck {
    /// The data directory.
    pub data_dir: String,
    /// Layers on disk that have no record: the database was lost, or it is an older copy.
    pub unrecorded: Vec<UnrecordedLayer>,
    /// Recorded layers that are not on disk.
    pub missing: Vec<MissingLayer>,
    /// The records that were made again, if that was asked for. `unrecorded` and `missing` are the
    /// differences that remain.
    pub rebuilt: Option<Rebuilt>,
}

/// A layer on disk that has no record.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct UnrecordedLayer {
    /// Its id.
    pub layer: u64,
    /// Whether it has a note about itself, from which its record can be rebuilt. Earlier releases
    /// wrote none.
    pub described: bool,
    /// The layer below it. `None` for the lowest layer of an image, and if it is not known.
    pub parent: Option<u64>,
    /// The size of its own files in bytes, if it is known.
    pub bytes: Option<u64>,
    /// The images whose top layer it is.
    pub images: Vec<UnrecordedImage>,
}

/// An image of a layer without a record.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct UnrecordedImage {
    /// Its UUID.
    pub uuid: Uuid,
    /// The tags that it last had.
    pub tags: Vec<String>,
    /// The command that made it, if a command did.
    pub command: Option<String>,
    /// The time of its creation, in RFC 3339.
    pub created_at: String,
}

/// Compares the records of layers with the layers on disk. With `rebuild`, it first records layers,
/// images, tags and uploaded files again, if they are known, and marks images as lost whose
/// layers are missing.
///
/// # Errors
/// If the data directory cannot be used.
pub fn check_store(config: &LocalConfig, rebuilding: bool) -> Result<StoreCheck, EngineError> {
    let engine = Engine::open(config)?;
    let rebuilt = if rebuilding {
        let missing = missing_layers(&engine)?;
        Some(rebuild(&engine, unrecorded_notes(&engine)?, &missing)?)
    } else {
        None
    };
    Ok(StoreCheck {
        data_dir: engine.store.root().display().to_string(),
        unrecorded: unrecorded_notes(&engine)?
            .into_iter()
            .map(|(layer, notes)| describe(layer, &notes))
            .collect(),
        missing: missing_layers(&engine)?,
        rebuilt,
    })
}

/// The layers without a record, with their notes.
fn unrecorded_notes(engine: &Engine) -> Result<BTreeMap<u64, Vec<LayerNote>>, StorageError> {
    let (unrecorded, _) = unrecorded_layers::find(&engine.store, &engine.rows)?;
    let mut notes = BTreeMap::new();
    for LayerId(layer) in unrecorded {
        let text = engine.store.layer_description(LayerId(layer))?;
        notes.insert(layer, LayerNote::parse(&text.unwrap_or_default()));
    }
    Ok(notes)
}

fn describe(layer: u64, notes: &[LayerNote]) -> UnrecordedLayer {
    let noted = noted_layer(notes);
    let images = noted_images(notes).map(|image| {
        let mut tags: Vec<String> = Vec::new();
        for note in notes {
            if let LayerNote::Tag(tag) = note
                && tag.image == image.uuid
            {
                tags.retain(|earlier| *earlier != tag.tag);
                if !tag.removed {
                    tags.push(tag.tag.clone());
                }
            }
        }
        UnrecordedImage {
            uuid: image.uuid,
            tags,
            command: image.command.clone(),
            created_at: timestamp(from_micros(image.created_at)),
        }
    });
    UnrecordedLayer {
        layer,
        described: noted.is_some(),
        parent: noted.and_then(|noted| noted.parent),
        bytes: noted.map(|noted| noted.bytes),
        images: images.collect(),
    }
}
