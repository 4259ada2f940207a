//! Files to copy into an image, wherever they come from.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use ring::digest::{Context, SHA256};

use super::error::StepError;
use crate::dockerfile::{is_pattern, path_pattern};
use crate::sync::hex;

/// Bytes that are read from a file at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A source of `COPY` that was found.
#[derive(Debug, Clone)]
pub(super) struct FoundSource {
    /// The name that it has in a directory.
    pub(super) name: String,
    /// Whether it is a directory, whose content is copied.
    pub(super) is_directory: bool,
    /// The source itself and all below it. A directory comes before its entries.
    pub(super) entries: Vec<Entry>,
}

/// A file, a directory or a link.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The path below the source; empty for the source itself.
    pub(super) path: String,
    pub(super) kind: EntryKind,
    pub(super) mode: u32,
    /// The owner and the group; none for root.
    pub(super) owner: Option<(u32, u32)>,
}

/// The kind of an entry.
#[derive(Debug, Clone)]
pub(super) enum EntryKind {
    Directory,
    Symlink(String),
    /// A local file with the content.
    File(PathBuf),
    Bytes(Bytes),
}

/// The hash of the paths, modes, owners and contents of sources.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn digest(sources: &[FoundSource]) -> Result<String, StepError> {
    let mut hash = Context::new(&SHA256);
    let field = |hash: &mut Context, bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for source in sources {
        field(&mut hash, source.name.as_bytes());
        hash.update(&(source.entries.len() as u64).to_le_bytes());
        for entry in &source.entries {
            field(&mut hash, entry.path.as_bytes());
            hash.update(&entry.mode.to_le_bytes());
            match entry.owner {
                Some((uid, gid)) => {
                    field(&mut hash, &uid.to_le_bytes());
                    field(&mut hash, &gid.to_le_bytes());
                }
                None => field(&mut hash, b""),
            }
            match &entry.kind {
                EntryKind::Directory => field(&mut hash, b"directory"),
                EntryKind::Symlink(target) => {
                    field(&mut hash, b"link");
                    field(&mut hash, target.as_bytes());
                }
                EntryKind::Bytes(bytes) => {
                    field(&mut hash, b"file");
                    field(&mut hash, ring::digest::digest(&SHA256, bytes).as_ref());
                }
                EntryKind::File(path) => {
                    let read = File::open(path).and_then(content);
                    field(&mut hash, b"file");
                    field(&mut hash, &read.map_err(super::error::file(path))?);
                }
            }
        }
    }
    Ok(hex(hash.finish().as_ref()))
}

/// The hash of a content.
fn content(mut reader: impl io::Read) -> io::Result<Vec<u8>> {
    let mut hash = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(hash.finish().as_ref().to_vec()),
            Ok(count) => hash.update(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The paths that match a pattern, sorted. `list` returns the names in a directory, and nothing for
/// a file or a path that does not exist.
///
/// # Errors
/// Those of `list`.
pub(super) async fn matching<F>(pattern: &str, list: F) -> Result<Vec<String>, StepError>
where
    F: AsyncFn(&str) -> Result<Vec<String>, StepError>,
{
    let mut found = vec![String::new()];
    // Without a pattern so far, the caller finds out whether the path exists.
    let mut is_literal = true;
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let matcher = match is_pattern(part) {
            true => path_pattern(part),
            false => None,
        };
        let mut next = Vec::new();
        for directory in found {
            let below = |name: &str| match directory.as_str() {
                "" => name.to_owned(),
                directory => format!("{directory}/{name}"),
            };
            if is_literal && matcher.is_none() {
                next.push(below(part));
                continue;
            }
            let names = list(&directory).await?.into_iter();
            next.extend(
                names
                    .filter(|name| match &matcher {
                        Some(matcher) => matcher.is_match(name),
                        None => name == part,
                    })
                    .map(|name| below(&name)),
            );
        }
        is_literal &= matcher.is_none();
        found = next;
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_owner_is_another_hash() {
        let hash = |owner| {
            let entry = Entry {
                path: "file".to_owned(),
                kind: EntryKind::Bytes(Bytes::from_static(b"x")),
                mode: 0o644,
                owner,
            };
            let source = FoundSource {
                name: "a.tar".to_owned(),
                is_directory: true,
                entries: vec![entry],
            };
            digest(&[source]).unwrap()
        };
        assert_eq!(hash(Some((7, 8))), hash(Some((7, 8))));
        assert_ne!(hash(Some((7, 8))), hash(Some((8, 8))));
        assert_ne!(hash(Some((7, 8))), hash(Some((7, 9))));
        assert_ne!(hash(Some((0, 0))), hash(None));
    }

    #[test]
    fn an_edited_file_is_another_hash_of_the_same_source() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one").unwrap();
        let source = FoundSource {
            name: "file".to_owned(),
            is_directory: false,
            entries: vec![Entry {
                path: String::new(),
                kind: EntryKind::File(file.path().to_owned()),
                mode: 0o644,
                owner: None,
            }],
        };
        let sources = [source];
        let before = digest(&sources).unwrap();
        assert_eq!(digest(&sources).unwrap(), before);
        std::fs::write(file.path(), "two").unwrap();
        assert_ne!(digest(&sources).unwrap(), before);
    }
}
