//! Copies a whole directory of an image.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::archive_copy::{ArchiveCopy, Attributes, CopiedDirectory};
use super::local_tree::{Local, LocalTree};
use super::outcome::{PathReason, text};
use super::rules::WriteRules;
use super::staging::{Staging, is_staging};
use super::tree::Entry;
use crate::client::{blocking, image_path};
use crate::{Client, Error};

/// Copies a directory of an image with permissions, links, empty directories and times to
/// `destination`, whose parent exists and is given by its real path. A single file is copied into
/// that directory.
///
/// The copy appears at once if the destination is new or an empty directory. In another directory,
/// each file appears at once, and files that the image does not have stay. A destination that
/// exists keeps its own permissions.
///
/// # Errors
/// [`Error::InvalidArgument`] if something is there and `overwrite` is false.
pub(crate) async fn download_directory(
    client: &Client,
    image: Uuid,
    path: &str,
    destination: &Path,
    overwrite: bool,
    rules: WriteRules,
) -> Result<CopiedDirectory, Error> {
    let path = image_path(path)?;
    let (place, staging_rules) = (destination.to_owned(), rules.clone());
    let staging = blocking(move || {
        if !overwrite && !is_vacant(&place).map_err(Error::io(&place))? {
            return Err(Error::InvalidArgument(format!(
                "{} is not empty; give a new path, or set `overwrite` to replace the files that the image has too",
                place.display()
            )));
        }
        stage(&place, &staging_rules).map_err(Error::io(&place))
    })
    .await?;
    let place = destination.to_owned();
    let copying = rules.clone();
    let read = client.read_archive(image, &path, move |archive, root| {
        let mut copy = ArchiveCopy {
            staging: &staging,
            destination: &place,
            rules: &copying,
            copied: CopiedDirectory::default(),
            attributes: BTreeMap::new(),
        };
        copy.read(archive, root)?;
        let ArchiveCopy {
            copied, attributes, ..
        } = copy;
        Ok((staging, copied, attributes))
    });
    let (staging, mut copied, attributes) = read.await?.map_err(Error::io(destination))?;
    rules.progress("moving the copy to its destination");
    let place = destination.to_owned();
    blocking(move || {
        let failed = Error::io(&place);
        publish(&staging, &place, &attributes, &mut copied).map_err(failed)?;
        Ok(copied)
    })
    .await
}

/// Whether a destination does not exist, or is an empty directory.
fn is_vacant(place: &Path) -> io::Result<bool> {
    match std::fs::read_dir(place) {
        Ok(entries) => {
            for entry in entries {
                if !is_staging(entry?.file_name().as_encoded_bytes()) {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(!place.is_symlink()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error),
    }
}

/// The directory for the unfinished copy. It is beside the destination if the copy can appear at
/// once, else in the destination.
fn staging_parent<'a>(place: &'a Path, rules: &WriteRules) -> io::Result<&'a Path> {
    use std::os::unix::fs::MetadataExt as _;
    let parent = place.parent().unwrap_or(Path::new("/"));
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev());
    let is_there = place.exists();
    // It stays the current directory.
    let is_current = std::env::current_dir().is_ok_and(|current| current.starts_with(place));
    let can_appear_at_once = is_vacant(place)?
        && !is_current
        && rules.refusal(parent).is_none()
        && (!is_there || device(place)? == device(parent)?);
    Ok(match can_appear_at_once || !is_there {
        true => parent,
        false => place,
    })
}

/// Makes the directory for the unfinished copy.
fn stage(place: &Path, rules: &WriteRules) -> io::Result<Staging> {
    let parent = staging_parent(place, rules)?;
    if parent == place {
        return Staging::create_in(place);
    }
    match Staging::create(parent) {
        // The place may be writable although the directory around it is not.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) && place.exists() =>
        {
            Staging::create_in(place)
        }
        staging => staging,
    }
}

/// Moves a finished copy to its destination.
fn publish(
    staging: &Staging,
    place: &Path,
    attributes: &Attributes,
    copied: &mut CopiedDirectory,
) -> io::Result<()> {
    let content: PathBuf = staging.path().join("content");
    if is_vacant(place)? && staging.path().parent() != Some(place) {
        let before = LocalTree::open(place).and_then(|place| place.look(b"", false));
        let tree = LocalTree::open(&content)?;
        set_attributes(&tree, attributes, |path| !path.is_empty())?;
        match std::fs::rename(&content, place) {
            // A directory that is read-only could not be moved.
            Ok(()) => {
                set_attributes(&tree, attributes, <[u8]>::is_empty)?;
                return match before {
                    Ok(Local::Entry(Entry {
                        mode: Some(mode), ..
                    })) => tree.set_mode(b"", mode),
                    _ => Ok(()),
                };
            }
            // Such a directory is a mount point, or is no longer empty.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ResourceBusy
                        | io::ErrorKind::CrossesDevices
                        | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                tree.open_up_all()?;
            }
            Err(error) => return Err(error),
        }
    }
    copied.replaced = !is_vacant(place)?;
    if !std::fs::symlink_metadata(place)?.is_dir() {
        return Err(io::Error::other("it is not a directory"));
    }
    let (from, to) = (LocalTree::open(&content)?, LocalTree::open(place)?);
    let mut opened = BTreeMap::new();
    let moved = move_all(&from, &to, copied, &mut opened);
    // The image's permissions follow, for the directories that it has.
    for (path, mode) in opened.iter().rev() {
        to.set_mode(path, *mode)?;
    }
    moved?;
    set_attributes(&to, attributes, |path| !path.is_empty())
}

/// Moves the entries of a tree into another one. `opened` gets the earlier permissions of
/// directories that had to be opened up.
fn move_all(
    from: &LocalTree,
    to: &LocalTree,
    copied: &mut CopiedDirectory,
    opened: &mut BTreeMap<Vec<u8>, u32>,
) -> io::Result<()> {
    let mut paths = from.paths_below(b"")?;
    paths.sort_unstable();
    let mut blocked: Vec<Vec<u8>> = Vec::new();
    for path in paths {
        let is_below =
            |above: &Vec<u8>| path.starts_with(above) && path[above.len()..].starts_with(b"/");
        if blocked.iter().any(is_below) {
            continue;
        }
        match from.look(&path, false)? {
            Local::Entry(entry) if entry.is_directory() => {
                to.make_directory(&path)?;
                if let Some(mode) = to.open_up(&path)? {
                    opened.insert(path, mode);
                }
            }
            _ => match to.move_from(from, &path, &path) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                    copied.skipped_count += 1;
                    copied.skipped.push(PathReason {
                        path: text(&path),
                        why: "a directory with files is there".to_owned(),
                    });
                    blocked.push(path);
                }
                moved => moved?,
            },
        }
    }
    Ok(())
}

/// Sets permissions and times of directories, the innermost first.
fn set_attributes(
    tree: &LocalTree,
    attributes: &Attributes,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> io::Result<()> {
    for (path, (mode, time)) in attributes.iter().rev().filter(|(path, _)| is_wanted(path)) {
        tree.set_modified(path, *time)?;
        tree.set_mode(path, *mode)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use tar::EntryType;

    use super::super::ordinary_user::as_ordinary_user;
    use super::*;

    #[test]
    fn read_only_directories_are_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().canonicalize().unwrap().join("place");
        let mut bytes = tar::Builder::new(Vec::new());
        for (path, mode, content) in [
            ("out", 0o555, None),
            ("out/d", 0o555, None),
            ("out/d/f", 0o444, Some("x")),
        ] {
            let mut header = tar::Header::new_ustar();
            header.set_mode(mode);
            header.set_mtime(1_000_000_000);
            header.set_entry_type(match content {
                None => EntryType::Directory,
                Some(_) => EntryType::Regular,
            });
            let content = content.unwrap_or_default();
            header.set_size(content.len() as u64);
            bytes
                .append_data(&mut header, path, content.as_bytes())
                .unwrap();
        }
        let bytes = bytes.into_inner().unwrap();
        let rules = WriteRules::default();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        as_ordinary_user(|| {
            for replaced in [false, true] {
                let staging = stage(&place, &rules).unwrap();
                let mut copy = ArchiveCopy {
                    staging: &staging,
                    destination: &place,
                    rules: &rules,
                    copied: CopiedDirectory::default(),
                    attributes: BTreeMap::new(),
                };
                copy.read(bytes.as_slice(), b"out").unwrap();
                let ArchiveCopy {
                    mut copied,
                    attributes,
                    ..
                } = copy;
                publish(&staging, &place, &attributes, &mut copied).unwrap();
                drop(staging);
                assert_eq!(copied.replaced, replaced);
                assert_eq!((mode(&place), mode(&place.join("d"))), (0o555, 0o555));
                assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
            }
            LocalTree::open(&place).unwrap().open_up_all().unwrap();
        });
    }
}
