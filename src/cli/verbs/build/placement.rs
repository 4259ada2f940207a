//! The paths of copied files in an image.

use uuid::Uuid;

use super::entry::{Entry, EntryKind, FoundSource};
use super::error::{InstructionError, StepError};
use crate::cli::verbs::existing_directories::ExistingDirectories;
use crate::dockerfile::CopyAction;
use crate::{Client, Content};

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
