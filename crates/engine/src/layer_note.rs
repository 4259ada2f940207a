//! The description of a layer, in a file beside its own files.
//!
//! The database is the record of layers, images and tags. If it is lost, or if an older copy
//! replaces it, `engine check --rebuild` reads these notes.

use std::collections::BTreeMap;

use contree_sandbox::LayerId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::engine::Engine;
use crate::error::StorageError;
use crate::reserve::Reserve;
use crate::rows::images::Image;
use crate::rows::layers::{self, RecordedLayer};
use crate::rows::{Rows, images, to_micros};

/// The key of the `meta` table that says that all layers of earlier releases have notes.
const META_KEY: &str = "layers_have_notes";

/// One line of a layer's description. Times are in microseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub(crate) enum LayerNote {
    /// The layer itself. The last such line counts.
    Layer(NotedLayer),
    /// An image whose top layer this is.
    Image(NotedImage),
    /// A tag that was set to an image of this layer, or removed from it.
    Tag(NotedTag),
    /// A line of a later release.
    #[serde(other)]
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotedLayer {
    pub(crate) parent: Option<u64>,
    pub(crate) bytes: u64,
    /// The OCI ChainID of an imported layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) chain: Option<String>,
    /// For a squashed layer: the top of the chain that it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stands_for: Option<u64>,
    /// The number of files and links that it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) files: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotedImage {
    pub(crate) uuid: Uuid,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) operation: Option<Uuid>,
    /// The command that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<String>,
    /// The key under which it was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) import_key: Option<String>,
    pub(crate) created_at: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotedTag {
    pub(crate) tag: String,
    pub(crate) image: Uuid,
    /// Whether the tag was removed.
    #[serde(default)]
    pub(crate) removed: bool,
    pub(crate) at: i64,
}

impl NotedImage {
    /// The note of an image, without its command and its key.
    pub(crate) fn of(image: &Image) -> Self {
        Self {
            uuid: image.uuid,
            env: image.env.clone(),
            cwd: image.cwd.clone(),
            operation: image.operation,
            command: None,
            import_key: None,
            created_at: to_micros(image.created_at),
        }
    }
}

impl NotedTag {
    /// The note of a tag that is set or removed now.
    pub(crate) fn now(tag: &str, image: Uuid, removed: bool) -> Self {
        Self {
            tag: tag.to_owned(),
            image,
            removed,
            at: to_micros(chrono::Utc::now()),
        }
    }
}

impl LayerNote {
    /// The note as a line, without its end.
    pub(crate) fn line(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts, numbers and maps of texts are valid JSON")
    }

    /// Reads the lines of a description. A line that cannot be read is skipped.
    pub(crate) fn parse(text: &[u8]) -> Vec<Self> {
        text.split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }
}

/// The note about a layer itself, if it has one. The last one counts.
pub(crate) fn noted_layer(notes: &[LayerNote]) -> Option<&NotedLayer> {
    notes.iter().rev().find_map(|note| match note {
        LayerNote::Layer(layer) => Some(layer),
        _ => None,
    })
}

/// The notes about images of a layer.
pub(crate) fn noted_images(notes: &[LayerNote]) -> impl Iterator<Item = &NotedImage> {
    notes.iter().filter_map(|note| match note {
        LayerNote::Image(image) => Some(image),
        _ => None,
    })
}

/// Adds a note to a layer. The records do not depend on it, so a failure is only logged.
pub(crate) fn add(engine: &Engine, layer: u64, note: &LayerNote) {
    let added = engine.store.describe_layer(LayerId(layer), &note.line());
    if let Err(error) = added {
        tracing::warn!(layer, %error, "cannot write a note to a layer; if the records are lost, it cannot be rebuilt from this note");
    }
}

/// Gives notes to the layers that earlier releases made. It does so once for each data directory.
pub(crate) fn describe_old_layers(engine: &Engine) -> Result<(), StorageError> {
    // On a full disk, a later start does it.
    if engine.rows.read(|c| Rows::meta(c, META_KEY))?.is_some()
        || Reserve::of(engine.store.root()).is_disk_full()
    {
        return Ok(());
    }
    let (recorded, listed) = engine.rows.read_snapshot(|t| {
        let filter = images::ImageFilter {
            limit: u32::MAX,
            ..images::ImageFilter::default()
        };
        Ok((layers::recorded(t)?, images::list(t, &filter)?))
    })?;
    let mut entries: BTreeMap<u64, Vec<images::ImageListEntry>> = BTreeMap::new();
    for entry in listed {
        entries.entry(entry.image.layer).or_default().push(entry);
    }
    for layer in recorded {
        let id = LayerId(layer.id);
        if !engine.store.layer_exists(id) || engine.store.layer_description(id)?.is_some() {
            continue;
        }
        let mut notes = vec![LayerNote::Layer(NotedLayer::from(&layer))];
        let mut last = None;
        for entry in entries.remove(&layer.id).unwrap_or_default() {
            let uuid = entry.image.uuid;
            if last.replace(uuid) != Some(uuid) {
                notes.push(LayerNote::Image(NotedImage::of(&entry.image)));
            }
            if let Some(tag) = &entry.tag {
                notes.push(LayerNote::Tag(NotedTag::now(tag, uuid, false)));
            }
        }
        let mut text = Vec::new();
        for note in notes {
            if !text.is_empty() {
                text.push(b'\n');
            }
            text.extend(note.line());
        }
        engine.store.describe_layer(id, &text)?;
    }
    Ok(engine.rows.write(|t| Rows::set_meta(t, META_KEY, "1"))?)
}

impl From<&RecordedLayer> for NotedLayer {
    fn from(layer: &RecordedLayer) -> Self {
        Self {
            parent: layer.parent,
            bytes: layer.bytes,
            chain: layer.chain.clone(),
            stands_for: layer.stands_for,
            files: layer.files,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_back_and_unknown_lines_are_skipped() {
        let layer = LayerNote::Layer(NotedLayer {
            parent: Some(3),
            bytes: 17,
            chain: None,
            stands_for: None,
            files: None,
        });
        let tag = LayerNote::Tag(NotedTag::now("a/b:1", Uuid::from_u128(1), true));
        let mut text = layer.line();
        text.extend(b"\n{\"note\":\"from tomorrow\",\"x\":1}\nnot json\n");
        text.extend(tag.line());
        text.extend(b"\n{\"note\":\"layer\",\"par");
        assert_eq!(LayerNote::parse(&text), [layer, LayerNote::Other, tag]);
    }
}
