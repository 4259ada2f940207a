//! Disk usage of a data directory.

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

/// The disk usage of a data directory. Sizes of layers are those measured at their commit.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// The data directory.
    pub data_dir: String,
    /// The sum of all parts, in bytes.
    pub total_bytes: u64,
    /// All images, the newest first.
    pub images: Vec<ImageUsage>,
    /// The layers of images.
    pub layers: LayersUsage,
    /// Uploaded files.
    pub files: FilesUsage,
    /// Event logs of operations.
    pub logs: FilesUsage,
    /// The size of the database of records, in bytes.
    pub records_bytes: u64,
    /// The number of run directories: of running operations, or left behind by killed engines.
    pub runs: u64,
}

/// The disk usage of one image.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ImageUsage {
    /// The image's UUID.
    pub uuid: Uuid,
    /// Its tags.
    pub tags: Vec<String>,
    /// The size of all its layers, in bytes.
    pub bytes: u64,
    /// The size of the layers that no other image has, in bytes.
    pub unique_bytes: u64,
}

/// The disk usage of all layers.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct LayersUsage {
    /// The number of layers, without squashed ones.
    pub count: u64,
    /// The size of layers that two or more images have, in bytes.
    pub shared_bytes: u64,
    /// The size of layers that only one image has, in bytes.
    pub unique_bytes: u64,
    /// The size of layers that no image has, in bytes.
    pub unused_bytes: u64,
    /// The number of squashed layers. Their files are hard links to those of the layers they
    /// replace.
    pub squashed: u64,
}

/// The number and size of the files in a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FilesUsage {
    /// The number of files.
    pub count: u64,
    /// Their disk space, in bytes.
    pub bytes: u64,
}

/// Measures the disk usage of a data directory.
///
/// # Errors
/// If the directory cannot be read.
pub fn usage(config: &LocalConfig) -> Result<Usage, EngineError> {
    let engine = Engine::open(config)?;
    let (all_layers, all_images) = engine.rows.read(|c| Ok((layers(c)?, images(c)?)))?;
    let root = engine.store.root();
    let files = files_usage(&root.join("files"));
    let logs = files_usage(&root.join("events"));
    let records_bytes = ["store.db", "store.db-wal", "store.db-shm"]
        .iter()
        .map(|name| disk_space(&root.join(name)))
        .sum();
    let (layers, images) = layers_and_images(&all_layers, all_images);
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

/// Computes the usage of layers and images. It counts how many images have each layer, in one pass
/// from the top layers to the lowest.
fn layers_and_images(layers: &[LayerRow], images: Vec<ImageRow>) -> (LayersUsage, Vec<ImageUsage>) {
    let mut sum = LayersUsage::default();
    let mut image_counts: HashMap<u64, u64> = HashMap::new();
    for image in &images {
        *image_counts.entry(image.layer).or_default() += 1;
    }
    let mut unsquashed: Vec<&LayerRow> = Vec::new();
    for layer in layers {
        if layer.stands_for.is_some() {
            sum.squashed += 1;
        } else {
            unsquashed.push(layer);
        }
    }
    unsquashed.sort_unstable_by_key(|layer| layer.depth);
    for layer in unsquashed.iter().rev() {
        let count = image_counts.get(&layer.id).copied().unwrap_or_default();
        if let Some(parent) = layer.parent {
            *image_counts.entry(parent).or_default() += count;
        }
        sum.count += 1;
        match count {
            0 => sum.unused_bytes += layer.bytes,
            1 => sum.unique_bytes += layer.bytes,
            _ => sum.shared_bytes += layer.bytes,
        }
    }
    // For each layer: the bytes of its chain, and those of them that only one image has.
    let mut chain_bytes: HashMap<u64, (u64, u64)> = HashMap::new();
    for layer in unsquashed {
        let below = layer
            .parent
            .and_then(|parent| chain_bytes.get(&parent))
            .copied()
            .unwrap_or_default();
        let is_unique = image_counts.get(&layer.id) == Some(&1);
        let unique = if is_unique { below.1 + layer.bytes } else { 0 };
        chain_bytes.insert(layer.id, (below.0 + layer.bytes, unique));
    }
    let images = images.into_iter().map(|image| {
        let (bytes, unique_bytes) = chain_bytes.get(&image.layer).copied().unwrap_or_default();
        ImageUsage {
            uuid: image.uuid,
            tags: image.tags,
            bytes,
            unique_bytes,
        }
    });
    (sum, images.collect())
}

fn files_usage(directory: &Path) -> FilesUsage {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.fold(FilesUsage::default(), |sum, entry| FilesUsage {
        count: sum.count + 1,
        bytes: sum.bytes + disk_space(&entry.path()),
    })
}

fn disk_space(path: &Path) -> u64 {
    // `st_blocks` counts units of 512 bytes (stat(2)).
    fs::symlink_metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(id: u64, parent: Option<u64>, stands_for: Option<u64>) -> LayerRow {
        LayerRow {
            id,
            parent,
            // The higher the id, the longer the chain.
            depth: id,
            stands_for,
            bytes: 10_u64.pow(u32::try_from(id).unwrap_or_default()),
            ready: true,
            imported: false,
        }
    }

    #[test]
    fn layers_of_several_images_are_shared() {
        // 1 <- 2 <- 3, 2 <- 4; 5 has no image; 6 is the squashed layer for 3.
        let layers = [
            layer(1, None, None),
            layer(2, Some(1), None),
            layer(3, Some(2), None),
            layer(4, Some(2), None),
            layer(5, Some(1), None),
            layer(6, Some(1), Some(3)),
        ];
        let image = |layer| ImageRow::new(Uuid::nil(), layer);
        let (sum, images) = layers_and_images(&layers, vec![image(3), image(4)]);
        assert_eq!((sum.count, sum.squashed), (5, 1));
        assert_eq!(sum.shared_bytes, 110);
        assert_eq!(sum.unique_bytes, 11_000);
        assert_eq!(sum.unused_bytes, 100_000);
        assert_eq!((images[0].bytes, images[0].unique_bytes), (1110, 1000));
        assert_eq!((images[1].bytes, images[1].unique_bytes), (10_110, 10_000));
    }

    #[test]
    fn a_layer_may_have_a_lower_id_than_its_parent() {
        let mut layers = [
            layer(1, Some(2), None),
            layer(2, None, None),
            layer(3, Some(2), None),
        ];
        for (layer, depth) in layers.iter_mut().zip([2, 1, 2]) {
            layer.depth = depth;
        }
        let image = |layer| ImageRow::new(Uuid::nil(), layer);
        let (sum, images) = layers_and_images(&layers, vec![image(1), image(3)]);
        assert_eq!((sum.shared_bytes, sum.unique_bytes), (100, 1010));
        assert_eq!((images[0].bytes, images[0].unique_bytes), (110, 10));
        assert_eq!((images[1].bytes, images[1].unique_bytes), (1100, 1000));
    }
}
