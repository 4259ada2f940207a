//! Tar archives: those that `ADD` unpacks, and those of directories of images.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;
use tar::EntryType;

use super::entry::{Entry, EntryKind};

/// The most memory that xz may use, in KiB. Level 9 needs 65 MiB.
const MAX_XZ_MEMORY_KIB: u32 = 256 * 1024;
/// The size of the header of an entry.
const HEADER_BYTES: usize = 512;
/// The position of the mark `ustar` in a header.
const MARK: std::ops::Range<usize> = 257..262;

/// Opens a tar archive, compressed or not. Returns none for another file.
///
/// # Errors
/// If the file cannot be read.
pub(in crate::cli::verbs) fn open(path: &Path) -> io::Result<Option<Box<dyn Read>>> {
    let mut source = BufReader::new(File::open(path)?);
    let start = source.fill_buf()?;
    let mut reader: Box<dyn Read> = if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(source))
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        match StreamingDecoder::new(source) {
            Ok(decoder) => Box::new(decoder),
            Err(_) => return Ok(None),
        }
    } else if start.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        Box::new(XzReader::new_mem_limit(source, true, MAX_XZ_MEMORY_KIB))
    } else {
        Box::new(source)
    };
    let mut header = Vec::with_capacity(HEADER_BYTES);
    let read = reader
        .by_ref()
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut header);
    if read.is_err() || header.get(MARK) != Some(b"ustar".as_slice()) {
        return Ok(None);
    }
    Ok(Some(Box::new(io::Cursor::new(header).chain(reader))))
}

/// Unpacks the contents of an archive to a directory, and returns its entries with their paths
/// below `prefix`. Devices and pipes are left out.
///
/// # Errors
/// If the archive is damaged, a name in it is not UTF-8 or leads out of it, or an owner has more
/// than 32 bits.
pub(super) fn unpack(
    reader: impl Read,
    prefix: &str,
    directory: &Path,
    keeps_owners: bool,
) -> io::Result<Vec<Entry>> {
    let directory = tempfile::tempdir_in(directory)?.keep();
    let mut archive = tar::Archive::new(reader);
    let mut entries: Vec<Entry> = Vec::new();
    let mut files: HashMap<String, PathBuf> = HashMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let Some(path) = path_below(&entry.path()?, prefix)? else {
            continue;
        };
        let header = entry.header();
        let id = |id: io::Result<u64>| u32::try_from(id?).map_err(io::Error::other);
        let owner = match keeps_owners {
            true => Some((id(header.uid())?, id(header.gid())?)),
            false => None,
        };
        let mode = header.mode()? & 0o7777;
        let kind = match header.entry_type() {
            EntryType::Directory => EntryKind::Directory,
            EntryType::Symlink => match entry.link_name()? {
                Some(target) => EntryKind::Symlink(utf8(&target)?),
                None => continue,
            },
            EntryType::Link => {
                let target = entry.link_name()?.unwrap_or_default();
                let target = path_below(&target, prefix)?;
                match target.and_then(|target| files.get(&target).cloned()) {
                    Some(file) => EntryKind::File(file),
                    None => {
                        return Err(io::Error::other(format!(
                            "the archive has a link `{path}` to a file that is not in it"
                        )));
                    }
                }
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let file = directory.join(entries.len().to_string());
                io::copy(&mut entry, &mut File::create_new(&file)?)?;
                EntryKind::File(file)
            }
            _ => continue,
        };
        if let EntryKind::File(file) = &kind {
            files.insert(path.clone(), file.clone());
        }
        entries.push(Entry {
            path,
            kind,
            mode,
            owner,
        });
    }
    Ok(entries)
}

/// The path of an entry below a prefix; none if the entry is elsewhere.
fn path_below(path: &Path, prefix: &str) -> io::Result<Option<String>> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(part) => parts.push(utf8(Path::new(part))?),
            std::path::Component::ParentDir => {
                let path = path.display();
                return Err(io::Error::other(format!(
                    "the path {path} leads out of the archive"
                )));
            }
            _ => {}
        }
    }
    if !prefix.is_empty() {
        if parts.first().map(String::as_str) != Some(prefix) {
            return Ok(None);
        }
        parts.remove(0);
    }
    Ok(Some(parts.join("/")))
}

fn utf8(path: &Path) -> io::Result<String> {
    let not_text = || {
        let path = path.display();
        io::Error::other(format!("the name {path} is not UTF-8; rename the file"))
    };
    path.to_str().map(str::to_owned).ok_or_else(not_text)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn archive() -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, kind, target) in [
            ("d", EntryType::Directory, None),
            ("d/file", EntryType::Regular, None),
            ("d/link", EntryType::Symlink, Some("file")),
            ("d/hard", EntryType::Link, Some("d/file")),
            ("d/pipe", EntryType::Fifo, None),
        ] {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_mode(0o640);
            header.set_uid(7);
            header.set_gid(8);
            let body: &[u8] = match kind {
                EntryType::Regular => b"text",
                _ => b"",
            };
            header.set_size(body.len() as u64);
            if let Some(target) = target {
                header.set_link_name(target).unwrap();
            }
            archive.append_data(&mut header, name, body).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn entries_are_those_of_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let entries = unpack(archive().as_slice(), "d", folder.path(), true).unwrap();
        let paths: Vec<_> = entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["", "file", "link", "hard"]);
        assert_eq!((entries[1].mode, entries[1].owner), (0o640, Some((7, 8))));
        for at in [1, 3] {
            let EntryKind::File(file) = &entries[at].kind else {
                panic!("{:?}", entries[at]);
            };
            assert_eq!(std::fs::read_to_string(file).unwrap(), "text");
        }
        assert!(matches!(&entries[2].kind, EntryKind::Symlink(target) if target == "file"));
        let others = unpack(archive().as_slice(), "other", folder.path(), false).unwrap();
        assert!(others.is_empty());
    }

    #[test]
    fn archives_are_recognised_in_their_compression() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let gzip = |bytes: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        for (bytes, is_archive) in [
            (archive(), true),
            (gzip(&archive()), true),
            (gzip(b"text"), false),
            (b"text".to_vec(), false),
            (Vec::new(), false),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let opened = open(&path).unwrap();
            assert_eq!(opened.is_some(), is_archive);
            if let Some(reader) = opened {
                let entries = unpack(reader, "", folder.path(), true).unwrap();
                assert_eq!(entries.len(), 4);
            }
        }
    }
}
