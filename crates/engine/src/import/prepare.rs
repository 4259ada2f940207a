//! Getting the layers of an image: those that are missing are downloaded and unpacked in their order.

use std::path::{Path, PathBuf};

use contree_registry::{Digest, Reference};
use uuid::Uuid;

use super::context::{ImportContext, total};
use super::download::remote;
use super::error::{FetchError, ImportError};
use super::plan::{Content, LayerPlan, Plan};
use super::prepared::{PreparedImage, PreparedLayer};
use super::progress::size;
use super::source::{Kind, Origin, split};
use super::{docker_archive, local_file, oci_layout};
use crate::error::ApiError;
use crate::rows::{images, imports, layers};

impl ImportContext<'_> {
    /// Does all that is needed.
    pub(super) async fn prepare(&self, origin: &Origin) -> Result<PreparedImage, ImportError> {
        let scratch = self.run.path().join("b");
        std::fs::create_dir(&scratch).map_err(|source| ImportError::Scratch {
            path: scratch.clone(),
            source,
        })?;
        let of = |source: FetchError| ImportError::Source {
            url: origin.url(),
            source,
        };
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
            return Ok(PreparedImage::Known { image, held });
        }
        self.make(origin, plan, &scratch).await.map_err(of)
    }

    async fn find(&self, reference: &Reference) -> Result<Plan, FetchError> {
        let repository = self.repository(reference);
        let found = repository.find().await?;
        let config = repository.config(&found.manifest.config).await?;
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
        Ok(Plan::of(&key, config, contents)?)
    }

    async fn look(&self, kind: Kind, text: &str, scratch: &Path) -> Result<Plan, FetchError> {
        let (text, scratch) = (text.to_owned(), scratch.to_owned());
        let limit = self.engine.imports.limits.bytes;
        let looked = self
            .tasks
            .spawn_blocking(move || -> Result<Plan, FetchError> {
                match kind {
                    Kind::Layout => {
                        let (path, name) = split(&text);
                        Ok(oci_layout::plan(&path, name.as_deref())?)
                    }
                    Kind::Archive => {
                        let (path, name) = split(&text);
                        Ok(docker_archive::plan(
                            &path,
                            name.as_deref(),
                            &scratch,
                            limit,
                        )?)
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
                }
            });
        let plan = looked.await??;
        let bytes = total(plan.layers.iter().map(|layer| layer.content.length()));
        self.progress.line(&format!(
            "an image for {}, {} layers, {}",
            plan.platform,
            plan.layers.len(),
            size(bytes)
        ));
        Ok(plan)
    }

    async fn make(
        &self,
        origin: &Origin,
        plan: Plan,
        scratch: &Path,
    ) -> Result<PreparedImage, FetchError> {
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
            return Err(FetchError::TooLarge { packed, most });
        }
        let downloads = self.download(origin, missing, scratch);
        let mut key = plan.key.clone();
        for (layer, download) in missing.iter().zip(downloads) {
            let content = match download {
                Some(download) => download.await?.unwrap_or(Err(FetchError::Stopped))?,
                None => layer.content.clone(),
            };
            let name = layer
                .diff
                .as_ref()
                .map_or("files".to_owned(), |diff| format!("layer {}", diff.short()));
            let unpacked = self.unpack(layer, &content, &pieces).await;
            let (piece, verified, unpacked) = unpacked.map_err(|source| FetchError::Layer {
                name: name.clone(),
                source,
            })?;
            if let (Some(_), Content::File { path, .. }) = (remote(layer), &content) {
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
            key.get_or_insert_with(|| format!("rootfs:{}", verified.packed));
            pieces.push(piece);
        }
        Ok(PreparedImage::New {
            key: key.unwrap_or_default(),
            env: plan.env,
            layers: pieces,
            held,
        })
    }

    /// The image that was made of `key` before, held.
    async fn known(&self, key: String) -> Result<Option<(Uuid, u64)>, ApiError> {
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
        known.await
    }

    /// The lowest layers of the image that other images have as well, held: a layer that is not ready rests on them, so that they are not
    /// pruned before the image is there. It never becomes one.
    async fn shared(
        &self,
        plan: &[LayerPlan],
    ) -> Result<(Vec<PreparedLayer>, Option<u64>), ApiError> {
        let chains: Option<Vec<Digest>> = plan.iter().map(|layer| layer.chain.clone()).collect();
        let Some(chains) = chains else {
            return Ok((Vec::new(), None));
        };
        let (operation, boot) = (self.operation, self.engine.boot.clone());
        let found = self.engine.write(move |t| {
            let mut found: Vec<PreparedLayer> = Vec::new();
            for chain in chains {
                let Some(id) = layers::by_chain(t, &chain.to_string())? else {
                    break;
                };
                found.push(PreparedLayer {
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
        found.await
    }
}
