//! Sends the files of a directory to a backend. Contents that the backend has are not sent.

mod error;
mod gitignore;
mod hash;
mod host;
mod real_path;
mod removals;
mod send;
mod skipped;
mod stamp;
mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Client;
pub(crate) use error::SyncError;
#[cfg(feature = "mcp")]
pub(crate) use gitignore::escape_braces;
pub(crate) use hash::HashedFile;
#[cfg(feature = "mcp")]
pub(crate) use hash::{digest, hex, open_without_links};
pub(crate) use host::SyncHost;
#[cfg(feature = "mcp")]
pub(crate) use host::{KnownHashes, Refusal};
#[cfg(feature = "mcp")]
pub(crate) use real_path::real_path_of;
pub(crate) use removals::{PlacedPath, removals};
pub(crate) use send::LocalContent;
#[cfg(feature = "mcp")]
pub(crate) use send::send;
pub(crate) use skipped::SkipReason;
pub use skipped::SkippedPath;
pub(crate) use skipped::SkippedPaths;
pub(crate) use stamp::FileStamp;
use stamp::stamp;
#[cfg(feature = "mcp")]
pub(crate) use walk::executable;
use walk::{FoundFile, FoundFiles};
pub(crate) use walk::{FoundOther, OtherKind, absent, octal};

/// The extension of a backend that takes more than the content of files.
pub(crate) const EXTENSION: &str = "files";
/// Attempts to send a directory that changes meanwhile.
const MAX_ATTEMPTS: usize = 3;

/// The files of a directory that a backend stores.
pub(crate) struct SyncedFiles {
    /// The files with their hashes, sorted by path.
    pub(crate) files: Vec<HashedFile>,
    /// Symbolic links, and directories that files do not imply, sorted by path.
    pub(crate) others: Vec<FoundOther>,
    /// The paths that were not sent.
    pub(crate) skipped: SkippedPaths,
    /// Number of contents that were sent.
    pub(crate) uploaded: u64,
}

/// The choice of files that are not sent.
#[derive(Clone, Debug)]
pub(crate) struct Excludes {
    /// Patterns in the syntax of `.gitignore`. They come before `.gitignore` files.
    pub(crate) patterns: Vec<String>,
    /// Whether the `.gitignore` files at and below the source count.
    pub(crate) gitignore: bool,
}

/// Sends the files of `source` that the backend lacks. `source` is a real path of a directory or of
/// a file.
///
/// # Errors
/// If `source` cannot be read, a pattern is invalid, or the backend refuses.
pub(crate) async fn sync<H: SyncHost>(
    host: &H,
    client: &Client,
    source: &Path,
    exclude: &Excludes,
) -> Result<SyncedFiles, H::Failure> {
    let mut uploaded = 0;
    let mut tries = 0;
    loop {
        tries += 1;
        host.progress("reading the directory");
        let found = read(source, exclude, host).await?;
        let mut skipped = found.skipped;
        let others = if found.others.is_empty() || client.has_extension(EXTENSION).await? {
            found.others
        } else {
            skip(&found.others, &mut skipped);
            Vec::new()
        };
        let mut files = hash::hash(source, found.files, &mut skipped, host).await?;
        let sent = send::send(host, client, missing(host, &files).await?).await?;
        uploaded += sent.count;
        let changed = changed_directories(found.directories).await?;
        let has_changed = !sent.changed.is_empty() || !changed.is_empty();
        if has_changed && tries < MAX_ATTEMPTS {
            continue;
        }
        for directory in changed {
            let below = directory.strip_prefix(source).unwrap_or(&directory);
            let is_root = below.as_os_str().is_empty();
            let shown = if is_root { Path::new(".") } else { below };
            skipped.add(shown, SkipReason::ChangedDirectory);
        }
        files.retain(|file| {
            let was_sent = !sent.changed.contains(&file.sha256);
            if !was_sent {
                skipped.add(Path::new(&file.found.relative), SkipReason::Changed);
            }
            was_sent
        });
        return Ok(SyncedFiles {
            files,
            others,
            skipped,
            uploaded,
        });
    }
}

/// Counts what a backend without the extension cannot take.
fn skip(others: &[FoundOther], skipped: &mut SkippedPaths) {
    let mut modes = Vec::new();
    for other in others {
        let reason = match other.kind {
            OtherKind::Symlink { .. } => SkipReason::Link,
            OtherKind::Directory { is_empty: true, .. } => SkipReason::EmptyDirectory,
            OtherKind::Directory { mode, .. } => {
                // Its content is sent, or named with the reason.
                if mode != walk::IMPLIED_MODE {
                    modes.push(Path::new(&other.relative));
                }
                continue;
            }
        };
        skipped.add(Path::new(&other.relative), reason);
    }
    // They come last, since not all paths are named.
    for path in modes {
        skipped.add(path, SkipReason::DirectoryMode);
    }
    skipped.sort();
}

/// Returns the directories in which names were added or removed since the walk.
async fn changed_directories(
    directories: Vec<(PathBuf, FileStamp)>,
) -> Result<Vec<PathBuf>, SyncError> {
    let look = move || {
        let has_changed = |(path, before): &(PathBuf, FileStamp)| match path.symlink_metadata() {
            Ok(now) => stamp(&now).mtime != before.mtime || stamp(&now).inode != before.inode,
            Err(_) => true,
        };
        let changed = directories.into_iter().filter(has_changed);
        changed.map(|(path, _)| path).collect()
    };
    contree_tasks::blocking(look)
        .await
        .map_err(SyncError::task("reading the directory failed"))
}

async fn read<H: SyncHost>(
    source: &Path,
    exclude: &Excludes,
    host: &H,
) -> Result<FoundFiles, SyncError> {
    let (source, exclude, host) = (source.to_owned(), exclude.clone(), host.clone());
    let walk = move || {
        let metadata =
            std::fs::metadata(&source).map_err(|error| SyncError::local(&source, error))?;
        if metadata.is_dir() {
            let excludes = walk::compile_excludes(&source, &exclude.patterns)?;
            return walk::walk(&source, &excludes, exclude.gitignore, &host);
        }
        if !metadata.is_file() {
            return Err(SyncError::NotAFile(source));
        }
        let name = source.file_name().and_then(|name| name.to_str());
        let Some(name) = name.map(str::to_owned) else {
            return Err(SyncError::Name(source));
        };
        Ok(FoundFiles {
            files: vec![FoundFile {
                relative: name,
                stamp: stamp(&metadata),
                mode: walk::mode(&metadata),
                path: source,
            }],
            ..FoundFiles::default()
        })
    };
    contree_tasks::blocking(walk)
        .await
        .map_err(SyncError::task("reading the directory failed"))?
}

/// Returns the contents that the backend is not known to store, each once.
async fn missing<H: SyncHost>(
    host: &H,
    hashed: &[HashedFile],
) -> Result<Vec<LocalContent>, H::Failure> {
    let mut contents: BTreeMap<String, (u64, PathBuf)> = BTreeMap::new();
    for file in hashed {
        contents.entry(file.sha256.clone()).or_insert_with(|| {
            (
                u64::try_from(file.found.stamp.size).unwrap_or_default(),
                file.found.path.clone(),
            )
        });
    }
    let known = host
        .known_uploads(contents.keys().cloned().collect())
        .await?;
    Ok(contents
        .into_iter()
        .filter(|(sha256, _)| !known.contains_key(sha256))
        .map(|(sha256, (size, path))| LocalContent { sha256, size, path })
        .collect())
}
