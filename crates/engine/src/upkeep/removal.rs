//! Removes the directories and files of unused data.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use contree_sandbox::LayerId;
use serde::Serialize;
use uuid::Uuid;

use super::prune_options::PruneOptions;
use super::selection::Selection;
use crate::engine::Engine;
use crate::error::StorageError;
use crate::rows::clock::{Ages, DAY};
use crate::rows::{layers, upkeep as rows};
use crate::unrecorded_layers;

/// The age at which an uploaded file or a log without a record counts as an orphan, in
/// microseconds. They are created before their records.
const ORPHAN_AGE: i64 = DAY;

/// The name prefix of uploaded files that are checked before they are removed.
const CHECKED_PREFIX: &str = ".prune-";

/// The result of pruning: removed data or, in a dry run, the data that would be removed.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Pruned {
    /// Whether this was a dry run.
    pub dry_run: bool,
    /// Images without a tag that no operation used in the retention time, and on which no other
    /// image is based.
    pub images: Vec<Uuid>,
    /// The number of layers that no image has.
    pub layers: u64,
    /// The number of uploaded files.
    pub files: u64,
    /// The number of records of operations, with their logs.
    pub operations: u64,
    /// The number of logs whose record is kept, because it names an image's parent. The completion
    /// event of such a log is kept too.
    pub logs: u64,
    /// The number of files and logs without a record, and of layers whose removal was interrupted,
    /// which crashes leave behind. With [`PruneOptions::unrecorded_layers`], also of layers without
    /// a record.
    ///
    /// [`PruneOptions::unrecorded_layers`]: crate::PruneOptions::unrecorded_layers
    pub orphans: u64,
    /// Layers without a record, which are kept. The database was lost, or it is an older copy.
    pub unrecorded_layers: Vec<u64>,
    /// The SHA-256 of each of these files.
    pub removed_files: Vec<String>,
    /// The UUID of each of these operations.
    pub removed_operations: Vec<Uuid>,
    /// The number of each of these layers.
    pub removed_layers: Vec<u64>,
    /// The disk space of all this in bytes, without that of orphaned layers.
    pub bytes: u64,
    /// Data that could not be removed, each with the reason. The next upkeep tries again.
    pub problems: Vec<String>,
}

/// The removal of unused data from one data directory.
pub(super) struct Removal<'a> {
    pub(super) engine: &'a Engine,
    pub(super) options: PruneOptions,
    pub(super) ages: Ages,
    /// The time for which removed data was unused, in microseconds.
    pub(super) min_age: i64,
    pub(super) pruned: Pruned,
}

impl Removal<'_> {
    /// Removes the directories and files of data whose records are gone. Files that were uploaded
    /// again meanwhile stay.
    pub(super) fn remove_selection(&mut self, selection: &Selection) {
        let ids: Vec<u64> = selection.layers.iter().map(|layer| layer.id).collect();
        self.remove_layers(&ids);
        for layer in &selection.layers {
            self.pruned.layers += 1;
            self.pruned.removed_layers.push(layer.id);
            // The files of a squashed layer are those of the layers that it replaces.
            if layer.stands_for.is_none() {
                self.pruned.bytes += layer.bytes;
            }
        }
        for file in &selection.files {
            if self.remove_upload(&file.sha256) {
                self.pruned.files += 1;
                self.pruned.removed_files.push(file.sha256.clone());
                self.pruned.bytes += file.size;
            }
        }
        for operation in &selection.operations {
            let log = self.engine.log_path(operation.uuid);
            if operation.keeps_record {
                self.trim_log(&log);
            } else {
                self.pruned.bytes += file_size(&log);
                self.remove_file(&log);
                self.pruned.operations += 1;
                self.pruned.removed_operations.push(operation.uuid);
            }
        }
    }

    fn add_problem(&mut self, subject: impl std::fmt::Display, error: impl std::fmt::Display) {
        self.pruned.problems.push(format!("{subject}: {error}"));
    }

    /// Removes layers, and records which of them are gone.
    fn remove_layers(&mut self, ids: &[u64]) {
        if self.options.dry_run {
            return;
        }
        let mut removed = Vec::new();
        for id in ids {
            match self.engine.store.remove_layer(LayerId(*id)) {
                Ok(()) => removed.push(*id),
                Err(error) => self.add_problem(format_args!("layer {id}"), error),
            }
        }
        if !removed.is_empty()
            && let Err(error) = self
                .engine
                .rows
                .write(|t| layers::forget_removing(t, &removed))
        {
            // The next upkeep finds that they are gone.
            tracing::warn!(%error, "cannot record that layers are gone");
        }
    }

    fn remove_file(&mut self, path: &Path) {
        if !self.options.dry_run
            && let Err(error) = fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            self.add_problem(path.display(), error);
        }
    }

    /// Removes an uploaded file, unless a client has just uploaded it again. Returns false if the
    /// file stays.
    fn remove_upload(&mut self, sha256: &str) -> bool {
        let path = self.engine.file_path(sha256);
        if self.options.dry_run {
            return true;
        }
        // The file is renamed before the check, so that no upload can replace it between check and
        // removal.
        let renamed = path.with_file_name(format!("{CHECKED_PREFIX}{sha256}"));
        match fs::rename(&path, &renamed) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return true,
            Err(error) => {
                self.add_problem(path.display(), error);
                return false;
            }
        }
        let uploaded_again = age_of(&renamed, &self.ages).is_some_and(|age| age < self.min_age);
        let recorded = match self.engine.rows.read(rows::file_digests) {
            Ok(all) => all.contains(sha256),
            Err(error) => {
                // The file stays as long as it is unknown whether it has a record again.
                self.add_problem(path.display(), error);
                true
            }
        };
        let stays = (uploaded_again || recorded) && fs::hard_link(&renamed, &path).is_ok();
        self.remove_file(&renamed);
        !stays
    }

    /// Trims a log to its last line, which is the completion event.
    fn trim_log(&mut self, log: &Path) {
        let Ok((last, length)) = last_line(log) else {
            return;
        };
        if last.len() as u64 >= length {
            return;
        }
        self.pruned.logs += 1;
        self.pruned.bytes += length - last.len() as u64;
        if self.options.dry_run {
            return;
        }
        let trimmed = log.with_extension("trim");
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&trimmed)
            .and_then(|mut file| file.write_all(&last))
            .and_then(|()| fs::rename(&trimmed, log));
        if let Err(error) = written {
            self.add_problem(log.display(), error);
        }
    }

    /// Removes uploaded files and logs without a record, and the rest of layers whose removal was
    /// interrupted.
    ///
    /// Layers without a record are kept, unless the options say otherwise: see
    /// [`crate::unrecorded_layers`]. While there are any, the records of files and logs may be lost
    /// too, and these are kept as well.
    pub(super) fn remove_orphans(&mut self) -> Result<(), StorageError> {
        let rows = &self.engine.rows;
        let mut interrupted = rows.read(layers::removing)?;
        let (unrecorded, _) = unrecorded_layers::find(&self.engine.store, rows)?;
        let mut unrecorded: Vec<u64> = unrecorded.into_iter().map(|LayerId(id)| id).collect();
        if self.options.unrecorded_layers {
            interrupted.append(&mut unrecorded);
        }
        let still_there = |id: &&u64| self.engine.store.layer_exists(LayerId(**id));
        self.pruned.orphans += interrupted.iter().filter(still_there).count() as u64;
        self.remove_layers(&interrupted);
        let records_lost = !unrecorded.is_empty();
        self.pruned.unrecorded_layers = unrecorded;
        if records_lost {
            return Ok(());
        }
        let root = self.engine.store.root().to_owned();
        let uploads = entries(&root.join("files"));
        let recorded = self.engine.rows.read(rows::file_digests)?;
        for (path, name) in uploads {
            // An engine was killed while it checked this file.
            let abandoned = name.starts_with(CHECKED_PREFIX) && self.was_renamed_long_ago(&path);
            let without_record = !name.starts_with('.') && !recorded.contains(&name);
            if abandoned || (without_record && self.is_orphan_age(&path)) {
                self.remove_orphan(&path);
            }
        }
        let logs = entries(&root.join("events"));
        let recorded = self.engine.rows.read(rows::operation_uuids)?;
        for (path, name) in logs {
            let operation = name
                .strip_suffix(".jsonl")
                .and_then(|stem| Uuid::parse_str(stem).ok());
            if !operation.is_some_and(|uuid| recorded.contains(&uuid)) && self.is_orphan_age(&path)
            {
                self.remove_orphan(&path);
            }
        }
        Ok(())
    }

    /// Returns whether a file was modified more than [`ORPHAN_AGE`] ago.
    fn is_orphan_age(&self, path: &Path) -> bool {
        age_of(path, &self.ages).is_some_and(|age| age > ORPHAN_AGE)
    }

    /// Returns whether a file was renamed more than [`ORPHAN_AGE`] ago. Renaming changes the
    /// inode's change time, and not the modification time.
    fn was_renamed_long_ago(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| {
            self.ages.age(metadata.ctime().saturating_mul(1_000_000)) > ORPHAN_AGE
        })
    }

    fn remove_orphan(&mut self, path: &Path) {
        self.pruned.bytes += file_size(path);
        self.pruned.orphans += 1;
        self.remove_file(path);
    }
}

/// The entries of a directory: their paths and names.
fn entries(directory: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?)))
        .collect()
}

fn file_size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The time since a file was modified, in microseconds. `None` if it cannot be read.
fn age_of(path: &Path, ages: &Ages) -> Option<i64> {
    let modified = fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok()?;
    Some(ages.age(DateTime::<Utc>::from(modified).timestamp_micros()))
}

/// The last complete line of a file, and the file's length.
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
        // A partial line of a killed engine is not an event.
        if line.ends_with(b"\n") {
            std::mem::swap(&mut line, &mut last);
        }
    }
}
