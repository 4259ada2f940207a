//! Unpacking an archive where the file system has no permissions.

use std::{
    fs,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use tar::EntryType;

use super::unpacked::Unpacked;
use crate::Error;

/// Unpacks an archive whose entries are below one name. May block.
pub(super) fn unpack(archive: impl Read, directory: &Path) -> Result<Unpacked, Error> {
    fs::create_dir_all(directory).map_err(Error::io(directory))?;
    let root = directory.canonicalize().map_err(Error::io(directory))?;
    let mut unpacked = Unpacked::default();
    let mut links = Vec::new();
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().map_err(of_archive(directory))?;
    for entry in entries {
        let mut entry = entry.map_err(of_archive(directory))?;
        let path = entry.path().map_err(of_archive(directory))?.into_owned();
        let Some(relative) = below_first(&path) else {
            unpacked.skip(path);
            continue;
        };
        let kind = entry.header().entry_type();
        let target = if relative.as_os_str().is_empty() {
            match kind {
                // The directory itself.
                EntryType::Directory => continue,
                // A single file.
                _ => root.join(path.file_name().unwrap_or_default()),
            }
        } else {
            root.join(&relative)
        };
        let failed = |error| Error::io(directory.join(&relative))(error);
        if !is_within(&root, &target).map_err(failed)? {
            unpacked.skip(relative);
            continue;
        }
        match kind {
            EntryType::Directory => make_directory(&target).map_err(failed)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                make_room(&target).map_err(failed)?;
                unpacked.bytes += entry.size();
                entry.unpack(&target).map_err(failed)?;
                unpacked.files += 1;
            }
            EntryType::Symlink => {
                make_room(&target).map_err(failed)?;
                entry.unpack(&target).map_err(failed)?;
                links.push((target, relative));
            }
            EntryType::Link => {
                let other = entry.link_name().map_err(failed)?;
                let other = other.as_deref().and_then(below_first);
                let other = other.map(|other| root.join(other));
                let other = other.filter(|other| {
                    is_within(&root, other).unwrap_or_default()
                        && fs::symlink_metadata(other).is_ok_and(|found| found.is_file())
                });
                match other {
                    Some(other) => {
                        make_room(&target).map_err(failed)?;
                        fs::hard_link(other, &target).map_err(failed)?;
                        unpacked.files += 1;
                    }
                    None => unpacked.skip(relative),
                }
            }
            _ => unpacked.skip(relative),
        }
    }
    for (link, relative) in links {
        if !leads_inside(&root, &link) {
            // A later entry may have replaced the link.
            if link.is_symlink() {
                fs::remove_file(&link).map_err(Error::io(&link))?;
            }
            unpacked.skip(relative);
        }
    }
    Ok(unpacked)
}

/// The error of an archive that cannot be read. An error of the client is returned as it is.
fn of_archive(directory: &Path) -> impl Fn(io::Error) -> Error {
    let directory = directory.to_owned();
    move |error| {
        let is_of_client = error.get_ref().is_some_and(|source| source.is::<Error>());
        match error.into_inner() {
            Some(source) if is_of_client => match source.downcast::<Error>() {
                Ok(error) => *error,
                Err(source) => Error::other(source),
            },
            Some(source) => Error::io(&directory)(io::Error::other(source)),
            None => Error::Protocol("the archive of the image cannot be read".into()),
        }
    }
}

/// The path below its first component; none if it leads elsewhere.
fn below_first(path: &Path) -> Option<PathBuf> {
    let mut parts = path.components();
    match parts.next() {
        Some(Component::Normal(_) | Component::CurDir) => {}
        _ => return None,
    }
    let rest = parts.as_path();
    let is_plain = rest
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    is_plain.then(|| rest.to_owned())
}

/// Whether the parent of a path is within the root after following links. Missing directories are
/// created one by one.
fn is_within(root: &Path, path: &Path) -> io::Result<bool> {
    let (Some(parent), Ok(below)) = (path.parent(), path.strip_prefix(root)) else {
        return Ok(false);
    };
    let mut current = root.to_owned();
    for part in below.parent().into_iter().flat_map(Path::components) {
        current.push(part);
        match current.canonicalize() {
            Ok(real) if real.starts_with(root) => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !current.is_symlink() => {
                fs::create_dir(&current)?;
            }
            Err(_) => return Ok(false),
        }
    }
    Ok(parent.is_dir())
}

/// Creates a directory, in place of anything that is not a directory.
fn make_directory(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    make_room(path)?;
    fs::create_dir(path)
}

/// Removes a file or link, so that nothing is written through it.
fn make_room(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a symbolic link leads to a path within the root. A link without a target must be
/// relative and must not lead upwards.
fn leads_inside(root: &Path, link: &Path) -> bool {
    match link.canonicalize() {
        Ok(real) => real.starts_with(root),
        Err(_) => fs::read_link(link).is_ok_and(|target| {
            target
                .components()
                .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive with entries of these kinds, paths, and contents or targets.
    fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, path, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            // The names are those that the builder would refuse.
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            let content = if *kind == EntryType::Regular {
                *text
            } else {
                ""
            };
            if content.is_empty() {
                let field = &mut header.as_gnu_mut().unwrap().linkname;
                field[..text.len()].copy_from_slice(text.as_bytes());
            }
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_directory_is_copied_without_its_name() {
        let home = tempfile::tempdir().unwrap();
        let bytes = archive(&[
            (EntryType::Directory, "out", ""),
            (EntryType::Regular, "out/a", "one"),
            (EntryType::Regular, "out/d/b", "two"),
            (EntryType::Symlink, "out/l", "d/b"),
            (EntryType::Link, "out/h", "out/a"),
        ]);
        let target = home.path().join("new/target");
        for _ in 0..2 {
            let unpacked = unpack(bytes.as_slice(), &target).unwrap();
            assert_eq!((unpacked.files, unpacked.bytes), (3, 6));
            assert_eq!(unpacked.skipped_count, 0, "{:?}", unpacked.skipped);
        }
        for (name, text) in [("a", "one"), ("d/b", "two"), ("l", "two"), ("h", "one")] {
            assert_eq!(fs::read_to_string(target.join(name)).unwrap(), text);
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(target.join("a")).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o755);
        }
    }

    #[test]
    fn nothing_is_written_outside_of_the_directory() {
        let home = tempfile::tempdir().unwrap();
        let victim = home.path().join("victim");
        fs::write(&victim, "safe").unwrap();
        let absolute = victim.to_str().unwrap().to_owned();
        let above = home.path().to_str().unwrap().to_owned();
        let target = home.path().join("target");
        for entries in [
            vec![(EntryType::Regular, "out/../../victim", "bad")],
            vec![(EntryType::Regular, "../victim", "bad")],
            vec![(EntryType::Regular, absolute.as_str(), "bad")],
            vec![
                (EntryType::Symlink, "out/l", absolute.as_str()),
                (EntryType::Regular, "out/l", "harmless"),
            ],
            vec![
                (EntryType::Symlink, "out/up", above.as_str()),
                (EntryType::Regular, "out/up/victim", "bad"),
            ],
            vec![
                (EntryType::Symlink, "out/up", ".."),
                (EntryType::Symlink, "out/up/more", "x"),
                (EntryType::Regular, "out/up/victim", "bad"),
            ],
            vec![(EntryType::Link, "out/h", absolute.as_str())],
            vec![(EntryType::Link, "out/h", "out/../victim")],
            vec![(EntryType::Char, "out/device", "")],
        ] {
            let _ = fs::remove_dir_all(&target);
            let unpacked = unpack(archive(&entries).as_slice(), &target).unwrap();
            assert_eq!(fs::read_to_string(&victim).unwrap(), "safe", "{entries:?}");
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "{entries:?}");
            assert!(
                unpacked.skipped_count > 0 || unpacked.files == 1,
                "{entries:?}"
            );
            for entry in fs::read_dir(&target).unwrap() {
                assert!(!entry.unwrap().path().is_symlink(), "{entries:?}");
            }
        }
    }

    #[test]
    fn an_archive_that_breaks_off_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let bytes = archive(&[(EntryType::Regular, "out/a", "content")]);
        assert!(unpack(&bytes[..515], home.path()).is_err());
    }
}
