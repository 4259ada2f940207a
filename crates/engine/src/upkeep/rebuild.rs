//! Recording layers again that have no record, as their notes say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::Path;

use chrono::Utc;
use contree_registry::DigestHasher;
use contree_sandbox::LayerId;
use rusqlite::Connection;
use serde::Serialize;
use uuid::Uuid;

use super::missing_layers::MissingLayer;
use crate::engine::Engine;
use crate::error::StorageError;
use crate::image::DEFAULT_PATH;
use crate::layer_note::{LayerNote, NotedImage, NotedLayer, NotedTag, noted_images, noted_layer};
use crate::rows::layers::RecordedLayer;
use crate::rows::{files, from_micros, images, imports, layers, upkeep as rows};
use contree_sqlite::DatabaseError;

/// The directories that the lowest layer of every image has, and that commands rarely change.
const LOWEST_LAYER: [&str; 3] = ["proc", "sys", "dev"];

/// The records that were made again.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Rebuilt {
    /// The number of layers.
    pub layers: u64,
    /// The images.
    pub images: Vec<Uuid>,
    /// The tags that were set.
    pub tags: Vec<String>,
    /// The number of uploaded files. Their UUIDs are new.
    pub files: u64,
    /// Images that are marked as lost, because a layer of theirs is missing.
    pub lost: Vec<Uuid>,
    /// Layers that could not be recorded again, each with the reason.
    pub problems: Vec<String>,
}

/// Records layers again, with their images, tags and uploaded files, and marks images as lost whose
/// layers are missing.
pub(super) fn rebuild(
    engine: &Engine,
    mut notes: BTreeMap<u64, Vec<LayerNote>>,
    missing: &[MissingLayer],
) -> Result<Rebuilt, StorageError> {
    let mut rebuilt = Rebuilt::default();
    for (layer, notes) in &mut notes {
        if noted_layer(notes).is_none() && is_lowest(engine, *layer) {
            notes.extend(guess_lowest());
        }
    }
    let digests = find_uploads(engine)?;
    let mut all_notes = Vec::new();
    for LayerId(layer) in engine.store.layer_ids()? {
        let text = engine.store.layer_description(LayerId(layer))?;
        all_notes.extend(LayerNote::parse(&text.unwrap_or_default()));
    }
    engine.rows.write(|t| {
        mark_missing(t, missing, &mut rebuilt)?;
        restore_layers(t, &notes, &engine.boot, &mut rebuilt)?;
        rows::keep_rebuilt(t, &rebuilt.images, Utc::now().timestamp_micros())?;
        restore_tags(t, all_notes, &mut rebuilt)?;
        for (digest, size) in &digests {
            files::record(t, digest, *size)?;
            rebuilt.files += 1;
        }
        Ok(())
    })?;
    engine.store.sync()?;
    let restored = engine.rows.read(layers::unsynced)?;
    engine.rows.write(|t| layers::mark_synced(t, &restored))?;
    engine.rows.sync()?;
    Ok(rebuilt)
}

/// Marks images as lost whose layers are missing, and forgets missing squashed layers, which can be
/// made again.
fn mark_missing(
    t: &Connection,
    missing: &[MissingLayer],
    rebuilt: &mut Rebuilt,
) -> Result<(), DatabaseError> {
    let squashed: Vec<u64> = rows::layers(t)?
        .iter()
        .filter(|layer| layer.stands_for.is_some())
        .map(|layer| layer.id)
        .collect();
    let mut lost = BTreeSet::new();
    for layer in missing {
        if squashed.contains(&layer.layer) {
            layers::remove(t, layer.layer)?;
        }
        lost.extend(layer.images.iter().copied());
    }
    for image in &lost {
        images::mark_lost(t, *image)?;
    }
    layers::forget_lost_host(t)?;
    rebuilt.lost = lost.into_iter().collect();
    Ok(())
}

/// Records layers, each after the layer below it, and their images.
fn restore_layers(
    t: &Connection,
    notes: &BTreeMap<u64, Vec<LayerNote>>,
    boot: &str,
    rebuilt: &mut Rebuilt,
) -> Result<(), DatabaseError> {
    let mut recorded = layers::ids(t)?;
    let mut waiting: BTreeMap<u64, &NotedLayer> = BTreeMap::new();
    for (layer, notes) in notes {
        match noted_layer(notes) {
            Some(noted) => {
                waiting.insert(*layer, noted);
            }
            None => rebuilt.problems.push(format!(
                "layer {layer} has no note about itself, so the layer below it is not known"
            )),
        }
    }
    loop {
        let ready: Vec<u64> = waiting
            .iter()
            .filter(|(_, noted)| {
                let mut below = noted.parent.iter().chain(noted.stands_for.iter());
                below.all(|layer| recorded.contains(layer))
            })
            .map(|(layer, _)| *layer)
            .collect();
        if ready.is_empty() {
            break;
        }
        for layer in ready {
            let Some(noted) = waiting.remove(&layer) else {
                continue;
            };
            let restored = layers::restore(
                t,
                &RecordedLayer {
                    id: layer,
                    parent: noted.parent,
                    bytes: noted.bytes,
                    chain: noted.chain.clone(),
                    stands_for: noted.stands_for,
                    files: noted.files,
                },
                boot,
            )?;
            if !restored {
                // A squashed layer that another one has replaced meanwhile.
                layers::add_removing(t, &[layer])?;
                continue;
            }
            recorded.insert(layer);
            rebuilt.layers += 1;
            for image in notes.get(&layer).into_iter().flat_map(|n| noted_images(n)) {
                restore_image(t, layer, image, rebuilt)?;
            }
        }
    }
    for (layer, noted) in waiting {
        let below = noted.parent.unwrap_or_default();
        rebuilt.problems.push(format!(
            "layer {layer} is based on layer {below}, which is missing or cannot be recorded"
        ));
    }
    Ok(())
}

fn restore_image(
    t: &Connection,
    layer: u64,
    noted: &NotedImage,
    rebuilt: &mut Rebuilt,
) -> Result<(), DatabaseError> {
    if images::by_uuid(t, noted.uuid)?.is_some() {
        return Ok(());
    }
    let image = images::Image {
        uuid: noted.uuid,
        layer,
        env: noted.env.clone(),
        cwd: noted.cwd.clone(),
        operation: noted.operation,
        lost: false,
        created_at: from_micros(noted.created_at),
    };
    images::insert(t, &image)?;
    if let Some(key) = &noted.import_key
        && imports::find(t, key)?.is_none()
    {
        imports::record(t, key, image.uuid)?;
    }
    rebuilt.images.push(image.uuid);
    Ok(())
}

/// Sets the tags whose newest note names a restored image. A tag that was set later stays.
fn restore_tags(
    t: &Connection,
    notes: Vec<LayerNote>,
    rebuilt: &mut Rebuilt,
) -> Result<(), DatabaseError> {
    let mut newest: HashMap<String, NotedTag> = HashMap::new();
    for note in notes {
        if let LayerNote::Tag(tag) = note
            && newest.get(&tag.tag).is_none_or(|other| other.at <= tag.at)
        {
            newest.insert(tag.tag.clone(), tag);
        }
    }
    let mut newest: Vec<NotedTag> = newest.into_values().collect();
    newest.sort_by(|one, other| one.tag.cmp(&other.tag));
    for tag in newest {
        if tag.removed
            || images::by_uuid(t, tag.image)?.is_none_or(|image| image.lost)
            || images::tag_is_newer_than(t, &tag.tag, tag.at)?
            || images::by_tag(t, &tag.tag)?.is_some_and(|image| image.uuid == tag.image)
        {
            continue;
        }
        images::set_tag_at(t, &tag.tag, tag.image, tag.at)?;
        rebuilt.tags.push(tag.tag);
    }
    Ok(())
}

/// Returns whether a layer without a note is the lowest one of an image.
fn is_lowest(engine: &Engine, layer: u64) -> bool {
    let root = engine
        .store
        .root()
        .join("layers")
        .join(layer.to_string())
        .join("d");
    LOWEST_LAYER.iter().all(|name| root.join(name).is_dir())
}

/// The notes of a lowest layer of an earlier release. Its image gets a new UUID.
fn guess_lowest() -> [LayerNote; 2] {
    [
        LayerNote::Layer(NotedLayer {
            parent: None,
            bytes: 0,
            chain: None,
            stands_for: None,
            files: None,
        }),
        LayerNote::Image(NotedImage {
            uuid: Uuid::new_v4(),
            env: BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]),
            cwd: String::new(),
            operation: None,
            command: None,
            import_key: None,
            created_at: Utc::now().timestamp_micros(),
        }),
    ]
}

/// The uploaded files without a record, with their digests and sizes. A damaged one is left out.
fn find_uploads(engine: &Engine) -> Result<Vec<(String, u64)>, StorageError> {
    let recorded = engine.rows.read(rows::file_digests)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(engine.store.root().join("files"))?.flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let is_digest = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_digest && !recorded.contains(&name) {
            let (digest, size) = hash(&entry.path())?;
            if digest == name {
                found.push((digest, size));
            }
        }
    }
    Ok(found)
}

/// The digest of a file in lower-case hexadecimal, and its size.
fn hash(path: &Path) -> io::Result<(String, u64)> {
    let mut hash = HashWriter(DigestHasher::new());
    let size = io::copy(&mut File::open(path)?, &mut hash)?;
    Ok((hash.0.finish().hex().to_owned(), size))
}

/// A writer that hashes its input.
struct HashWriter(DigestHasher);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
