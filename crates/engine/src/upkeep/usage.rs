//! What uses the disk.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::Serialize;
use uuid::Uuid;

use crate::config::LocalConfig;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::rows::upkeep::{ImageRow, LayerRow, images, layers};

/// The disk space of a data directory, by what it is for. Sizes of layers are what was measured when they were made.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// The data directory.
    pub data_dir: String,
    /// All of the below together, in bytes.
    pub total_bytes: u64,
    /// All images, the newest first.
    pub images: Vec<ImageUsage>,
    /// What images are made of.
    pub layers: LayersUsage,
    /// Uploaded files.
    pub files: Counted,
    /// Logs of operations.
    pub logs: Counted,
    /// The records themselves.
    pub records_bytes: u64,
    /// Sandboxes that run now, or were left behind.
    pub runs: u64,
}

/// One image's part.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ImageUsage {
    /// The image.
    pub uuid: Uuid,
    /// Its tags.
    pub tags: Vec<String>,
    /// All of its layers, in bytes.
    pub bytes: u64,
    /// Those that no other image has, in bytes.
    pub unique_bytes: u64,
}

/// All layers.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct LayersUsage {
    /// How many there are, without those that stand for several.
    pub count: u64,
    /// Layers of two images or more, in bytes.
    pub shared_bytes: u64,
    /// Layers of one image alone, in bytes.
    pub unique_bytes: u64,
    /// Layers of no image, in bytes.
    pub unused_bytes: u64,
    /// Layers that stand for several others; their contents are those others'.
    pub squashed: u64,
}

/// Some things of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// How many.
    pub count: u64,
    /// Their disk space in bytes.
    pub bytes: u64,
}

/// Tells what uses the disk space of a data directory.
///
/// # Errors
/// When it cannot be read.
pub fn usage(config: &LocalConfig) -> Result<Usage, EngineError> {
    let engine = Engine::open(config)?;
    let (all_layers, all_images) = engine.rows.read(|c| Ok((layers(c)?, images(c)?)))?;
    let root = engine.store.root();
    let files = counted(&root.join("files"));
    let logs = counted(&root.join("events"));
    let records_bytes = ["store.db", "store.db-wal", "store.db-shm"]
        .iter()
        .map(|name| on_disk(&root.join(name)))
        .sum();
    let (layers, images) = share(&all_layers, all_images);
    Ok(Usage {
        data_dir: root.display().to_string(),
        total_bytes: layers.shared_bytes
            + layers.unique_bytes
            + layers.unused_bytes
            + files.bytes
            + logs.bytes
            + records_bytes,
        images,
        layers,
        files,
        logs,
        records_bytes,
        runs: engine.store.runs()?.len() as u64,
    })
}

/// Counts for every layer how many images have it, in one pass from the deepest on.
fn share(layers: &[LayerRow], images: Vec<ImageRow>) -> (LayersUsage, Vec<ImageUsage>) {
    let mut sum = LayersUsage::default();
    let mut users: HashMap<u64, u64> = HashMap::new();
    for image in &images {
        *users.entry(image.layer).or_default() += 1;
    }
    let mut own: Vec<&LayerRow> = Vec::new();
    for layer in layers {
        if layer.stands_for.is_some() {
            sum.squashed += 1;
        } else {
            own.push(layer);
        }
    }
    own.sort_unstable_by_key(|layer| layer.depth);
    for layer in own.iter().rev() {
        let count = users.get(&layer.id).copied().unwrap_or_default();
        if let Some(parent) = layer.parent {
            *users.entry(parent).or_default() += count;
        }
        sum.count += 1;
        match count {
            0 => sum.unused_bytes += layer.bytes,
            1 => sum.unique_bytes += layer.bytes,
            _ => sum.shared_bytes += layer.bytes,
        }
    }
    // All bytes down to a layer, and those of them that one image alone has.
    let mut down: HashMap<u64, (u64, u64)> = HashMap::new();
    for layer in own {
        let below = layer
            .parent
            .and_then(|parent| down.get(&parent))
            .copied()
            .unwrap_or_default();
        let alone = users.get(&layer.id) == Some(&1);
        let unique = if alone { below.1 + layer.bytes } else { 0 };
        down.insert(layer.id, (below.0 + layer.bytes, unique));
    }
    let images = images.into_iter().map(|image| {
        let (bytes, unique_bytes) = down.get(&image.layer).copied().unwrap_or_default();
        ImageUsage {
            uuid: image.uuid,
            tags: image.tags,
            bytes,
            unique_bytes,
        }
    });
    (sum, images.collect())
}

fn counted(directory: &Path) -> Counted {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.fold(Counted::default(), |sum, entry| Counted {
        count: sum.count + 1,
        bytes: sum.bytes + on_disk(&entry.path()),
    })
}

fn on_disk(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |about| about.blocks() * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(id: u64, parent: Option<u64>, stands_for: Option<u64>) -> LayerRow {
        LayerRow {
            id,
            parent,
            // As deep as it is young.
            depth: id,
            stands_for,
            bytes: 10_u64.pow(u32::try_from(id).unwrap_or_default()),
            ready: true,
        }
    }

    #[test]
    fn what_several_images_have_is_shared() {
        // 1 <- 2 <- 3, 2 <- 4; 5 has no image; 6 stands for 3.
        let layers = [
            layer(1, None, None),
            layer(2, Some(1), None),
            layer(3, Some(2), None),
            layer(4, Some(2), None),
            layer(5, Some(1), None),
            layer(6, Some(1), Some(3)),
        ];
        let image = |layer| ImageRow::new(Uuid::nil(), layer);
        let (sum, images) = share(&layers, vec![image(3), image(4)]);
        assert_eq!((sum.count, sum.squashed), (5, 1));
        assert_eq!(sum.shared_bytes, 110);
        assert_eq!(sum.unique_bytes, 11_000);
        assert_eq!(sum.unused_bytes, 100_000);
        assert_eq!((images[0].bytes, images[0].unique_bytes), (1110, 1000));
        assert_eq!((images[1].bytes, images[1].unique_bytes), (10_110, 10_000));
    }

    #[test]
    fn a_layer_may_be_older_than_the_one_below_it() {
        let mut layers = [
            layer(1, Some(2), None),
            layer(2, None, None),
            layer(3, Some(2), None),
        ];
        for (layer, depth) in layers.iter_mut().zip([2, 1, 2]) {
            layer.depth = depth;
        }
        let image = |layer| ImageRow::new(Uuid::nil(), layer);
        let (sum, images) = share(&layers, vec![image(1), image(3)]);
        assert_eq!((sum.shared_bytes, sum.unique_bytes), (100, 1010));
        assert_eq!((images[0].bytes, images[0].unique_bytes), (110, 10));
        assert_eq!((images[1].bytes, images[1].unique_bytes), (1100, 1000));
    }
}
