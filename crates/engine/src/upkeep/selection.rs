//! Selecting unused data and removing its records.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;
use uuid::Uuid;

use crate::rows::clock::Ages;
use crate::rows::upkeep::{self as rows, FileRow, ImageRow, LayerRow};
use crate::rows::{Rows, layers};
use contree_sqlite::DatabaseError;

/// Unused data, which is removed first from the records and then from the disk.
#[derive(Default)]
pub(super) struct Selection {
    pub(super) images: Vec<Uuid>,
    pub(super) layers: Vec<LayerRow>,
    pub(super) files: Vec<FileRow>,
    pub(super) operations: Vec<SelectedOperation>,
}

/// An operation whose log is removed.
pub(super) struct SelectedOperation {
    pub(super) uuid: Uuid,
    /// True if its record stays, with the last event of its log.
    pub(super) keeps_record: bool,
}

impl Selection {
    /// Returns whether nothing is selected.
    pub(super) fn is_empty(&self) -> bool {
        self.images.is_empty()
            && self.layers.is_empty()
            && self.files.is_empty()
            && self.operations.is_empty()
    }

    /// Adds another selection.
    pub(super) fn extend(&mut self, other: Self) {
        self.images.extend(other.images);
        self.layers.extend(other.layers);
        self.files.extend(other.files);
        self.operations.extend(other.operations);
    }
}

/// Selects data that was unused for `min_age` microseconds and on which nothing depends. Records
/// stay as they are.
pub(super) fn select(
    c: &Connection,
    ages: &Ages,
    min_age: i64,
) -> Result<Selection, DatabaseError> {
    let is_old = |at: i64| ages.age(at) >= min_age;
    let all_layers = rows::layers(c)?;
    let all_images = rows::images(c)?;
    let (mut needed, requests) = rows::in_use(c)?;
    needed.extend(Rows::meta(c, "host_image")?.and_then(|uuid| Uuid::parse_str(&uuid).ok()));
    match rows::rebuilt(c)? {
        Some(rebuilt) if is_old(rebuilt.at) => {}
        Some(rebuilt) => needed.extend(rebuilt.images),
        None => needed.extend(all_images.iter().map(|image| image.uuid)),
    }
    let uses = rows::uses(c)?;
    needed.extend(
        uses.iter()
            .filter(|(_, at)| !is_old(*at))
            .map(|(uuid, _)| *uuid),
    );
    needed.extend(
        all_images
            .iter()
            .filter(|image| !image.tags.is_empty() || !is_old(image.created_at))
            .map(|image| image.uuid),
    );
    let mut remaining: HashSet<Uuid> = all_images.iter().map(|image| image.uuid).collect();
    let (images, mut layers) = unneeded(all_images, all_layers, &needed);
    // Squashed layers first, then the upper layers before the lower ones.
    layers.sort_unstable_by_key(|layer| std::cmp::Reverse((layer.stands_for.is_some(), layer.id)));
    for image in &images {
        remaining.remove(image);
    }
    let mut files = rows::files(c)?;
    files.retain(|file| {
        let uuid = file.uuid.to_string();
        is_old(file.updated_at) && !requests.iter().any(|request| request.contains(&uuid))
    });
    let operations = rows::ended_operations(c)?
        .into_iter()
        .filter(|operation| is_old(operation.ended_at))
        // The record of an operation whose image still exists is kept. It names the image's parent.
        .map(|operation| {
            let keeps_record = operation
                .made
                .is_some_and(|image| remaining.contains(&image));
            SelectedOperation {
                uuid: operation.uuid,
                keeps_record,
            }
        })
        .collect();
    Ok(Selection {
        images,
        layers,
        files,
        operations,
    })
}

/// Removes the records of a selection that was made in the same transaction. Of files and of
/// operations, it removes at most `limit` and leaves the others out of the result.
pub(super) fn remove_records(
    c: &Connection,
    mut selection: Selection,
    limit: usize,
) -> Result<Selection, DatabaseError> {
    // A layer's parent may have a higher id, if two imports made their common layers at the same
    // time. So foreign keys are checked at the end of the transaction, when all selected records
    // are gone.
    c.execute_batch("PRAGMA defer_foreign_keys = ON")?;
    selection.files.truncate(limit);
    let mut removed = 0;
    selection.operations.retain(|operation| {
        let within = operation.keeps_record || removed < limit;
        removed += usize::from(!operation.keeps_record && within);
        within
    });
    for image in &selection.images {
        rows::remove_image(c, *image)?;
    }
    for layer in &selection.layers {
        layers::remove(c, layer.id)?;
    }
    // If the removal of their directories is interrupted, these are not layers without a record.
    let ids: Vec<u64> = selection.layers.iter().map(|layer| layer.id).collect();
    if !ids.is_empty() {
        layers::add_removing(c, &ids)?;
    }
    for file in &selection.files {
        rows::remove_file(c, file.uuid)?;
    }
    let operations = selection.operations.iter();
    for operation in operations.filter(|operation| !operation.keeps_record) {
        rows::remove_operation(c, operation.uuid)?;
    }
    Ok(selection)
}

/// The images and layers that nothing needs.
///
/// The layers of needed images are needed, and so is every image whose top layer is one of them.
fn unneeded(
    images: Vec<ImageRow>,
    layers: Vec<LayerRow>,
    needed_images: &HashSet<Uuid>,
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
        if needed_images.contains(&image.uuid) {
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
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::rows::clock::{ClockReading, DAY, StoreClock};

    fn layer(id: u64, parent: Option<u64>) -> LayerRow {
        LayerRow {
            id,
            parent,
            depth: 1,
            stands_for: None,
            bytes: 1,
            ready: true,
            imported: false,
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
        let (images, layers) = unneeded(images, layers, &in_use);
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
        let images: Vec<ImageRow> = (1..=5).map(|id| image(id.into(), id)).collect();
        assert_eq!(
            unneeded_ids(images.clone(), layers.clone(), &[3]),
            (vec![4, 5], vec![4, 5])
        );
        assert_eq!(unneeded_ids(images, layers, &[3, 4]), (vec![5], vec![5]));
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
        assert_eq!(
            unneeded_ids(vec![image(2, 2), image(3, 3)], layers, &[2]),
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
        let selection = rows
            .write(|t| {
                let selection = select(t, &rows.ages(t)?, 100)?;
                remove_records(t, selection, usize::MAX)
            })
            .unwrap();
        assert_eq!(selection.images, [image]);
        assert_eq!(selection.layers.len(), 2);
        assert!(rows.read(rows::layers).unwrap().is_empty());
        assert_eq!(rows.read(layers::removing).unwrap().len(), 2);
    }

    /// A clock that a test sets.
    #[derive(Clone)]
    struct TestClock(Arc<Mutex<ClockReading>>);

    impl TestClock {
        fn start() -> Self {
            Self(Arc::new(Mutex::new(ClockReading {
                boot: "a".to_owned(),
                since_boot: DAY,
                wall: 20_000 * DAY,
            })))
        }

        fn store_clock(&self) -> StoreClock {
            let clock = self.clone();
            StoreClock::new(move || clock.0.lock().unwrap().clone())
        }

        /// Lets time pass.
        fn pass(&self, time: i64) {
            let mut reading = self.0.lock().unwrap();
            reading.since_boot += time;
            reading.wall += time;
        }

        /// Sets the clock to another time.
        fn jump(&self, by: i64) {
            self.0.lock().unwrap().wall += by;
        }

        fn boot(&self) {
            let mut reading = self.0.lock().unwrap();
            reading.boot.push('+');
            reading.since_boot = 0;
        }

        fn now(&self) -> i64 {
            self.0.lock().unwrap().wall
        }
    }

    /// Records an image, an uploaded file and an ended operation that are made now.
    fn make_all(rows: &Rows, clock: &TestClock, name: u128) {
        let (uuid, now) = (Uuid::from_u128(name).to_string(), clock.now());
        rows.write(|t| {
            let layer = layers::reserve(t, None, Uuid::nil(), "a")?;
            layers::mark_ready(t, layer, 1, None)?;
            t.execute(
                "INSERT INTO images (uuid, layer, env, cwd, created_at) VALUES (?1, ?2, '{}', '', ?3)",
                (&uuid, layer, now),
            )?;
            t.execute(
                "INSERT INTO files (uuid, sha256, size, created_at, updated_at) VALUES (?1, ?1, 1, ?2, ?2)",
                (&uuid, now),
            )?;
            t.execute(
                "INSERT INTO operations (uuid, kind, status, request, created_at, ended_at)
                 VALUES (?1, 'instance', 'FAILED', '{}', ?2, ?2)",
                (&uuid, now),
            )?;
            Ok(())
        })
        .unwrap();
    }

    /// The numbers of images, files and operations that were unused for 30 days.
    fn old(rows: &Rows) -> [usize; 3] {
        let selection = rows.read(|c| select(c, &rows.ages(c)?, 30 * DAY)).unwrap();
        [
            selection.images.len(),
            selection.files.len(),
            selection.operations.len(),
        ]
    }

    #[test]
    fn a_jump_of_the_clock_makes_no_data_old() {
        for jump in [-60 * DAY, 60 * DAY] {
            let folder = tempfile::tempdir().unwrap();
            let clock = TestClock::start();
            let open =
                || Rows::with_clock(&folder.path().join("store.db"), clock.store_clock()).unwrap();
            let rows = open();
            make_all(&rows, &clock, 1);
            clock.pass(DAY / 24);
            clock.jump(jump);
            make_all(&rows, &clock, 2);
            assert_eq!(old(&rows), [0; 3], "while the clock is wrong by {jump}");
            clock.pass(DAY / 24);
            clock.jump(-jump);
            make_all(&rows, &clock, 3);
            assert_eq!(old(&rows), [0; 3], "after the clock was wrong by {jump}");
            // Another engine, after a boot with the same defect.
            drop(rows);
            clock.boot();
            clock.jump(jump);
            let rows = open();
            make_all(&rows, &clock, 4);
            clock.jump(-jump);
            make_all(&rows, &clock, 5);
            assert_eq!(old(&rows), [0; 3], "after a boot with {jump}");
            clock.pass(31 * DAY);
            assert_eq!(old(&rows), [5; 3], "after 31 days");
        }
    }

    #[test]
    fn a_damaged_record_of_rebuilt_images_keeps_all_images() {
        let folder = tempfile::tempdir().unwrap();
        let clock = TestClock::start();
        let path = folder.path().join("store.db");
        let rows = Rows::with_clock(&path, clock.store_clock()).unwrap();
        make_all(&rows, &clock, 1);
        clock.pass(31 * DAY);
        assert_eq!(old(&rows)[0], 1);
        rows.write(|t| Rows::set_meta(t, "rebuilt_images", "{\"at\":"))
            .unwrap();
        assert_eq!(old(&rows)[0], 0);
        // A rebuild writes a new record, from which on the retention time counts.
        rows.write(|t| rows::keep_rebuilt(t, &[], clock.now()))
            .unwrap();
        assert_eq!(old(&rows)[0], 0);
        clock.pass(31 * DAY);
        assert_eq!(old(&rows)[0], 1);
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
