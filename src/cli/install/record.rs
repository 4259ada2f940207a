//! The records of the changes that `install` made, in the state directory. With them, `--uninstall`
//! restores a file byte for byte.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::change::TextChange;
use super::error::InstallError;

/// The change that `install` made in one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    path: PathBuf,
    /// Whether the file existed before.
    pub(super) existed: bool,
    /// The change of the original text into the installed one.
    change: TextChange,
    /// The digest of the installed text.
    installed: String,
    /// The directories that were made, outermost first.
    pub(super) directories: Vec<PathBuf>,
}

impl Record {
    pub(super) fn new(
        path: &Path,
        original: Option<&str>,
        installed: &str,
        directories: Vec<PathBuf>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            existed: original.is_some(),
            change: TextChange::between(original.unwrap_or_default(), installed),
            installed: digest(installed.as_bytes()),
            directories,
        }
    }

    /// Whether the file still has the installed text.
    pub(super) fn is_of(&self, text: &str) -> bool {
        self.installed == digest(text.as_bytes())
    }

    /// The original text, if the file still has the installed one.
    pub(super) fn original(&self, text: &str) -> Option<String> {
        self.is_of(text).then(|| self.change.undo(text)).flatten()
    }

    /// The text without the installed part, if the file was edited elsewhere.
    pub(super) fn without(&self, edited: &str) -> Option<String> {
        self.change.undo_elsewhere(edited)
    }
}

/// The directory of the records.
#[derive(Debug)]
pub(super) struct Records(PathBuf);

impl Records {
    pub(super) fn below(state: &Path) -> Self {
        Self(state.join("installed"))
    }

    fn file(&self, path: &Path) -> PathBuf {
        let name = digest(path.as_os_str().as_encoded_bytes());
        self.0.join(format!("{name}.json"))
    }

    /// The record of a file. A damaged one counts as none: the entry is then removed by its name.
    pub(super) fn load(&self, path: &Path) -> Option<Record> {
        let text = fs::read_to_string(self.file(path)).ok()?;
        let record: Record = serde_json::from_str(&text).ok()?;
        (record.path == path).then_some(record)
    }

    /// Stores a record that only the user can read, since it may hold a replaced entry.
    pub(super) fn store(&self, record: &Record) -> Result<(), InstallError> {
        let file = self.file(&record.path);
        let failed = |source| InstallError::file("write", &file, source);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.0).map_err(failed)?;
        let new = tempfile::NamedTempFile::new_in(&self.0).map_err(failed)?;
        serde_json::to_writer(new.as_file(), record).map_err(|error| failed(error.into()))?;
        new.persist(&file).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Removes the record of a file.
    pub(super) fn forget(&self, path: &Path) {
        // A record that stays is harmless: it no longer fits the file.
        let _ = fs::remove_file(self.file(path));
    }
}

fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
