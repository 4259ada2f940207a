//! Copies a whole directory of an image.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tar::EntryType;
use uuid::Uuid;

use super::blocking::blocking;
use super::link_target::leads_outside;
use super::local_tree::{Local, LocalTree, permissions};
use super::outcome::{PathReason, text};
use super::rules::WriteRules;
use super::staging::{Staging, is_staging};
use super::tree::Entry;
use crate::client::{image_path, relative};
use crate::{Client, Error};

/// Maximum number of skipped paths that are named.
const MAX_NAMED: usize = 20;
/// Files between two progress messages.
const PROGRESS_STEP: u64 = 200;
/// The copy in the staging directory.
const CONTENT: &[u8] = b"content";
/// The permissions of a directory while it is filled.
const OWNER_ONLY: u32 = 0o700;

/// Result of copying a directory.
#[derive(Clone, Debug, Default)]
#[cfg_attr(
    not(feature = "mcp"),
    allow(dead_code, reason = "the tool tells more than the SDK")
)]
pub(crate) struct CopiedDirectory {
    /// Number of regular files, including hard links.
    pub(crate) files: u64,
    /// The size of the regular files in bytes.
    pub(crate) bytes: u64,
    /// Number of symbolic links.
    pub(crate) links: u64,
    /// Number of directories below the copied one.
    pub(crate) directories: u64,
    /// Whether files were there before.
    pub(crate) replaced: bool,
    /// The first paths that were not copied, with the reasons.
    pub(crate) skipped: Vec<PathReason>,
    /// Number of paths that were not copied.
    pub(crate) skipped_count: u64,
}

/// Copies a directory of an image with permissions, links, empty directories and times to
/// `destination`, whose parent exists and is given by its real path. A single file is copied into
/// that directory.
///
/// The copy appears at once, if the place is new or an empty directory. Over an existing directory,
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
        let mut copy = Copy {
            staging: &staging,
            destination: &place,
            rules: &copying,
            copied: CopiedDirectory::default(),
            attributes: BTreeMap::new(),
        };
        copy.read(archive, root)?;
        let Copy {
            copied, attributes, ..
        } = copy;
        Ok((staging, copied, attributes))
    });
    let (staging, mut copied, attributes) = read.await?.map_err(Error::io(destination))?;
    rules.progress("moving the copy to its place");
    let place = destination.to_owned();
    blocking(move || {
        let failed = Error::io(&place);
        publish(&staging, &place, &attributes, &mut copied).map_err(failed)?;
        Ok(copied)
    })
    .await
}

/// Whether a place is free, or an empty directory.
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

/// The directory for the unfinished copy. It is beside the place if the copy can appear at once,
/// else in the place.
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

/// Permissions and time of a directory, by path.
type Attributes = BTreeMap<Vec<u8>, (u32, u64)>;

struct Copy<'a> {
    staging: &'a Staging,
    destination: &'a Path,
    rules: &'a WriteRules,
    copied: CopiedDirectory,
    attributes: Attributes,
}

impl Copy<'_> {
    fn read(&mut self, archive: impl Read, root: &[u8]) -> io::Result<()> {
        let tree = self.staging.tree();
        tree.make_directory(CONTENT)?;
        let mut archive = tar::Archive::new(archive);
        let mut first_name: Option<Vec<u8>> = None;
        for entry in archive.entries()? {
            let mut entry = entry?;
            // The name of the directory, which differs from that of a link to it.
            let name = relative(&entry.path_bytes(), b"");
            let first = || name.split(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
            let top: &[u8] = match root {
                b"" => b"",
                _ => first_name.get_or_insert_with(|| first().unwrap_or_default()),
            };
            let mut path = relative(&name, top);
            let kind = entry.header().entry_type();
            if path.is_empty() && !matches!(kind, EntryType::Directory | EntryType::XGlobalHeader) {
                let last = name.rsplit(|byte| *byte == b'/').next();
                path = last.unwrap_or_default().to_vec();
            }
            let staged = staged(&path);
            let (mode, time) = (entry.header().mode()?, entry.header().mtime()?);
            if path.split(|byte| *byte == b'/').any(|name| name == b"..") {
                self.skip(&path, "its name leads out of the directory");
                continue;
            }
            if !path.is_empty()
                && let Some(why) = self.refusal(&path)
            {
                self.skip(&path, &why);
                continue;
            }
            match kind {
                EntryType::Directory => {
                    tree.make_directory(&staged)?;
                    tree.set_mode(&staged, OWNER_ONLY)?;
                    self.copied.directories += u64::from(!path.is_empty());
                    self.attributes.insert(path, (mode, time));
                }
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    let mut file = tree.create_file(&staged)?;
                    self.copied.bytes += io::copy(&mut entry, &mut file)?;
                    rustix::fs::fchmod(&file, permissions(mode))?;
                    tree.set_modified(&staged, time)?;
                    self.count_file();
                }
                EntryType::Symlink => {
                    let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                    if leads_outside(&path, &target) {
                        let target = text(&target);
                        self.skip(&path, &format!("a link to {target}, out of the directory"));
                        continue;
                    }
                    tree.create_link(&staged, &target)?;
                    tree.set_modified(&staged, time)?;
                    self.copied.links += 1;
                }
                EntryType::Link => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    let target = self::staged(&relative(&target, top));
                    let is_file = matches!(
                        tree.look(&target, false)?,
                        Local::Entry(found) if found.kind == contree_diff::NodeKind::File
                    );
                    match is_file {
                        true => {
                            tree.create_hard_link(&target, &staged)?;
                            self.count_file();
                        }
                        false => self.skip(&path, "another name of a file that was left out"),
                    }
                }
                EntryType::XGlobalHeader => {}
                _ => self.skip(&path, "a pipe, a device or another special file"),
            }
        }
        Ok(())
    }

    fn refusal(&self, path: &[u8]) -> Option<String> {
        use std::os::unix::ffi::OsStrExt as _;
        let place = self.destination.join(std::ffi::OsStr::from_bytes(path));
        let is_reserved = path.split(|byte| *byte == b'/').any(is_staging);
        match is_reserved {
            true => Some("its name is that of a temporary directory".to_owned()),
            false => self.rules.refusal(&place),
        }
    }

    fn count_file(&mut self) {
        self.copied.files += 1;
        if self.copied.files.is_multiple_of(PROGRESS_STEP) {
            let CopiedDirectory { files, bytes, .. } = self.copied;
            self.rules
                .progress(&format!("copied {files} files, {bytes} bytes"));
        }
    }

    fn skip(&mut self, path: &[u8], why: &str) {
        self.copied.skipped_count += 1;
        if self.copied.skipped.len() < MAX_NAMED {
            self.copied.skipped.push(PathReason {
                path: text(path),
                why: why.to_owned(),
            });
        }
    }
}

/// The path of an entry in the staging directory.
fn staged(path: &[u8]) -> Vec<u8> {
    match path {
        b"" => CONTENT.to_vec(),
        path => [CONTENT, b"/", path].concat(),
    }
}

/// Moves a finished copy to its place.
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
            // Such a directory is a mount point, or is not empty any more.
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

/// Moves what is in a tree into another one. `opened` gets the earlier permissions of directories
/// that had to be opened up.
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
                let mut copy = Copy {
                    staging: &staging,
                    destination: &place,
                    rules: &rules,
                    copied: CopiedDirectory::default(),
                    attributes: BTreeMap::new(),
                };
                copy.read(bytes.as_slice(), b"out").unwrap();
                let Copy {
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
