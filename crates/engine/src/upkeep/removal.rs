//! Removes the directories and files of unused data.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::Utc;
use contree_sandbox::LayerId;
use serde::Serialize;
use uuid::Uuid;

use super::selection::Selection;
use crate::engine::Engine;
use crate::error::StorageError;
use crate::rows::upkeep as rows;

/// The age at which an uploaded file or a log without a record counts as an orphan. They are
/// created before their records.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);

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
    /// The number of layers, files and logs without a record, which crashes leave behind.
    pub orphans: u64,
    /// The disk space of all this in bytes, without that of orphaned layers.
    pub bytes: u64,
    /// Data that could not be removed, each with the reason. The next upkeep tries again.
    pub problems: Vec<String>,
}

/// The removal of unused data from one data directory.
pub(super) struct Removal<'a> {
    pub(super) engine: &'a Engine,
    pub(super) dry_run: bool,
    pub(super) pruned: Pruned,
}

impl Removal<'_> {
    /// Removes the directories and files of data whose records are gone. Files that were uploaded
    /// again since `before`, in microseconds since the Unix epoch, stay.
    pub(super) fn remove_selection(&mut self, selection: &Selection, before: i64) {
        for layer in &selection.layers {
            self.remove_layer(layer.id);
            self.pruned.layers += 1;
            // The files of a squashed layer are those of the layers that it replaces.
            if layer.stands_for.is_none() {
                self.pruned.bytes += layer.bytes;
            }
        }
        for file in &selection.files {
            if self.remove_upload(&file.sha256, before) {
                self.pruned.files += 1;
                self.pruned.bytes += file.size;
            }
        }
        for (operation, record_kept) in &selection.operations {
            let log = self.engine.log_path(*operation);
            if *record_kept {
                self.trim_log(&log);
            } else {
                self.pruned.bytes += file_size(&log);
                self.remove_file(&log);
                self.pruned.operations += 1;
            }
        }
    }

    fn add_problem(&mut self, subject: impl std::fmt::Display, error: impl std::fmt::Display) {
        self.pruned.problems.push(format!("{subject}: {error}"));
    }

    fn remove_layer(&mut self, id: u64) {
        if !self.dry_run
            && let Err(error) = self.engine.store.remove_layer(LayerId(id))
        {
            self.add_problem(format_args!("layer {id}"), error);
        }
    }

    fn remove_file(&mut self, path: &Path) {
        if !self.dry_run
            && let Err(error) = fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            self.add_problem(path.display(), error);
        }
    }

    /// Removes an uploaded file, unless a client has just uploaded it again. Returns false if the
    /// file stays.
    fn remove_upload(&mut self, sha256: &str, before: i64) -> bool {
        let path = self.engine.file_path(sha256);
        if self.dry_run {
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
        let modified = fs::metadata(&renamed).and_then(|metadata| metadata.modified());
        let uploaded_again =
            modified.is_ok_and(|at| chrono::DateTime::<Utc>::from(at).timestamp_micros() >= before);
        let recorded = self
            .engine
            .rows
            .read(rows::digests)
            .is_ok_and(|all| all.contains(sha256));
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
        if self.dry_run {
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

    /// Removes layers, uploaded files and logs without a record. A layer is recorded before it is
    /// created, so every layer without a record is an orphan.
    pub(super) fn remove_orphans(&mut self) -> Result<(), StorageError> {
        let root = self.engine.store.root().to_owned();
        let layers = entries(&root.join("layers"));
        let recorded: HashSet<u64> = self
            .engine
            .rows
            .read(rows::layers)?
            .iter()
            .map(|layer| layer.id)
            .collect();
        for id in layers.iter().filter_map(|(_, name)| name.parse().ok()) {
            if !recorded.contains(&id) {
                self.remove_layer(id);
                self.pruned.orphans += 1;
            }
        }
        let uploads = entries(&root.join("files"));
        let recorded = self.engine.rows.read(rows::digests)?;
        for (path, name) in uploads {
            // An engine was killed while it checked this file.
            let abandoned = name.starts_with(CHECKED_PREFIX) && was_renamed_long_ago(&path);
            let without_record = !name.starts_with('.') && !recorded.contains(&name);
            if abandoned || (without_record && is_old(&path)) {
                self.remove_orphan(&path);
            }
        }
        let logs = entries(&root.join("events"));
        let recorded = self.engine.rows.read(rows::operations)?;
        for (path, name) in logs {
            let operation = name
                .strip_suffix(".jsonl")
                .and_then(|stem| Uuid::parse_str(stem).ok());
            if !operation.is_some_and(|uuid| recorded.contains(&uuid)) && is_old(&path) {
                self.remove_orphan(&path);
            }
        }
        Ok(())
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

/// Returns whether a file was renamed more than [`ORPHAN_AGE`] ago. Renaming changes the inode's
/// change time, and not the modification time.
fn was_renamed_long_ago(path: &Path) -> bool {
    let now = Utc::now().timestamp();
    let max_age = i64::try_from(ORPHAN_AGE.as_secs()).unwrap_or(i64::MAX);
    fs::metadata(path).is_ok_and(|metadata| now - metadata.ctime() > max_age)
}

/// Returns whether a file was modified more than [`ORPHAN_AGE`] ago.
fn is_old(path: &Path) -> bool {
    fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|at| {
            SystemTime::now()
                .duration_since(at)
                .is_ok_and(|age| age > ORPHAN_AGE)
        })
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
