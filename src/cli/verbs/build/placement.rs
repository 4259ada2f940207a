//! The paths of copied files in an image.

use std::collections::HashMap;

use uuid::Uuid;

use super::entry::{Entry, EntryKind, FoundSource};
use super::error::{InstructionError, StepError};
use super::image_source::is_no_directory;
use crate::dockerfile::CopyAction;
use crate::{Client, Content, FileEntry, FileKind};

/// The extension of a backend that places more than files.
const EXTENSION: &str = "files";
/// The mode of a directory that files imply.
const IMPLIED_MODE: u32 = 0o755;

/// The files to place, by their absolute paths.
///
/// # Errors
/// If the image cannot be read, or the backend cannot place a file of the kind.
pub(super) async fn placements(
    client: &Client,
    image: Uuid,
    action: &CopyAction,
    owner: Option<(u32, u32)>,
    sources: Vec<FoundSource>,
) -> Result<Vec<(String, Content)>, StepError> {
    let takes_all = client.has_extension(EXTENSION).await?;
    let mut existing = ExistingDirectories::of(client, image);
    let destination = action.destination.trim_end_matches('/');
    let is_directory = action.destination.ends_with('/')
        || sources.len() > 1
        || existing.contains(destination).await?;
    let mut placed = Vec::new();
    if let Some(owner) = owner.filter(|_| takes_all) {
        let below = match is_directory || sources.iter().any(|source| source.is_directory) {
            true => destination,
            false => destination
                .rsplit_once('/')
                .map_or("", |(parent, _)| parent),
        };
        for path in existing.missing(below).await? {
            placed.push((path, directory(Some(owner))));
        }
    }
    for source in sources {
        let target = match !source.is_directory && is_directory {
            true => format!("{destination}/{}", source.name),
            false => destination.to_owned(),
        };
        for entry in source.entries {
            let path = match entry.path.as_str() {
                "" => target.clone(),
                path => format!("{target}/{path}"),
            };
            // The destination does not get the mode of the source.
            let is_destination = entry.path.is_empty() && source.is_directory;
            match entry.kind {
                // Without the extension, the files in a directory imply it.
                EntryKind::Directory if !takes_all || existing.contains(&path).await? => continue,
                EntryKind::Symlink(_) if !takes_all => {
                    return Err(InstructionError::SymlinkRefused(path).into());
                }
                _ => {}
            }
            let content = match is_destination {
                true => directory(owner),
                false => content(entry, action.mode, owner),
            };
            placed.push((path, content));
        }
    }
    Ok(placed)
}

/// A directory that the destination needs.
fn directory(owner: Option<(u32, u32)>) -> Content {
    let content = Content::directory().mode(IMPLIED_MODE);
    match owner {
        Some((uid, gid)) => content.owner(uid, gid),
        None => content,
    }
}

fn content(entry: Entry, mode: Option<u32>, owner: Option<(u32, u32)>) -> Content {
    let content = match entry.kind {
        EntryKind::Directory => Content::directory(),
        EntryKind::Symlink(target) => Content::symlink(target),
        EntryKind::File(path) => Content::from(path),
        EntryKind::Bytes(bytes) => Content::from(bytes),
    };
    let content = content.mode(mode.unwrap_or(entry.mode));
    match owner.or(entry.owner) {
        Some((uid, gid)) => content.owner(uid, gid),
        None => content,
    }
}

/// The directories that an image has. Each is read once.
pub(super) struct ExistingDirectories<'a> {
    client: &'a Client,
    image: Uuid,
    /// The entries of a directory; none if it is not one.
    listed: HashMap<String, Option<Vec<FileEntry>>>,
}

impl<'a> ExistingDirectories<'a> {
    pub(super) fn of(client: &'a Client, image: Uuid) -> Self {
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
    pub(super) async fn contains(&mut self, path: &str) -> Result<bool, StepError> {
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
    async fn missing(&mut self, path: &str) -> Result<Vec<String>, StepError> {
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

    async fn list(&mut self, directory: &str) -> Result<Option<&[FileEntry]>, StepError> {
        if !self.listed.contains_key(directory) {
            let path = if directory.is_empty() { "/" } else { directory };
            let listed = match self.client.image(self.image).fs().list(path).await {
                Ok(entries) => Some(entries),
                Err(error) if is_no_directory(&error) => None,
                Err(error) => return Err(error.into()),
            };
            self.listed.insert(directory.to_owned(), listed);
        }
        Ok(self.listed.get(directory).and_then(Option::as_deref))
    }
}
