//! Finds, mounts, fetches or packs each layer, and sends what is missing.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contree_registry::manifest::Descriptor;
use contree_registry::pull::Repository;
use contree_registry::push::layer::PackedLayer;
use contree_registry::push::{LocalBlob, MountOutcome, UploadSession};
use contree_registry::{Digest, Login, Reference, RegistryHost};
use contree_sandbox::RunDir;
use tokio::sync::Semaphore;

use super::error::PushError;
use super::layout::Layout;
use super::pack::{ScratchBlob, pack};
use super::plan::{LayerGroup, PushOptions};
use super::tasks::PushTasks;
use crate::engine::Engine;
use crate::import::progress::{Progress, format_size};
use crate::rows::pushes::LayerArchive;

/// The most layers that are packed at once.
pub(super) const MAX_PACKINGS: usize = 2;
/// The time between progress lines of an upload.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// The part of a source before the repository of a registry.
const REGISTRY_SOURCE: &str = "docker://";
/// The part of a source before the directory of a layout.
const LAYOUT_SOURCE: &str = "oci-layout:";

/// The store of blobs to which an image is pushed.
pub(super) enum Destination<'a> {
    Registry {
        repository: Box<Repository<'a>>,
        reference: Reference,
    },
    Layout(Arc<Layout>),
}

/// The numbers of a push's result.
#[derive(Debug, Default)]
pub(super) struct PushCounts {
    pub(super) sent: AtomicU64,
    pub(super) present: AtomicU64,
    pub(super) bytes: AtomicU64,
}

impl PushCounts {
    pub(super) fn add_sent(&self, bytes: u64) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_present(&self) {
        self.present.fetch_add(1, Ordering::Relaxed);
    }
}

/// The context that the steps of one push share.
pub(super) struct PushContext<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) run: &'a Arc<RunDir>,
    pub(super) login: Option<&'a Login>,
    pub(super) options: PushOptions,
    pub(super) tasks: &'a PushTasks,
    pub(super) progress: &'a Progress,
    pub(super) counts: &'a PushCounts,
    /// Sources from which fetching a layer has failed. They are not tried again.
    pub(super) failed_sources: &'a Mutex<HashSet<String>>,
    pub(super) packings: &'a Arc<Semaphore>,
}

impl PushContext<'_> {
    /// Makes sure that the destination has the layers of a group, and returns their archive.
    pub(super) async fn send_layer(
        &self,
        destination: &Destination<'_>,
        number: usize,
        group: &LayerGroup,
    ) -> Result<PackedLayer, PushError> {
        let layer = group.layers.first().copied().unwrap_or_default();
        let mut known = Vec::new();
        for archive in &group.archives {
            known.push((archive, to_packed(layer, archive)?));
        }
        for (_, packed) in &known {
            if destination.has(&packed.digest, packed.size).await? {
                return Ok(self.found(packed, "exists"));
            }
        }
        let mut session = None;
        for (archive, packed) in &known {
            match destination.mount(archive, &packed.digest).await? {
                Some(MountOutcome::Mounted) => return Ok(self.found(packed, "mounted")),
                Some(MountOutcome::Refused(begun)) => session = begun.or(session),
                None => {}
            }
        }
        // A registry that denies access says so before anything is fetched or packed.
        if session.is_none() {
            session = destination.begin().await?;
        }
        for (archive, packed) in &known {
            let Some(source) = &archive.source else {
                continue;
            };
            let fetched = self.fetch(destination, source, number, packed).await;
            if let Some(fetched) = fetched {
                let path = fetched.path();
                self.store(destination, packed, path, session).await?;
                return Ok(packed.clone());
            }
        }
        let blob = self.pack(number, group).await?;
        if destination.has(&blob.layer.digest, blob.layer.size).await? {
            return Ok(self.found(&blob.layer, "exists"));
        }
        self.store(destination, &blob.layer, &blob.path, session)
            .await?;
        Ok(blob.layer.clone())
    }

    fn found(&self, packed: &PackedLayer, how: &str) -> PackedLayer {
        self.counts.add_present();
        self.progress
            .line(&format!("layer {}: {how}", packed.digest.short()));
        packed.clone()
    }

    /// Packs the layers of a group.
    pub(super) async fn pack(
        &self,
        number: usize,
        group: &LayerGroup,
    ) -> Result<ScratchBlob, PushError> {
        // The semaphore is never closed.
        let permit = Arc::clone(self.packings)
            .acquire_owned()
            .await
            .map_err(|_| PushError::Stopped)?;
        let (engine, group) = (Arc::clone(self.engine), group.clone());
        let (tasks, run) = (self.tasks.clone(), Arc::clone(self.run));
        let compression = self.options.compression;
        let blob = self.tasks.blocking(move || {
            let _permit = permit;
            let path = run.path().join(format!("p{number}"));
            pack(&engine, &group, compression, path, &tasks)
        });
        let blob = blob.await?;
        self.progress.line(&format!(
            "packed layer {}: {}",
            blob.layer.digest.short(),
            format_size(blob.layer.size)
        ));
        Ok(blob)
    }

    /// Fetches the archive of an imported layer from its source. `None` if the source no longer has
    /// it.
    async fn fetch(
        &self,
        destination: &Destination<'_>,
        source: &str,
        number: usize,
        packed: &PackedLayer,
    ) -> Option<FetchedBlob> {
        let failed = || {
            self.failed_sources
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if failed().contains(source) {
            return None;
        }
        if let Some(directory) = source.strip_prefix(LAYOUT_SOURCE) {
            let path = Path::new(directory)
                .join("blobs/sha256")
                .join(packed.digest.hex());
            let (wanted, checked) = (packed.clone(), path.clone());
            let matches = self
                .tasks
                .blocking(move || Ok(has_content(&checked, &wanted)))
                .await;
            return matches
                .is_ok_and(|same| same)
                .then_some(FetchedBlob::Kept(path));
        }
        let reference: Reference = source.parse().ok()?;
        let path = self.run.path().join(format!("f{number}"));
        let fetched = FetchedBlob::Scratch(path.clone());
        let blob = Descriptor {
            media_type: packed.media_type.clone(),
            digest: packed.digest.clone(),
            size: packed.size,
            urls: Vec::new(),
            platform: None,
            annotations: BTreeMap::new(),
        };
        let spare = self.engine.store.spare_bytes().unwrap_or(0);
        if spare < packed.size {
            return None;
        }
        // The credentials are those of the target's registry, and for no other one.
        let login = self
            .login
            .filter(|_| destination.is_at(reference.host()))
            .cloned();
        let repository = Repository::new(&self.engine.imports.http, reference, login);
        match repository.download(&blob, &path, |_| {}).await {
            Ok(()) => Some(fetched),
            Err(error) => {
                self.progress.line(&format!(
                    "cannot fetch layer {} from {source}, so it is packed anew: {error}",
                    packed.digest.short()
                ));
                failed().insert(source.to_owned());
                None
            }
        }
    }

    /// Sends a file as a blob.
    pub(super) async fn store(
        &self,
        destination: &Destination<'_>,
        packed: &PackedLayer,
        path: &Path,
        session: Option<UploadSession>,
    ) -> Result<(), PushError> {
        match destination {
            Destination::Registry { repository, .. } => {
                let last = Mutex::new(Instant::now());
                let progress = |sent: u64| {
                    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                    if last.elapsed() >= REPORT_INTERVAL && sent < packed.size {
                        *last = Instant::now();
                        self.progress.line(&format!(
                            "layer {}: sent {} of {}",
                            packed.digest.short(),
                            format_size(sent),
                            format_size(packed.size)
                        ));
                    }
                };
                let blob = LocalBlob {
                    digest: &packed.digest,
                    size: packed.size,
                    path,
                };
                repository.upload(blob, session, progress).await?;
            }
            Destination::Layout(layout) => {
                let (layout, digest) = (Arc::clone(layout), packed.digest.clone());
                let path = path.to_owned();
                self.tasks
                    .blocking(move || layout.store_file(&digest, &path))
                    .await?;
            }
        }
        self.counts.add_sent(packed.size);
        self.progress.line(&format!(
            "sent {}: {}",
            packed.digest.short(),
            format_size(packed.size)
        ));
        Ok(())
    }

    /// Sends the configuration of the image.
    pub(super) async fn send_config(
        &self,
        destination: &Destination<'_>,
        bytes: &[u8],
    ) -> Result<(), PushError> {
        let config = PackedLayer {
            media_type: String::new(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            diff_id: Digest::of(bytes),
        };
        if destination.has(&config.digest, config.size).await? {
            self.counts.add_present();
            return Ok(());
        }
        let path = self.run.path().join("config");
        std::fs::write(&path, bytes).map_err(PushError::write(&path))?;
        self.store(destination, &config, &path, None).await
    }
}

/// The archive of an imported layer, from its source.
enum FetchedBlob {
    /// A file of a layout, which stays.
    Kept(PathBuf),
    /// A download, which is removed with this value.
    Scratch(PathBuf),
}

impl FetchedBlob {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) | Self::Scratch(path) => path,
        }
    }
}

impl Drop for FetchedBlob {
    fn drop(&mut self) {
        if let Self::Scratch(path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Destination<'_> {
    /// Returns whether it is a repository of this registry.
    fn is_at(&self, registry: &RegistryHost) -> bool {
        matches!(self, Self::Registry { reference, .. } if reference.host() == registry)
    }

    async fn has(&self, digest: &Digest, size: u64) -> Result<bool, PushError> {
        match self {
            Self::Registry { repository, .. } => Ok(repository.has_blob(digest, size).await?),
            Self::Layout(layout) => Ok(layout.has_blob(digest, size)),
        }
    }

    /// Begins an upload. `None` if the destination needs none.
    async fn begin(&self) -> Result<Option<UploadSession>, PushError> {
        match self {
            Self::Registry { repository, .. } => Ok(Some(repository.begin().await?)),
            Self::Layout(_) => Ok(None),
        }
    }

    /// Mounts a blob from the repository that it was imported from. `None` if that is in another
    /// registry, or the same repository.
    async fn mount(
        &self,
        archive: &LayerArchive,
        digest: &Digest,
    ) -> Result<Option<MountOutcome>, PushError> {
        let Self::Registry {
            repository,
            reference,
        } = self
        else {
            return Ok(None);
        };
        match mount_source(archive, reference) {
            Some(from) => Ok(Some(repository.mount(digest, &from).await?)),
            None => Ok(None),
        }
    }
}

/// The repository from which a blob can be mounted into that of `target`.
pub(super) fn mount_source(archive: &LayerArchive, target: &Reference) -> Option<String> {
    let source = archive.source.as_deref()?;
    let source: Reference = source
        .strip_prefix(REGISTRY_SOURCE)
        .and_then(|_| source.parse().ok())?;
    let differs = source.repository() != target.repository();
    (source.host() == target.host() && differs).then(|| source.repository().to_owned())
}

fn to_packed(layer: u64, archive: &LayerArchive) -> Result<PackedLayer, PushError> {
    let digest = |text: &str| text.parse().map_err(|_| PushError::Records(layer));
    Ok(PackedLayer {
        media_type: archive.media_type.clone(),
        digest: digest(&archive.digest)?,
        size: archive.size,
        diff_id: digest(&archive.diff_id)?,
    })
}

/// Returns whether a file has the size and the digest of an archive.
fn has_content(path: &Path, packed: &PackedLayer) -> bool {
    let is_file = std::fs::symlink_metadata(path)
        .is_ok_and(|about| about.is_file() && about.len() == packed.size);
    let digest = || {
        let mut file = std::fs::File::open(path).ok()?;
        let mut hasher = contree_registry::DigestHasher::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match std::io::Read::read(&mut file, &mut buffer).ok()? {
                0 => return Some(hasher.finish()),
                read => hasher.update(&buffer[..read]),
            }
        }
    };
    is_file && digest().as_ref() == Some(&packed.digest)
}
