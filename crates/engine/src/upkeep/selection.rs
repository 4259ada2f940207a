//! Selecting unused data and removing its records, in one transaction.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;
use uuid::Uuid;

use crate::rows::upkeep::{self as rows, FileRow, ImageRow, LayerRow};
use crate::rows::{Rows, layers};
use contree_sqlite::DbError;

/// Unused data whose records were removed. Its directories and files are still to be removed.
pub(super) struct Selection {
    pub(super) images: Vec<Uuid>,
    pub(super) layers: Vec<LayerRow>,
    pub(super) files: Vec<FileRow>,
    /// Operations, each with a flag that is true if its record is kept.
    pub(super) operations: Vec<(Uuid, bool)>,
}

/// Selects data that was unused since `before` (microseconds since the Unix epoch) and on which
/// nothing depends, and removes its records.
pub(super) fn select(c: &Connection, before: i64) -> Result<Selection, DbError> {
    // A layer's parent may have a higher id, if two imports made their common layers at the same
    // time. So foreign keys are checked at the end of the transaction, when all selected records
    // are gone.
    c.execute_batch("PRAGMA defer_foreign_keys = ON")?;
    let all_layers = rows::layers(c)?;
    let all_images = rows::images(c)?;
    let (mut images_in_use, requests) = rows::in_use(c)?;
    images_in_use.extend(Rows::meta(c, "host_image")?.and_then(|uuid| Uuid::parse_str(&uuid).ok()));
    let (images, mut layers) = unneeded(all_images, all_layers, &images_in_use, before);
    // Squashed layers first, then the upper layers before the lower ones.
    layers.sort_unstable_by_key(|layer| std::cmp::Reverse((layer.stands_for.is_some(), layer.id)));
    for image in &images {
        rows::remove_image(c, *image)?;
    }
    for layer in &layers {
        layers::remove(c, layer.id)?;
    }
    let mut files = rows::files_before(c, before)?;
    files.retain(|file| {
        let uuid = file.uuid.to_string();
        !requests.iter().any(|request| request.contains(&uuid))
    });
    for file in &files {
        rows::remove_file(c, file.uuid)?;
    }
    let operations = rows::operations_before(c, before)?;
    for (operation, _) in operations.iter().filter(|(_, record_kept)| !record_kept) {
        rows::remove_operation(c, *operation)?;
    }
    Ok(Selection {
        images,
        layers,
        files,
        operations,
    })
}

/// The images and layers that nothing needs.
///
/// An image is needed if it has a tag, was used since `before`, or is in use. Its layers are
/// needed, and so is every image whose top layer is one of them.
fn unneeded(
    images: Vec<ImageRow>,
    layers: Vec<LayerRow>,
    images_in_use: &HashSet<Uuid>,
    before: i64,
) -> (Vec<Uuid>, Vec<LayerRow>) {
    let parents: HashMap<u64, Option<u64>> = layers
        .iter()
        .map(|layer| (layer.id, layer.parent))
        .collect();
    let mut needed: HashSet<u64> = HashSet::new();
    let mut mark_chain = |top: Option<u64>| {
        let mut next = top;
        while let Some(layer) = next
            && needed.insert(layer)
        {
            next = parents.get(&layer).copied().flatten();
        }
    };
    for image in &images {
        if !image.tags.is_empty() || image.used_at >= before || images_in_use.contains(&image.uuid)
        {
            mark_chain(Some(image.layer));
        }
    }
    // An unfinished commit or squash needs the layers that it depends on.
    for layer in layers.iter().filter(|layer| !layer.ready) {
        mark_chain(Some(layer.id));
        mark_chain(layer.stands_for);
    }
    let images = images
        .into_iter()
        .filter(|image| !needed.contains(&image.layer))
        .map(|image| image.uuid)
        .collect();
    let is_needed = |layer: &LayerRow| {
        needed.contains(&layer.id) || layer.stands_for.is_some_and(|top| needed.contains(&top))
    };
    let layers = layers
        .into_iter()
        .filter(|layer| !is_needed(layer))
        .collect();
    (images, layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(id: u64, parent: Option<u64>) -> LayerRow {
        LayerRow {
            id,
            parent,
            depth: 1,
            stands_for: None,
            bytes: 1,
            ready: true,
        }
    }

    fn image(name: u128, layer: u64) -> ImageRow {
        ImageRow::new(Uuid::from_u128(name), layer)
    }

    fn unneeded_ids(
        images: Vec<ImageRow>,
        layers: Vec<LayerRow>,
        in_use: &[u128],
    ) -> (Vec<u128>, Vec<u64>) {
        let in_use = in_use.iter().copied().map(Uuid::from_u128).collect();
        let (images, layers) = unneeded(images, layers, &in_use, 100);
        let mut layers: Vec<u64> = layers.iter().map(|layer| layer.id).collect();
        layers.sort_unstable();
        (images.iter().map(|uuid| uuid.as_u128()).collect(), layers)
    }

    #[test]
    fn the_layers_below_a_needed_image_are_needed() {
        let layers = vec![
            layer(1, None),
            layer(2, Some(1)),
            layer(3, Some(2)),
            layer(4, Some(2)),
            layer(5, Some(1)),
        ];
        let mut tagged = image(3, 3);
        tagged.tags.push("kept".to_owned());
        let images = vec![image(1, 1), image(2, 2), tagged, image(4, 4), image(5, 5)];
        assert_eq!(
            unneeded_ids(images.clone(), layers.clone(), &[]),
            (vec![4, 5], vec![4, 5])
        );
        assert_eq!(
            unneeded_ids(images.clone(), layers.clone(), &[4]),
            (vec![5], vec![5])
        );
        let mut recent = images;
        recent[4].used_at = 100;
        assert_eq!(unneeded_ids(recent, layers, &[]), (vec![4], vec![4]));
    }

    #[test]
    fn a_squashed_layer_is_removed_with_the_layer_that_it_stands_for() {
        let squash = |id, top| LayerRow {
            stands_for: Some(top),
            ..layer(id, Some(1))
        };
        let layers = vec![
            layer(1, None),
            layer(2, Some(1)),
            layer(3, Some(1)),
            squash(4, 2),
            squash(5, 3),
        ];
        let mut tagged = image(2, 2);
        tagged.tags.push("kept".to_owned());
        assert_eq!(
            unneeded_ids(vec![tagged, image(3, 3)], layers, &[]),
            (vec![3], vec![3, 5])
        );
    }

    #[test]
    fn a_layer_may_have_a_lower_id_than_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        let rows = Rows::open(&folder.path().join("store.db")).unwrap();
        let image = Uuid::from_u128(1);
        rows.write(|t| {
            // Two imports made the lower layer at the same time. The slower one's upper layer is
            // based on the faster one's lower layer.
            t.execute_batch(
                "INSERT INTO layers (id, parent, depth, bytes, ready, synced, boot_id) VALUES (7, NULL, 1, 1, 1, 1, 'b'), (5, 7, 2, 1, 1, 1, 'b')",
            )?;
            t.execute(
                "INSERT INTO images (uuid, layer, env, cwd, created_at) VALUES (?1, 5, '{}', '', 0)",
                [image.to_string()],
            )?;
            Ok(())
        })
        .unwrap();
        let selection = rows.write(|t| select(t, 100)).unwrap();
        assert_eq!(selection.images, [image]);
        assert_eq!(selection.layers.len(), 2);
        assert!(rows.read(rows::layers).unwrap().is_empty());
    }

    #[test]
    fn an_unfinished_layer_keeps_the_layers_that_it_depends_on() {
        let mut commit = layer(3, Some(2));
        commit.ready = false;
        let squash = LayerRow {
            stands_for: Some(5),
            ready: false,
            ..layer(6, Some(1))
        };
        let layers = vec![
            layer(1, None),
            layer(2, Some(1)),
            commit,
            layer(4, Some(1)),
            layer(5, Some(4)),
            squash,
        ];
        let images = vec![image(2, 2), image(4, 4), image(5, 5)];
        assert_eq!(unneeded_ids(images, layers, &[]), (vec![], vec![]));
    }
}
