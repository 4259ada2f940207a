//! Writes images to OCI layout directories (OCI image-spec, image-layout.md).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contree_registry::Digest;
use contree_registry::push::document::WrittenDescriptor;
use rustix::fs::FlockOperation;
use serde::Serialize;
use serde_json::{Map, Value};

use super::error::PushError;

/// The annotation that names an image in an index.
const NAME_ANNOTATION: &str = "org.opencontainers.image.ref.name";
/// The file that marks a layout.
const MARKER: &str = "oci-layout";
/// The prefix of the names of unfinished files.
const UNFINISHED: &str = ".contree-push-";
/// How long a push waits for another program that writes to the layout.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// The time between attempts to lock the layout.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);
/// The media type of an index.
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// A layout directory that this push has locked.
pub(super) struct Layout {
    directory: PathBuf,
    /// Whether this push has made the layout, and the directory itself.
    is_new: bool,
    has_made_directory: bool,
    /// The blobs that this push has stored.
    stored: Mutex<Vec<PathBuf>>,
    /// Whether the index names the image, so that its blobs stay.
    is_complete: AtomicBool,
    /// The number of unfinished files so far, for their names.
    unfinished: AtomicU64,
    /// The open directory. Closing it releases the lock.
    _lock: File,
}

impl Layout {
    /// Opens or makes the layout, and waits while another program has locked it.
    pub(super) async fn open(directory: &Path) -> Result<Self, PushError> {
        let failed = PushError::write(directory);
        let mut waited = Duration::ZERO;
        let (lock, has_made_directory) = loop {
            match Self::try_lock(directory).map_err(&failed)? {
                Some(locked) => break locked,
                None if waited < LOCK_TIMEOUT => {
                    tokio::time::sleep(LOCK_INTERVAL).await;
                    waited += LOCK_INTERVAL;
                }
                None => {
                    return Err(PushError::Locked {
                        path: directory.to_owned(),
                        seconds: LOCK_TIMEOUT.as_secs(),
                    });
                }
            }
        };
        let layout = Self {
            directory: directory.to_owned(),
            is_new: !directory.join(MARKER).exists(),
            has_made_directory,
            stored: Mutex::default(),
            // Until the checks have passed, nothing in the directory is of this push.
            is_complete: AtomicBool::new(true),
            unfinished: AtomicU64::new(0),
            _lock: lock,
        };
        layout.check()?;
        layout.is_complete.store(false, Ordering::Release);
        layout.remove_unfinished();
        Ok(layout)
    }

    /// Makes the directory if there is none, and locks it. Also returns whether it was made. `None`
    /// if another program has locked the directory, or has removed it meanwhile, as a push does
    /// that has made the directory and fails.
    fn try_lock(directory: &Path) -> io::Result<Option<(File, bool)>> {
        let has_made_directory = !directory.exists();
        fs::create_dir_all(directory)?;
        let lock = match File::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let identity = |about: &fs::Metadata| (about.dev(), about.ino());
        match fs::metadata(directory) {
            Ok(about) if identity(&about) == identity(&lock.metadata()?) => {
                Ok(Some((lock, has_made_directory)))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(None),
        }
    }

    /// Checks that the directory is a layout, or empty. An empty one becomes a layout.
    fn check(&self) -> Result<(), PushError> {
        let not_a_layout = |why: &str| PushError::NotALayout {
            path: self.directory.clone(),
            why: why.to_owned(),
        };
        let marker = self.directory.join(MARKER);
        match fs::read(&marker) {
            Ok(bytes) => {
                let version = serde_json::from_slice::<Value>(&bytes)
                    .ok()
                    .and_then(|file| Some(file.get("imageLayoutVersion")?.as_str()?.to_owned()));
                if version.is_none_or(|version| !version.starts_with("1.")) {
                    return Err(not_a_layout("its file oci-layout has no version 1"));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut files = fs::read_dir(&self.directory)
                    .map_err(PushError::write(&self.directory))?
                    .filter_map(Result::ok)
                    .map(|entry| entry.file_name());
                // An earlier push may have been killed before it wrote the marker.
                if files
                    .any(|name| name != "blobs" && !name.to_string_lossy().starts_with(UNFINISHED))
                {
                    return Err(not_a_layout("it has other files, and no file oci-layout"));
                }
            }
            Err(error) => return Err(PushError::write(&marker)(error)),
        }
        for part in ["blobs", "blobs/sha256"] {
            let part = self.directory.join(part);
            match fs::create_dir(&part) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(PushError::write(&part)(error));
                }
                _ => {}
            }
            // Callers check the path of the layout itself alone.
            if !fs::symlink_metadata(&part).is_ok_and(|about| about.is_dir()) {
                return Err(not_a_layout(
                    "its blobs/sha256 is a symbolic link, or is not a directory",
                ));
            }
        }
        self.index().map(drop)?;
        if !marker.exists() {
            self.write(&marker, b"{\"imageLayoutVersion\":\"1.0.0\"}")?;
        }
        Ok(())
    }

    /// Removes the unfinished files of killed pushes. This push has the lock, so no other one is
    /// running.
    fn remove_unfinished(&self) {
        for directory in [self.directory.clone(), self.directory.join("blobs/sha256")] {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }

    /// The path of a blob.
    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs/sha256").join(digest.hex())
    }

    /// Returns whether the layout has a blob of this digest and size.
    pub(super) fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        fs::symlink_metadata(self.blob_path(digest))
            .is_ok_and(|about| about.is_file() && about.len() == size)
    }

    /// Stores a file as a blob. The file may move. Blocks.
    pub(super) fn store_file(&self, digest: &Digest, from: &Path) -> Result<(), PushError> {
        let path = self.blob_path(digest);
        let unfinished = self.unfinished(&path);
        let store = || {
            let mut source = File::open(from)?;
            let mut target = File::create(&unfinished)?;
            io::copy(&mut source, &mut target)?;
            target.set_permissions(fs::Permissions::from_mode(0o644))?;
            target.sync_all()?;
            fs::rename(&unfinished, &path)
        };
        self.note(&path);
        store().map_err(|error| {
            let _ = fs::remove_file(&unfinished);
            PushError::write(&path)(error)
        })
    }

    /// Stores bytes as a blob, unless the blob exists. Returns whether it was written.
    pub(super) fn store_bytes(&self, bytes: &[u8]) -> Result<bool, PushError> {
        let digest = Digest::of(bytes);
        if self.has_blob(&digest, bytes.len() as u64) {
            return Ok(false);
        }
        self.note(&self.blob_path(&digest));
        self.write(&self.blob_path(&digest), bytes)?;
        Ok(true)
    }

    /// Adds an image to the index. It replaces one of the same name.
    pub(super) fn add_to_index(
        &self,
        manifest: &[u8],
        media_type: &str,
        name: Option<&str>,
    ) -> Result<(), PushError> {
        let mut index = self.index()?;
        let mut descriptor = WrittenDescriptor::of(media_type, manifest);
        let digest = descriptor.digest.to_string();
        if let Some(name) = name {
            descriptor.annotations =
                BTreeMap::from([(NAME_ANNOTATION.to_owned(), name.to_owned())]);
        }
        let entries = index
            .entry("manifests")
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(entries) = entries {
            entries.retain(|entry| {
                let entry_name = entry
                    .get("annotations")
                    .and_then(|annotations| annotations.get(NAME_ANNOTATION)?.as_str());
                match name {
                    Some(_) => entry_name != name,
                    None => entry_name.is_some() || entry["digest"] != digest.as_str(),
                }
            });
            entries.push(to_value(&descriptor)?);
        }
        let bytes = serde_json::to_vec(&index).map_err(PushError::Configuration)?;
        // Before the index, so that it never names a blob that a power loss has taken.
        sync_directory(&self.directory.join("blobs/sha256"))?;
        self.write(&self.directory.join("index.json"), &bytes)?;
        self.is_complete.store(true, Ordering::Release);
        sync_directory(&self.directory)
    }

    /// Notes a blob that the layout lacked before this push.
    fn note(&self, path: &Path) {
        if !path.exists() {
            self.stored().push(path.to_owned());
        }
    }

    fn stored(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the index. A new one has no images.
    fn index(&self) -> Result<Map<String, Value>, PushError> {
        #[derive(Serialize)]
        struct NewIndex {
            #[serde(rename = "schemaVersion")]
            schema: u32,
            #[serde(rename = "mediaType")]
            media_type: &'static str,
            manifests: [(); 0],
        }
        let path = self.directory.join("index.json");
        let index = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Value>(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(to_value(&NewIndex {
                schema: 2,
                media_type: INDEX_TYPE,
                manifests: [],
            })?),
            Err(error) => return Err(PushError::write(&path)(error)),
        };
        match index {
            Some(Value::Object(index)) if index.get("manifests").is_none_or(Value::is_array) => {
                Ok(index)
            }
            _ => Err(PushError::NotALayout {
                path: self.directory.clone(),
                why: "its index.json cannot be read".to_owned(),
            }),
        }
    }

    /// Replaces a file.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), PushError> {
        let unfinished = self.unfinished(path);
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(bytes)?;
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            file.sync_all()?;
            fs::rename(&unfinished, path)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&unfinished);
            PushError::write(path)(error)
        })
    }

    /// The path of a new unfinished file beside `path`. Two layers with the same content may be
    /// written at once.
    fn unfinished(&self, path: &Path) -> PathBuf {
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        path.with_file_name(format!("{UNFINISHED}{number}"))
    }
}

/// A push that fails or is cancelled leaves the directory as it was.
impl Drop for Layout {
    fn drop(&mut self) {
        if self.is_complete.load(Ordering::Acquire) {
            return;
        }
        for path in self.stored().drain(..) {
            let _ = fs::remove_file(path);
        }
        if !self.is_new {
            return;
        }
        // Directories that have files of others stay.
        let _ = fs::remove_file(self.directory.join(MARKER));
        for part in ["blobs/sha256", "blobs"] {
            let _ = fs::remove_dir(self.directory.join(part));
        }
        if self.has_made_directory {
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

/// Keeps the names of renamed files, as their contents are kept already.
fn sync_directory(path: &Path) -> Result<(), PushError> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(PushError::write(path))
}

fn to_value(value: &impl Serialize) -> Result<Value, PushError> {
    serde_json::to_value(value).map_err(PushError::Configuration)
}

#[cfg(test)]
mod tests;
