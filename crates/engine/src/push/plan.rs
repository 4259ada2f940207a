//! Reads the layers of an image, and the known archives of each.

use std::collections::{BTreeMap, HashMap};

use contree_registry::push::document::{HistoryEntry, ImageProperties};
use contree_registry::push::layer::LayerCompression;
use contree_sqlite::DatabaseError;
use rusqlite::Connection;
use uuid::Uuid;

use crate::operation::events::timestamp;
use crate::rows::images::{self, Image};
use crate::rows::operations::Operation;
use crate::rows::pushes::{self, ImportedManifest, LayerArchive};
use crate::rows::{layers, log};

/// The most layers of a pushed image. Other programs read no more.
const MAX_LAYERS: usize = contree_registry::manifest::MAX_LAYERS;
/// The most images whose commands are read.
const MAX_HISTORY: usize = 2_000;

/// The options of a push.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PushOptions {
    pub(crate) squash: bool,
    pub(crate) compression: LayerCompression,
}

/// Layers that become one blob, the top first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerGroup {
    pub(super) layers: Vec<u64>,
    /// The layers below, the top first.
    pub(super) below: Vec<u64>,
    /// The known archives with the same files, those of imports first.
    pub(super) archives: Vec<LayerArchive>,
}

impl LayerGroup {
    /// Returns the layer, if the group has one alone. `None` if several layers become one blob.
    pub(super) fn single(&self) -> Option<u64> {
        match self.layers.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }
}

/// The plan for pushing an image.
#[derive(Clone, Debug)]
pub(super) struct PushPlan {
    /// The layers, the bottom first.
    pub(super) groups: Vec<LayerGroup>,
    pub(super) properties: ImageProperties,
    pub(super) annotations: BTreeMap<String, String>,
    /// The manifest of an image that was imported and never changed.
    pub(super) original: Option<ImportedManifest>,
}

impl PushPlan {
    /// Reads the plan. `None` if the image does not exist.
    pub(super) fn read(
        c: &Connection,
        image: Uuid,
        options: PushOptions,
    ) -> Result<Option<Self>, DatabaseError> {
        let Some(image) = images::by_uuid(c, image)?.filter(|image| !image.lost) else {
            return Ok(None);
        };
        let mut chain = layers::ancestors(c, image.layer)?;
        chain.reverse();
        let mut imported = 0;
        for layer in &chain {
            if !log::is_imported(c, *layer)? {
                break;
            }
            imported += 1;
        }
        let original = match options.squash {
            false => pushes::manifest_of_image(c, image.uuid)?,
            true => None,
        };
        let base = match (&original, imported) {
            (Some(original), _) => Some(original.clone()),
            (None, 0) => None,
            (None, count) => pushes::manifest_of_layer(c, chain[count - 1])?,
        };
        let parts = match options.squash {
            true => vec![chain.len()],
            false => group_sizes(imported, chain.len()),
        };
        let mut groups = Vec::new();
        let mut start = 0;
        for size in parts {
            let top_first = |layers: &[u64]| layers.iter().rev().copied().collect::<Vec<_>>();
            let archives = match size {
                1 if !options.squash => pushes::archives(c, chain[start])?,
                _ => Vec::new(),
            };
            groups.push(LayerGroup {
                layers: top_first(&chain[start..start + size]),
                below: top_first(&chain[..start]),
                archives: archives
                    .into_iter()
                    .filter(|archive| is_usable(archive, options.compression))
                    .collect(),
            });
            start += size;
        }
        let lineage = Lineage::read(c, &image)?;
        let base_layers = match &base {
            Some(_) if !options.squash => imported,
            _ => 0,
        };
        let properties = ImageProperties {
            created: Some(timestamp(image.created_at)),
            env: image.env.clone(),
            working_directory: image.cwd.clone(),
            base: base.map(|base| base.config),
            base_layers,
            history: groups[base_layers.min(groups.len())..]
                .iter()
                .map(|group| lineage.entry(group.layers[0]))
                .collect(),
        };
        Ok(Some(Self {
            groups,
            properties,
            annotations: lineage.annotations,
            original,
        }))
    }
}

/// Returns whether an archive may be a blob of the pushed image.
fn is_usable(archive: &LayerArchive, compression: LayerCompression) -> bool {
    archive.source.is_some() || archive.media_type == compression.media_type()
}

/// The sizes of the groups, the bottom first. Imported layers stay as they are. If there are too
/// many others, 2, 4, 8 or more of them become one blob, counted from the bottom. So most blobs
/// stay the same when further layers are added.
fn group_sizes(imported: usize, layers: usize) -> Vec<usize> {
    let others = layers - imported;
    let room = MAX_LAYERS.saturating_sub(imported).max(1);
    let mut size = 1;
    while others.div_ceil(size) > room {
        size *= 2;
    }
    let mut sizes = vec![1; imported];
    sizes.extend(std::iter::repeat_n(size, others / size));
    if !others.is_multiple_of(size) {
        sizes.push(others % size);
    }
    sizes
}

/// The commands that made the layers of an image.
struct Lineage {
    /// The history of each layer that is the top of an image.
    entries: HashMap<u64, HistoryEntry>,
    annotations: BTreeMap<String, String>,
}

impl Lineage {
    fn read(c: &Connection, image: &Image) -> Result<Self, DatabaseError> {
        let page = log::ancestors(c, image.uuid, MAX_HISTORY, 0)?;
        let mut entries = HashMap::new();
        let mut annotations = BTreeMap::new();
        let mut annotate = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                annotations.insert(format!("dev.contree.{name}"), value);
            }
        };
        for (at, logged) in page.images.iter().enumerate() {
            let operation = logged.operation.as_ref();
            let command = operation.and_then(Operation::requested);
            if at == 0 {
                annotate("image", Some(logged.uuid.to_string()));
                annotate("parent", logged.parent.map(|parent| parent.to_string()));
                annotate("command", command.clone());
                annotate("tag", images::newest_tag(c, image.uuid)?);
            }
            let Some(made) = &logged.image else {
                continue;
            };
            // Several images may have this top layer. The oldest, which comes last, made it.
            entries.insert(
                made.layer,
                HistoryEntry {
                    created: Some(timestamp(made.created_at)),
                    created_by: command,
                    comment: Some("contree".to_owned()),
                },
            );
        }
        Ok(Self {
            entries,
            annotations,
        })
    }

    fn entry(&self, layer: u64) -> HistoryEntry {
        self.entries.get(&layer).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_chain_fits_and_its_lower_blobs_stay() {
        assert_eq!(group_sizes(2, 5), [1; 5]);
        assert_eq!(group_sizes(0, MAX_LAYERS), vec![1; MAX_LAYERS]);
        assert_eq!(group_sizes(0, 0), Vec::<usize>::new());
        for (imported, layers) in [(0, 128), (3, 1000), (126, 1000), (127, 500), (10, 480)] {
            let sizes = group_sizes(imported, layers);
            assert!(sizes.len() <= MAX_LAYERS + 1, "{}", sizes.len());
            assert_eq!(sizes.iter().sum::<usize>(), layers);
            assert!(sizes[..imported].iter().all(|size| *size == 1));
        }
        let (shorter, longer) = (group_sizes(3, 1000), group_sizes(3, 1001));
        let whole = shorter.len() - 1;
        assert_eq!(shorter[..whole], longer[..whole]);
    }
}
