//! A planned change of one file, which is computed, shown, and then made.

use std::fs;
use std::path::Path;

use super::client::Form;
use super::edit;
use super::error::{EditError, InstallError};
use super::file::TextFile;
use super::record::{Record, Records};

/// The content of a file that `install` or `skill` manages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    /// A configuration that starts this command.
    Entry { form: Form, command: &'a str },
    /// The whole text of a file, such as a skill.
    Whole(&'a str),
}

/// The planned change of one file.
#[derive(Debug)]
pub(super) struct Plan {
    file: TextFile,
    new: Option<String>,
    uninstalls: bool,
    /// The text before any installation, which an uninstallation restores.
    original: Option<String>,
    /// Whether others read the file too, such as one of a project.
    shared: bool,
}

impl Plan {
    /// Plans to install.
    ///
    /// # Errors
    /// If the file cannot be read or edited.
    pub(super) fn install(
        path: &Path,
        project: Option<&Path>,
        content: Content<'_>,
        records: &Records,
    ) -> Result<Self, InstallError> {
        let file = TextFile::read(path, project)?;
        let old = file.text.as_deref();
        let new = match content {
            Content::Entry { form, command } => {
                edit::with_entry(form, old.unwrap_or_default(), command)
                    .map_err(|source| edit_error(path, source))?
            }
            Content::Whole(text) => {
                let is_ours = |old: &str| {
                    old == text || records.load(path).is_some_and(|record| record.is_of(old))
                };
                if !old.is_none_or(is_ours) {
                    return Err(InstallError::EditedSkill(path.to_owned()));
                }
                text.to_owned()
            }
        };
        let record = records.load(path);
        let original = match (&file.text, &record) {
            // The text before an earlier installation counts.
            (Some(old), Some(_)) => uninstalled(path, old, content, record.as_ref())
                .unwrap_or_else(|_| Some(old.clone())),
            _ => file.text.clone(),
        };
        Ok(Self {
            file,
            new: Some(new),
            uninstalls: false,
            original,
            shared: project.is_some(),
        })
    }

    /// Plans to uninstall.
    ///
    /// # Errors
    /// If the file cannot be read or edited.
    pub(super) fn uninstall(
        path: &Path,
        project: Option<&Path>,
        content: Content<'_>,
        records: &Records,
    ) -> Result<Self, InstallError> {
        let file = TextFile::read(path, project)?;
        let record = records.load(path);
        let new = match &file.text {
            None => None,
            Some(text) => uninstalled(path, text, content, record.as_ref())?,
        };
        Ok(Self {
            file,
            new,
            uninstalls: true,
            original: None,
            shared: project.is_some(),
        })
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    /// Whether the file stays as it is.
    pub(super) fn changes_nothing(&self) -> bool {
        self.file.text == self.new
    }

    /// The change as a unified diff.
    pub(super) fn diff(&self) -> String {
        let path = self.file.path.display().to_string();
        let name = |text: &Option<String>| match text {
            Some(_) => path.clone(),
            None => "/dev/null".to_owned(),
        };
        let before = self.file.text.as_deref().unwrap_or_default();
        let after = self.new.as_deref().unwrap_or_default();
        let hunks = contree_diff::hunks(before, after);
        match hunks.is_empty() {
            true => hunks,
            false => format!(
                "--- {}\n+++ {}\n{hunks}",
                name(&self.file.text),
                name(&self.new)
            ),
        }
    }

    /// Makes the change, and records it.
    ///
    /// # Errors
    /// If the file or the record cannot be written.
    pub(super) fn apply(&self, records: &Records) -> Result<(), InstallError> {
        let path = &self.file.path;
        if self.uninstalls {
            return self.apply_uninstall(records);
        }
        let Some(new) = &self.new else {
            return Ok(());
        };
        let earlier = records.load(path);
        let mut directories = earlier.map(|record| record.directories).unwrap_or_default();
        directories.extend(self.file.prepare()?);
        // A record that fits no file is harmless; a change without a record is not.
        records.store(&Record::new(
            path,
            self.original.as_deref(),
            new,
            directories,
        ))?;
        self.file.replace(new, self.shared)
    }

    fn apply_uninstall(&self, records: &Records) -> Result<(), InstallError> {
        let path = &self.file.path;
        let record = records.load(path);
        match (&self.file.text, &self.new) {
            (Some(_), None) => {
                self.file.delete()?;
                let directories = record.map(|record| record.directories).unwrap_or_default();
                for directory in directories.iter().rev() {
                    // A directory with other files stays.
                    if fs::remove_dir(directory).is_err() {
                        break;
                    }
                }
            }
            (Some(old), Some(new)) if old != new => {
                self.file.prepare()?;
                self.file.replace(new, self.shared)?;
            }
            _ => {}
        }
        records.forget(path);
        Ok(())
    }
}

/// The text after uninstalling. `None` if the file is removed.
fn uninstalled(
    path: &Path,
    text: &str,
    content: Content<'_>,
    record: Option<&Record>,
) -> Result<Option<String>, InstallError> {
    if let Some(record) = record
        && let Some(original) = record.original(text)
    {
        return Ok(record.existed.then_some(original));
    }
    match content {
        Content::Whole(ours) if text == ours => Ok(None),
        Content::Whole(_) => Err(InstallError::EditedSkill(path.to_owned())),
        Content::Entry { form, .. } => {
            let has_entry =
                edit::has_entry(form, text).map_err(|source| edit_error(path, source))?;
            if !has_entry {
                return Ok(Some(text.to_owned()));
            }
            let undone = record
                .and_then(|record| record.without(text))
                .filter(|undone| edit::is_undone(form, text, undone));
            match undone {
                Some(undone) => Ok(Some(undone)),
                None => edit::without_entry(form, text)
                    .map(Some)
                    .map_err(|source| edit_error(path, source)),
            }
        }
    }
}

fn edit_error(path: &Path, source: EditError) -> InstallError {
    InstallError::Edit {
        path: path.to_owned(),
        source,
    }
}
