//! Hashes of files, cached while a file's stamp is unchanged.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ring::digest::{Context as Hasher, SHA256};

use super::error::SyncError;
use super::host::SyncHost;
use super::real_path::real_path_of;
use super::skipped::{SkipReason, SkippedPaths};
use super::stamp::{FileStamp, stamp};
use super::walk::FoundFile;

/// Bytes of a file that are read at once.
const CHUNK: usize = 256 * 1024;
/// Attempts to hash a file that changes while it is read.
const MAX_ATTEMPTS: usize = 3;
/// Resolution of file times in nanoseconds. A second change within it leaves the times equal.
const TIME_RESOLUTION: i64 = 20_000_000;
/// Resolution of file times in nanoseconds on file systems that store whole seconds.
const COARSE_TIME_RESOLUTION: i64 = 2_000_000_000;
/// Maximum number of files that are read at once.
const MAX_THREADS: usize = 4;
/// Files between two progress messages.
const PROGRESS_STEP: usize = 200;

/// A file with its hash.
#[derive(Clone, Debug)]
pub(crate) struct HashedFile {
    pub(crate) found: FoundFile,
    pub(crate) sha256: String,
}

/// Hashes files. Unreadable ones are skipped.
pub(super) async fn hash<H: SyncHost>(
    root: &Path,
    found: Vec<FoundFile>,
    skipped: &mut SkippedPaths,
    host: &H,
) -> Result<Vec<HashedFile>, SyncError> {
    let mut known = host.known_hashes(path_bytes(root)).await;
    let mut hashed = Vec::with_capacity(found.len());
    let mut unknown = Vec::new();
    for found in found {
        match known.remove(&path_bytes(&found.path)) {
            Some((stamp, sha256)) if stamp == found.stamp => {
                hashed.push(HashedFile { found, sha256 })
            }
            _ => unknown.push(found),
        }
    }
    if unknown.is_empty() && known.is_empty() {
        return Ok(hashed);
    }
    let hashing_host = host.clone();
    let (read, removed) = contree_tasks::blocking(move || {
        // Only hashes of removed files are deleted. Files that this call excluded keep theirs.
        let mut removed: Vec<Vec<u8>> = known.into_keys().collect();
        removed.retain(|path| is_removed(path));
        (hash_all(unknown, &hashing_host), removed)
    })
    .await
    .map_err(SyncError::task("hashing failed"))?;
    if host.is_cancelled() {
        return Err(SyncError::Cancelled);
    }
    let mut fresh = Vec::new();
    for (found, result) in read {
        match result {
            Ok((sha256, reliable)) => {
                if reliable {
                    fresh.push((path_bytes(&found.path), found.stamp, sha256.clone()));
                }
                hashed.push(HashedFile { found, sha256 });
            }
            Err(reason) => skipped.add(Path::new(&found.relative), reason),
        }
    }
    host.remember_hashes(fresh, removed).await;
    hashed.sort_unstable_by(|a, b| a.found.relative.cmp(&b.found.relative));
    Ok(hashed)
}

/// A hash and whether it may be cached, or the reason to skip the file.
type HashOutcome = Result<(String, bool), SkipReason>;

/// Hashes files on several threads. Stops early if the call is cancelled.
fn hash_all(mut files: Vec<FoundFile>, host: &impl SyncHost) -> Vec<(FoundFile, HashOutcome)> {
    let total = files.len();
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_THREADS)
        .min(total.max(1));
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<(FileStamp, HashOutcome)>> = files
        .iter()
        .map(|found| Mutex::new((found.stamp, Err(SkipReason::NotRead))))
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(found) = files.get(at) else { return };
                    if host.is_cancelled() {
                        return;
                    }
                    let mut stamp = found.stamp;
                    let outcome = hash_file(&found.path, &mut stamp, host);
                    if let Some(slot) = slots.get(at) {
                        *slot.lock().unwrap_or_else(PoisonError::into_inner) = (stamp, outcome);
                    }
                    if at.is_multiple_of(PROGRESS_STEP) && at > 0 {
                        host.progress(&format!("read {at} of {total} files"));
                    }
                }
            });
        }
    });
    for (found, slot) in files.iter_mut().zip(&slots) {
        found.stamp = slot.lock().unwrap_or_else(PoisonError::into_inner).0;
    }
    let outcomes = slots
        .into_iter()
        .map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner).1);
    files.into_iter().zip(outcomes).collect()
}

/// Hashes one file, which must still be at its path. The hash may be cached only if the last change
/// is older than the resolution of file times.
fn hash_file(path: &Path, expected: &mut FileStamp, host: &impl SyncHost) -> HashOutcome {
    for _ in 0..MAX_ATTEMPTS {
        let started = now();
        let file = open_without_links(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(SkipReason::Changed);
        }
        let before = stamp(&metadata);
        let (sha256, _) = digest(&file, host)?;
        let after = file.metadata()?;
        if stamp(&after) == before {
            *expected = before;
            let changed = before.mtime.max(before.ctime);
            let resolution = if before.ctime % 1_000_000_000 == 0 {
                COARSE_TIME_RESOLUTION
            } else {
                TIME_RESOLUTION
            };
            return Ok((sha256, changed.saturating_add(resolution) < started));
        }
    }
    Err(SkipReason::Changed)
}

/// Opens a file whose real path must be `path`: no part of it may be a link.
pub(crate) fn open_without_links(path: &Path) -> std::io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if real_path_of(&file, path, &metadata)? == path {
        Ok(file)
    } else {
        Err(std::io::Error::other("the file is no longer at its path"))
    }
}

/// Returns the SHA-256 of a file from its current position, in hexadecimal, and the number of
/// bytes.
pub(crate) fn digest(mut file: &File, host: &impl SyncHost) -> std::io::Result<(String, u64)> {
    let mut hash = Hasher::new(&SHA256);
    let mut size = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..read]);
        size += read as u64;
        if host.is_cancelled() {
            return Err(std::io::Error::other("cancelled"));
        }
    }
    Ok((hex(hash.finish().as_ref()), size))
}

pub(crate) fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

#[cfg(unix)]
fn path_bytes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().to_vec()
}

/// Reports whether the path no longer exists.
#[cfg(unix)]
fn is_removed(path: &[u8]) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(path))
        .symlink_metadata()
        .is_err_and(|error| is_missing(&error))
}

#[cfg(not(unix))]
fn is_removed(path: &[u8]) -> bool {
    Path::new(&*String::from_utf8_lossy(path))
        .symlink_metadata()
        .is_err_and(|error| is_missing(&error))
}

fn is_missing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

#[cfg(not(unix))]
fn path_bytes(path: &Path) -> Vec<u8> {
    path.to_string_lossy().replace('\\', "/").into_bytes()
}
