//! The directories that an image has.

use std::collections::HashMap;

use uuid::Uuid;

use crate::{Client, Error, FileEntry, FileKind};

/// The directories that an image has. Each is read once.
pub(in crate::cli::verbs) struct ExistingDirectories<'a> {
    client: &'a Client,
    image: Uuid,
    /// The entries of a directory; none if it is not one.
    listed: HashMap<String, Option<Vec<FileEntry>>>,
}

impl<'a> ExistingDirectories<'a> {
    pub(in crate::cli::verbs) fn of(client: &'a Client, image: Uuid) -> Self {
        Self {
            client,
            image,
            listed: HashMap::new(),
        }
    }

    /// Whether the image has a directory at an absolute path. Links to directories count.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub(in crate::cli::verbs) async fn contains(&mut self, path: &str) -> Result<bool, Error> {
        let mut parent = String::new();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Some(entries) = self.list(&parent).await? else {
                return Ok(false);
            };
            let kind = entries.iter().find(|entry| entry.name == name);
            let kind = kind.map(|entry| entry.kind.clone());
            parent = format!("{parent}/{name}");
            match kind {
                Some(FileKind::Directory) => {}
                Some(FileKind::Symlink(_)) if self.list(&parent).await?.is_some() => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The directories of an absolute path that are missing, the outermost first.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub(in crate::cli::verbs) async fn missing(
        &mut self,
        path: &str,
    ) -> Result<Vec<String>, Error> {
        let mut missing = Vec::new();
        let mut so_far = String::new();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            so_far = format!("{so_far}/{name}");
            if !missing.is_empty() || !self.contains(&so_far).await? {
                missing.push(so_far.clone());
            }
        }
        Ok(missing)
    }

    async fn list(&mut self, directory: &str) -> Result<Option<&[FileEntry]>, Error> {
        if !self.listed.contains_key(directory) {
            let path = if directory.is_empty() { "/" } else { directory };
            let listed = match self.client.image(self.image).fs().list(path).await {
                Ok(entries) => Some(entries),
                Err(error) if is_no_directory(&error) => None,
                Err(error) => return Err(error),
            };
            self.listed.insert(directory.to_owned(), listed);
        }
        Ok(self.listed.get(directory).and_then(Option::as_deref))
    }
}

/// Whether an error means that there is no file or directory at a path.
pub(in crate::cli::verbs) fn is_no_directory(error: &Error) -> bool {
    let status = error.status().map(|status| status.as_u16());
    matches!(status, Some(404 | 422))
}
