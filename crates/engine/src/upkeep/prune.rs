//! Removing what nobody needs any more.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::Utc;
use contree_sandbox::LayerId;
use rusqlite::Connection;
use serde::Serialize;
use uuid::Uuid;

use crate::config::LocalConfig;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::error::StorageError;
use crate::operation::recover;
use crate::rows::upkeep::{self as rows, Content, ImageRow, LayerRow};
use crate::rows::{Rows, layers};
use contree_sqlite::DbError;

/// Contents and logs are made before their records; what is without one for so long is left behind.
const ORPHANED: Duration = Duration::from_secs(24 * 3600);

/// What the names of contents begin with that are looked at before they are removed.
const ASIDE: &str = ".prune-";

/// What to remove.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PruneOptions {
    /// Images without a tag, uploaded files and records of operations that were not used for so many days.
    pub older_than_days: u32,
    /// Only tell.
    pub dry_run: bool,
}

impl PruneOptions {
    /// Removes what was not used for so many days.
    #[must_use]
    pub fn new(older_than_days: u32) -> Self {
        Self {
            older_than_days,
            dry_run: false,
        }
    }
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Pruned {
    /// Whether nothing was really done.
    pub dry_run: bool,
    /// Images without a tag that no operation used for long, and that no other image is built upon.
    pub images: Vec<Uuid>,
    /// Layers that no image has.
    pub layers: u64,
    /// Uploaded files.
    pub files: u64,
    /// Records of operations with their logs.
    pub operations: u64,
    /// Logs whose record stays, since it tells an image's parent; how such an operation ended stays too.
    pub logs: u64,
    /// What crashes left: layers, contents and logs without a record.
    pub orphans: u64,
    /// The disk space of all that, in bytes, as far as it is known.
    pub bytes: u64,
    /// What could not be removed, with the reason; the next time tries again.
    pub problems: Vec<String>,
}

/// Removes from a data directory what nobody needs any more. Engines may be at work on it: what they use stays.
///
/// # Errors
/// When the data directory cannot be used.
pub fn prune(config: &LocalConfig, options: PruneOptions) -> Result<Pruned, EngineError> {
    let engine = Engine::open(config)?;
    if !options.dry_run {
        recover::recover(&engine)?;
    }
    Ok(run(&engine, options)?)
}

/// Removes what nobody needs any more from an open engine's data directory.
pub(super) fn run(engine: &Engine, options: PruneOptions) -> Result<Pruned, StorageError> {
    let now = Utc::now();
    let age = chrono::Duration::days(options.older_than_days.into());
    let before = (now - age).timestamp_micros();
    let chosen = if options.dry_run {
        engine.rows.rehearse(|t| choose(t, before))?
    } else {
        engine.rows.write(|t| choose(t, before))?
    };
    let mut work = Work {
        engine,
        really: !options.dry_run,
        done: Pruned {
            dry_run: options.dry_run,
            images: chosen.images,
            ..Pruned::default()
        },
    };
    for layer in &chosen.layers {
        work.layer(layer.id);
        work.done.layers += 1;
        // What stands for others has their contents.
        if layer.stands_for.is_none() {
            work.done.bytes += layer.bytes;
        }
    }
    for file in &chosen.files {
        work.content(&file.sha256, before);
        work.done.files += 1;
        work.done.bytes += file.size;
    }
    for (operation, trim) in chosen.operations {
        let log = engine.log_path(operation);
        if trim {
            work.trim(&log);
        } else {
            work.done.bytes += size(&log);
            work.file(&log);
            work.done.operations += 1;
        }
    }
    work.orphans()?;
    Ok(work.done)
}

/// What is removed. The records are gone already when this is answered; the rest follows.
struct Chosen {
    images: Vec<Uuid>,
    layers: Vec<LayerRow>,
    files: Vec<Content>,
    /// And whether the record stays.
    operations: Vec<(Uuid, bool)>,
}

/// Chooses, and removes from the records, what was not used since a moment (microseconds) and is not needed by anything else.
fn choose(c: &Connection, before: i64) -> Result<Chosen, DbError> {
    // A layer may rest on one with a higher number, if two imports made their common layers at once. What is chosen here leaves no
    // reference behind, which is looked at when the transaction ends.
    c.execute_batch("PRAGMA defer_foreign_keys = ON")?;
    let all_layers = rows::layers(c)?;
    let all_images = rows::images(c)?;
    let (mut busy, requests) = rows::open(c)?;
    busy.extend(Rows::meta(c, "host_image")?.and_then(|uuid| Uuid::parse_str(&uuid).ok()));
    let (images, mut layers) = unneeded(all_images, all_layers, &busy, before);
    // What rests on others goes first.
    layers.sort_unstable_by_key(|layer| std::cmp::Reverse((layer.stands_for.is_some(), layer.id)));
    for image in &images {
        rows::remove_image(c, *image)?;
    }
    for layer in &layers {
        layers::forget(c, layer.id)?;
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
    for (operation, _) in operations.iter().filter(|(_, stays)| !stays) {
        rows::remove_operation(c, *operation)?;
    }
    Ok(Chosen {
        images,
        layers,
        files,
        operations,
    })
}

/// The images and layers that nothing needs: no tag, no recent use, no operation under way, nothing built upon them.
fn unneeded(
    images: Vec<ImageRow>,
    layers: Vec<LayerRow>,
    busy: &HashSet<Uuid>,
    before: i64,
) -> (Vec<Uuid>, Vec<LayerRow>) {
    let parents: HashMap<u64, Option<u64>> = layers
        .iter()
        .map(|layer| (layer.id, layer.parent))
        .collect();
    let mut kept: HashSet<u64> = HashSet::new();
    let mut keep = |from: Option<u64>| {
        let mut next = from;
        while let Some(layer) = next
            && kept.insert(layer)
        {
            next = parents.get(&layer).copied().flatten();
        }
    };
    for image in &images {
        if !image.tags.is_empty() || image.used_at >= before || busy.contains(&image.uuid) {
            keep(Some(image.layer));
        }
    }
    // A commit or a squash that is under way.
    for layer in layers.iter().filter(|layer| !layer.ready) {
        keep(Some(layer.id));
        keep(layer.stands_for);
    }
    let images = images
        .into_iter()
        .filter(|image| !kept.contains(&image.layer))
        .map(|image| image.uuid)
        .collect();
    let stays = |layer: &LayerRow| {
        kept.contains(&layer.id) || layer.stands_for.is_some_and(|of| kept.contains(&of))
    };
    let layers = layers.into_iter().filter(|layer| !stays(layer)).collect();
    (images, layers)
}

struct Work<'a> {
    engine: &'a Engine,
    really: bool,
    done: Pruned,
}

impl Work<'_> {
    fn problem(&mut self, what: impl std::fmt::Display, error: impl std::fmt::Display) {
        self.done.problems.push(format!("{what}: {error}"));
    }

    fn layer(&mut self, id: u64) {
        if self.really
            && let Err(error) = self.engine.store.remove_layer(LayerId(id))
        {
            self.problem(format_args!("layer {id}"), error);
        }
    }

    fn file(&mut self, path: &Path) {
        if self.really
            && let Err(error) = fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            self.problem(path.display(), error);
        }
    }

    /// Removes an uploaded file's content, unless somebody has just sent it again.
    fn content(&mut self, sha256: &str, before: i64) {
        let path = self.engine.file_path(sha256);
        if !self.really {
            return;
        }
        // Looked at under another name, so that nothing can come between.
        let aside = path.with_file_name(format!("{ASIDE}{sha256}"));
        if fs::rename(&path, &aside).is_err() {
            return;
        }
        let sent = fs::metadata(&aside).and_then(|about| about.modified());
        let again =
            sent.is_ok_and(|at| chrono::DateTime::<Utc>::from(at).timestamp_micros() >= before);
        let recorded = self
            .engine
            .rows
            .read(rows::digests)
            .is_ok_and(|all| all.contains(sha256));
        if (again || recorded) && fs::hard_link(&aside, &path).is_ok() {
            self.done.files = self.done.files.saturating_sub(1);
        }
        self.file(&aside);
    }

    /// Cuts a log down to its last line, which tells how the operation ended.
    fn trim(&mut self, log: &Path) {
        let Ok((last, length)) = last_line(log) else {
            return;
        };
        if last.len() as u64 >= length {
            return;
        }
        self.done.logs += 1;
        self.done.bytes += length - last.len() as u64;
        if !self.really {
            return;
        }
        let aside = log.with_extension("trim");
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)
            .and_then(|mut file| file.write_all(&last))
            .and_then(|()| fs::rename(&aside, log));
        if let Err(error) = written {
            self.problem(log.display(), error);
        }
    }

    /// Removes what has no record. Layers are recorded before they are made, so that any without a record is one.
    fn orphans(&mut self) -> Result<(), StorageError> {
        let root = self.engine.store.root().to_owned();
        let layers = names(&root.join("layers"));
        let recorded: HashSet<u64> = self
            .engine
            .rows
            .read(rows::layers)?
            .iter()
            .map(|layer| layer.id)
            .collect();
        for id in layers.iter().filter_map(|(_, name)| name.parse().ok()) {
            if !recorded.contains(&id) {
                self.layer(id);
                self.done.orphans += 1;
            }
        }
        let contents = names(&root.join("files"));
        let recorded = self.engine.rows.read(rows::digests)?;
        for (path, name) in contents {
            // Put aside by an engine that was killed before it came to a decision.
            let aside = name.starts_with(ASIDE) && was_renamed_long_ago(&path);
            let without_record = !name.starts_with('.') && !recorded.contains(&name);
            if aside || (without_record && is_old(&path)) {
                self.orphan(&path);
            }
        }
        let logs = names(&root.join("events"));
        let recorded = self.engine.rows.read(rows::operations)?;
        for (path, name) in logs {
            let of = name
                .strip_suffix(".jsonl")
                .and_then(|stem| Uuid::parse_str(stem).ok());
            if !of.is_some_and(|of| recorded.contains(&of)) && is_old(&path) {
                self.orphan(&path);
            }
        }
        Ok(())
    }

    fn orphan(&mut self, path: &Path) {
        self.done.bytes += size(path);
        self.done.orphans += 1;
        self.file(path);
    }
}

fn names(directory: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?)))
        .collect()
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |about| about.len())
}

/// A file keeps the time of its content when it is put aside, but not the time of its last change of name.
fn was_renamed_long_ago(path: &Path) -> bool {
    let now = Utc::now().timestamp();
    let long = i64::try_from(ORPHANED.as_secs()).unwrap_or(i64::MAX);
    fs::metadata(path).is_ok_and(|about| now - about.ctime() > long)
}

fn is_old(path: &Path) -> bool {
    fs::metadata(path)
        .and_then(|about| about.modified())
        .is_ok_and(|at| {
            SystemTime::now()
                .duration_since(at)
                .is_ok_and(|age| age > ORPHANED)
        })
}

/// The last line of a file, and the file's length.
fn last_line(path: &Path) -> std::io::Result<(Vec<u8>, u64)> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut line, mut last, mut length) = (Vec::new(), Vec::new(), 0);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok((last, length));
        }
        length += read as u64;
        // A line that a killed engine did not finish is no event.
        if line.ends_with(b"\n") {
            std::mem::swap(&mut line, &mut last);
        }
    }
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

    fn left(images: Vec<ImageRow>, layers: Vec<LayerRow>, busy: &[u128]) -> (Vec<u128>, Vec<u64>) {
        let busy = busy.iter().copied().map(Uuid::from_u128).collect();
        let (images, layers) = unneeded(images, layers, &busy, 100);
        let mut layers: Vec<u64> = layers.iter().map(|layer| layer.id).collect();
        layers.sort_unstable();
        (images.iter().map(|uuid| uuid.as_u128()).collect(), layers)
    }

    #[test]
    fn what_a_needed_image_rests_on_is_needed() {
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
            left(images.clone(), layers.clone(), &[]),
            (vec![4, 5], vec![4, 5])
        );
        assert_eq!(
            left(images.clone(), layers.clone(), &[4]),
            (vec![5], vec![5])
        );
        let mut young = images;
        young[4].used_at = 100;
        assert_eq!(left(young, layers, &[]), (vec![4], vec![4]));
    }

    #[test]
    fn what_stands_for_a_layer_goes_with_it() {
        let squash = |id, of| LayerRow {
            stands_for: Some(of),
            ..layer(id, Some(1))
        };
        let layers = vec![
            layer(1, None),
            layer(2, Some(1)),
            layer(3, Some(1)),
            squash(4, 2),
            squash(5, 3),
        ];
        let mut kept = image(2, 2);
        kept.tags.push("kept".to_owned());
        assert_eq!(
            left(vec![kept, image(3, 3)], layers, &[]),
            (vec![3], vec![3, 5])
        );
    }

    #[test]
    fn a_layer_may_be_older_than_the_one_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let rows = Rows::open(&folder.path().join("store.db")).unwrap();
        let image = Uuid::from_u128(1);
        rows.write(|t| {
            // As two imports leave it that made the lower layer at once: the slower one's upper layer rests on the quicker one's.
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
        let chosen = rows.write(|t| choose(t, 100)).unwrap();
        assert_eq!(chosen.images, [image]);
        assert_eq!(chosen.layers.len(), 2);
        assert!(rows.read(rows::layers).unwrap().is_empty());
    }

    #[test]
    fn what_is_being_made_keeps_what_it_is_made_of() {
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
        assert_eq!(left(images, layers, &[]), (vec![], vec![]));
    }
}
