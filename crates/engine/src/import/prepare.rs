//! Getting the layers of an image: those that are missing are downloaded, three at once, and unpacked in their order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use contree_sandbox::{LayerId, RunDir, Unpacked};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::plan::{Content, LayerPlan, Plan};
use super::progress::{Progress, size};
use super::source::{Kind, Origin, split};
use super::tasks::Crew;
use super::verify::{Fed, FeedError, feed};
use super::{docker_archive, local_file, oci_layout};
use crate::engine::{Engine, blocking};
use crate::rows::{images, imports, layers};
use contree_registry::pull::Repository;
use contree_registry::{Digest, Login, Reference, RegistryError};

/// A layer that is being downloaded; `None` if that was stopped.
type Download = JoinHandle<Option<Result<Content, String>>>;

/// How many layers are downloaded at once.
const DOWNLOADS: usize = 3;

/// What is ready to become an image.
pub(super) enum Prepared {
    /// It is one already, and the layer that holds it.
    Known { image: Uuid, held: u64 },
    /// Layers, the bottom first.
    New {
        key: String,
        env: std::collections::BTreeMap<String, String>,
        layers: Vec<Piece>,
        /// The layer that holds those that other images have as well.
        held: Option<u64>,
    },
}

impl Prepared {
    /// The layer that holds what the import counts on.
    pub(super) fn held(&self) -> Option<u64> {
        match self {
            Self::Known { held, .. } => Some(*held),
            Self::New { held, .. } => *held,
        }
    }
}

/// A layer of an image that is being made.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) id: u64,
    pub(super) chain: Digest,
    /// Disk space, if it was unpacked by this import.
    pub(super) made: Option<u64>,
}

/// One import on its way.
pub(super) struct Preparing<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) operation: Uuid,
    pub(super) run: &'a Arc<RunDir>,
    pub(super) login: Option<&'a Login>,
    pub(super) crew: &'a Crew,
    pub(super) progress: &'a Progress,
}

impl Preparing<'_> {
    /// Does all that is needed; the error is a sentence for the operation's record.
    pub(super) async fn prepare(&self, origin: &Origin) -> Result<Prepared, String> {
        let scratch = self.run.path().join("b");
        std::fs::create_dir(&scratch)
            .map_err(|error| format!("cannot make {}: {error}", scratch.display()))?;
        let shown = origin.url();
        let of = |why: String| format!("cannot import {shown}: {why}");
        let plan = match origin {
            Origin::Registry(reference, _) => self.find(reference).await,
            Origin::Local(kind, text) => self.look(*kind, text, &scratch).await,
        }
        .map_err(of)?;
        // Two imports of one image: the second finds what the first has made.
        let lock = plan
            .key
            .as_deref()
            .map(|key| self.engine.imports.lock_of(key));
        let _alone = match &lock {
            Some(lock) => Some(match lock.try_lock() {
                Ok(held) => held,
                Err(_) => {
                    self.progress
                        .line("the same image is being imported already; waiting for it");
                    lock.lock().await
                }
            }),
            None => None,
        };
        if let Some(key) = plan.key.clone()
            && let Some((image, held)) = self.known(key).await?
        {
            self.progress.line("the image is there already");
            return Ok(Prepared::Known { image, held });
        }
        self.make(origin, plan, &scratch).await.map_err(of)
    }

    async fn find(&self, reference: &Reference) -> Result<Plan, String> {
        let repository = self.repository(reference);
        let found = repository.find().await.map_err(explain)?;
        let config = repository
            .config(&found.manifest.config)
            .await
            .map_err(explain)?;
        let bytes = total(found.manifest.layers.iter().map(|layer| layer.size));
        self.progress.line(&format!(
            "{reference}: sha256:{} for {}, {} layers, {}",
            found.digest.short(),
            config.platform,
            found.manifest.layers.len(),
            size(bytes)
        ));
        let key = found.manifest.config.digest.clone();
        let contents = found
            .manifest
            .layers
            .into_iter()
            .map(Content::Remote)
            .collect();
        Plan::of(&key, config, contents)
    }

    async fn look(&self, kind: Kind, text: &str, scratch: &Path) -> Result<Plan, String> {
        let (text, scratch) = (text.to_owned(), scratch.to_owned());
        let limit = self.engine.imports.limits.bytes;
        let looked = self.crew.spawn_blocking(move || match kind {
            Kind::Layout => {
                let (path, name) = split(&text);
                oci_layout::plan(&path, name.as_deref())
            }
            Kind::Archive => {
                let (path, name) = split(&text);
                docker_archive::plan(&path, name.as_deref(), &scratch, limit)
            }
            Kind::Rootfs => {
                let path = PathBuf::from(text);
                let (_, length) = local_file::open(&path)?;
                Ok(Plan::of_files(Content::File {
                    path,
                    offset: 0,
                    length,
                    digest: None,
                }))
            }
        });
        let plan = looked.await.map_err(|error| error.to_string())??;
        let bytes = total(plan.layers.iter().map(|layer| layer.content.length()));
        self.progress.line(&format!(
            "an image for {}, {} layers, {}",
            plan.platform,
            plan.layers.len(),
            size(bytes)
        ));
        Ok(plan)
    }

    async fn make(&self, origin: &Origin, plan: Plan, scratch: &Path) -> Result<Prepared, String> {
        let count = plan.layers.len();
        let (mut pieces, held) = self.shared(&plan.layers).await?;
        if !pieces.is_empty() {
            self.progress.line(&format!(
                "{} of {count} layers are there already",
                pieces.len()
            ));
        }
        let missing = &plan.layers[pieces.len()..];
        let (packed, most) = (
            total(missing.iter().map(|layer| layer.content.length())),
            self.engine.imports.limits.bytes,
        );
        if packed > most {
            return Err(format!(
                "its layers are larger than the bound on an image's size: {}, and at most {} are taken",
                size(packed),
                size(most)
            ));
        }
        let downloads = self.download(origin, missing, scratch);
        let mut key = plan.key.clone();
        for (layer, download) in missing.iter().zip(downloads) {
            let content = match download {
                Some(download) => download
                    .await
                    .map_err(|error| error.to_string())?
                    .unwrap_or_else(|| Err("it was stopped".to_owned()))?,
                None => layer.content.clone(),
            };
            let below = pieces.last().cloned();
            let name = layer
                .diff
                .as_ref()
                .map_or("files".to_owned(), |diff| format!("layer {}", diff.short()));
            let (piece, fed, unpacked) = self
                .unpack(layer, &content, below.as_ref(), &pieces)
                .await
                .map_err(|why| format!("{name}: {why}"))?;
            if let (Some(_), Content::File { path, .. }) = (is_remote(layer), &content) {
                let _ = std::fs::remove_file(path);
            }
            self.progress.line(&format!(
                "unpacked {name} ({} of {count}): {} entries, {}",
                pieces.len() + 1,
                unpacked.entries,
                size(unpacked.bytes)
            ));
            self.progress.differences(&unpacked);
            // Files without a manifest are known by their archive.
            key.get_or_insert_with(|| format!("rootfs:{}", fed.packed));
            pieces.push(piece);
        }
        Ok(Prepared::New {
            key: key.unwrap_or_default(),
            env: plan.env,
            layers: pieces,
            held,
        })
    }

    /// The image that was made of `key` before, held.
    async fn known(&self, key: String) -> Result<Option<(Uuid, u64)>, String> {
        let (operation, boot) = (self.operation, self.engine.boot.clone());
        let known = self.engine.write(move |t| {
            let Some(image) = imports::find(t, &key)? else {
                return Ok(None);
            };
            let Some(image) = images::by_uuid(t, image)? else {
                return Ok(None);
            };
            let held = layers::reserve(t, Some(image.layer), operation, &boot)?;
            Ok(Some((image.uuid, held)))
        });
        known.await.map_err(|error| error.message().to_owned())
    }

    /// The lowest layers of the image that other images have as well, held: a layer that is not ready rests on them, so that they are not
    /// pruned before the image is there. It never becomes one.
    async fn shared(&self, plan: &[LayerPlan]) -> Result<(Vec<Piece>, Option<u64>), String> {
        let chains: Option<Vec<Digest>> = plan.iter().map(|layer| layer.chain.clone()).collect();
        let Some(chains) = chains else {
            return Ok((Vec::new(), None));
        };
        let (operation, boot) = (self.operation, self.engine.boot.clone());
        let found = self.engine.write(move |t| {
            let mut found: Vec<Piece> = Vec::new();
            for chain in chains {
                let Some(id) = layers::by_chain(t, &chain.to_string())? else {
                    break;
                };
                found.push(Piece {
                    id,
                    chain,
                    made: None,
                });
            }
            let held = match found.last() {
                Some(top) => Some(layers::reserve(t, Some(top.id), operation, &boot)?),
                None => None,
            };
            Ok((found, held))
        });
        found.await.map_err(|error| error.message().to_owned())
    }

    /// Starts the downloads, which wait for each other so that not all run at once.
    fn download(
        &self,
        origin: &Origin,
        missing: &[LayerPlan],
        scratch: &Path,
    ) -> Vec<Option<Download>> {
        let Origin::Registry(reference, _) = origin else {
            return missing.iter().map(|_| None).collect();
        };
        self.progress
            .expect(total(missing.iter().map(|layer| layer.content.length())));
        let slots = Arc::new(Semaphore::new(DOWNLOADS));
        let start = |(number, layer): (usize, &LayerPlan)| {
            let blob = is_remote(layer)?.clone();
            let path = scratch.join(number.to_string());
            let slots = Arc::clone(&slots);
            let progress = self.progress.clone();
            let engine = Arc::clone(self.engine);
            let (reference, login) = (reference.as_ref().clone(), self.login.cloned());
            Some(self.crew.spawn(async move {
                let _slot = slots.acquire().await.map_err(|error| error.to_string())?;
                let repository = Repository::new(&engine.imports.http, reference, login);
                let mut before = 0;
                repository
                    .download(&blob, &path, |arrived| {
                        progress.arrived(
                            arrived.saturating_sub(before),
                            before.saturating_sub(arrived),
                        );
                        before = arrived;
                    })
                    .await
                    .map_err(explain)?;
                Ok(Content::File {
                    path,
                    offset: 0,
                    length: blob.size,
                    // It was checked on its way.
                    digest: None,
                })
            }))
        };
        missing.iter().enumerate().map(start).collect()
    }

    fn repository(&self, reference: &Reference) -> Repository<'_> {
        Repository::new(
            &self.engine.imports.http,
            reference.clone(),
            self.login.cloned(),
        )
    }

    /// Unpacks one layer on those below it (the bottom first), and keeps it as one that is not ready yet.
    async fn unpack(
        &self,
        layer: &LayerPlan,
        content: &Content,
        below: Option<&Piece>,
        all_below: &[Piece],
    ) -> Result<(Piece, Fed, Unpacked), String> {
        let engine = Arc::clone(self.engine);
        let (operation, run, crew) = (self.operation, Arc::clone(self.run), self.crew.clone());
        let (layer, content) = (layer.clone(), content.clone());
        let parent = below.map(|piece| piece.id);
        let used: u64 = all_below.iter().filter_map(|piece| piece.made).sum();
        let work = self.crew.spawn_blocking(move || {
            let mut limits = engine.imports.limits;
            limits.bytes = limits.bytes.saturating_sub(used);
            let lowers = match parent {
                None => Vec::new(),
                Some(top) => engine
                    .rows
                    .read(|c| layers::chain(c, top))
                    .map_err(|error| error.to_string())?
                    .iter()
                    .map(|layer| LayerId(layer.id))
                    .collect(),
            };
            let (unpacking, mut stream) = engine
                .store
                .unpack(&run, &lowers, limits)
                .map_err(|error| error.to_string())?;
            let unpacking = Arc::new(unpacking);
            if !crew.unpacks(&unpacking) {
                return Err("it was stopped".to_owned());
            }
            let fed = feed(&content, limits.bytes, &mut stream);
            drop(stream);
            let fed = match fed {
                Ok(fed) => fed,
                Err(FeedError::Source(why)) => {
                    unpacking.stop();
                    return Err(why);
                }
                Err(FeedError::Refused) => {
                    return Err(match unpacking.wait() {
                        Err(error) => error.to_string(),
                        Ok(_) => "the helper that unpacks it ended too early".to_owned(),
                    });
                }
            };
            let unpacked = unpacking.wait().map_err(|error| error.to_string())?;
            if let Some(diff) = layer.diff.as_ref().filter(|diff| **diff != fed.diff) {
                return Err(format!(
                    "unpacked it has the digest {}, and the image's configuration says {diff}",
                    fed.diff
                ));
            }
            if crew.is_stopped() {
                return Err("it was stopped".to_owned());
            }
            let id = engine
                .rows
                .write(|t| layers::reserve(t, parent, operation, &engine.boot))
                .map_err(|error| error.to_string())?;
            engine
                .store
                .commit(&run, LayerId(id))
                .map_err(|error| error.to_string())?;
            let piece = Piece {
                id,
                chain: layer.chain.unwrap_or_else(|| fed.diff.clone()),
                made: Some(unpacked.bytes),
            };
            Ok((piece, fed, unpacked))
        });
        work.await.map_err(|error| error.to_string())?
    }
}

/// A sum of sizes that somebody else states.
fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

fn is_remote(layer: &LayerPlan) -> Option<&contree_registry::manifest::Descriptor> {
    match &layer.content {
        Content::Remote(descriptor) => Some(descriptor),
        Content::File { .. } => None,
    }
}

/// An error of a registry, with what to do about it.
fn explain(error: RegistryError) -> String {
    let next = match &error {
        RegistryError::LoginNeeded { .. } => {
            "; the image may be private or not exist: give `registry.credentials` if it is private, and check its name"
        }
        RegistryError::Rejected { .. } => {
            "; check user and password, and that they may pull this image"
        }
        _ => "",
    };
    format!("{error}{next}")
}

/// Removes the layers that an import has made and that no image has.
pub(super) async fn discard(engine: &Arc<Engine>, operation: Uuid) {
    let shared = Arc::clone(engine);
    let done = blocking(move || {
        for layer in shared.rows.read(|c| layers::of_run(c, operation))? {
            shared.store.remove_layer(LayerId(layer))?;
            shared.rows.write(|t| layers::forget(t, layer))?;
        }
        Ok(())
    });
    if let Err(error) = done.await {
        tracing::warn!(%operation, error = error.message(), "cannot clear the layers of an import away; the next start tries again");
    }
}
