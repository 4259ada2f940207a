//! Prepares the layers of an image: downloads the missing ones and unpacks them in order.

use std::path::{Path, PathBuf};

use contree_registry::Reference;
use uuid::Uuid;

use super::archive_size::ArchiveSize;
use super::context::{ImportContext, total};
use super::download::remote;
use super::error::{FetchError, ImportError};
use super::plan::{ArchiveLocation, ImageDocument, ImportPlan, LayerPlan};
use super::prepared::{PreparedImage, PreparedLayer};
use super::progress::format_size;
use super::source::{ImageSource, LocalFormat, split_name};
use super::{docker_archive, local_file, oci_layout};
use crate::error::ApiError;
use crate::rows::{images, imports, layers};

impl ImportContext<'_> {
    /// Prepares the image of this source.
    pub(super) async fn prepare(
        &self,
        image_source: &ImageSource,
    ) -> Result<PreparedImage, ImportError> {
        let scratch = self.run.path().join("b");
        std::fs::create_dir(&scratch).map_err(|source| ImportError::Scratch {
            path: scratch.clone(),
            source,
        })?;
        let failed = |source: FetchError| ImportError::Source {
            url: image_source.url(),
            source,
        };
        let plan = match image_source {
            ImageSource::Registry(reference, _) => self.plan_remote(reference).await,
            ImageSource::Local(format, text) => self.plan_local(*format, text, &scratch).await,
        }
        .map_err(failed)?;
        // Of two imports of the same image, the second waits for the first and finds its image.
        let lock = plan
            .key
            .as_deref()
            .map(|key| self.engine.imports.image_lock(key));
        let _guard = match &lock {
            Some(lock) => Some(match lock.try_lock() {
                Ok(guard) => guard,
                Err(_) => {
                    self.progress
                        .line("the same image is being imported already; waiting for it");
                    lock.lock().await
                }
            }),
            None => None,
        };
        if let Some(key) = plan.key.clone()
            && let Some((image, held)) = self.find_known(key).await?
        {
            self.progress.line("the image already exists");
            return Ok(PreparedImage::Existing { image, held });
        }
        self.fetch_layers(image_source, plan, &scratch)
            .await
            .map_err(failed)
    }

    /// Plans the import of a registry's image.
    async fn plan_remote(&self, reference: &Reference) -> Result<ImportPlan, FetchError> {
        let repository = self.repository(reference);
        let found = repository.find_image().await?;
        let config_bytes = repository.config_bytes(&found.manifest.config).await?;
        let config = repository.parse_config(&config_bytes)?;
        let bytes = total(found.manifest.layers.iter().map(|layer| layer.size));
        self.progress.line(&format!(
            "{reference}: sha256:{} for {}, {} layers, {}",
            found.digest.short(),
            config.platform,
            found.manifest.layers.len(),
            format_size(bytes)
        ));
        let key = found.manifest.config.digest.clone();
        let layers = found.manifest.layers;
        let locations = layers
            .iter()
            .cloned()
            .map(ArchiveLocation::Remote)
            .collect();
        let document = ImageDocument {
            manifest: found.bytes,
            config: config_bytes,
        };
        let plan = ImportPlan::from_config(&key, config, locations)?;
        Ok(plan.with_document(document, &layers))
    }

    /// Plans the import of a local image.
    async fn plan_local(
        &self,
        format: LocalFormat,
        text: &str,
        scratch: &Path,
    ) -> Result<ImportPlan, FetchError> {
        let (text, scratch) = (text.to_owned(), scratch.to_owned());
        let limit = self.engine.imports.limits.bytes;
        let tasks = self.tasks.clone();
        let plan = self
            .tasks
            .spawn_blocking(move || -> Result<ImportPlan, FetchError> {
                match format {
                    LocalFormat::Layout => {
                        let (path, name) = split_name(&text);
                        Ok(oci_layout::plan(&path, name.as_deref())?)
                    }
                    LocalFormat::Archive => {
                        let (path, name) = split_name(&text);
                        Ok(docker_archive::plan(
                            &path,
                            name.as_deref(),
                            &scratch,
                            limit,
                            &tasks,
                        )?)
                    }
                    LocalFormat::Rootfs => {
                        let path = PathBuf::from(text);
                        let (_, length) = local_file::open(&path)?;
                        Ok(ImportPlan::from_rootfs(ArchiveLocation::File {
                            path,
                            offset: 0,
                            length,
                            digest: None,
                        }))
                    }
                }
            });
        let plan = plan.await??;
        let bytes = total(plan.layers.iter().map(|layer| layer.location.length()));
        self.progress.line(&format!(
            "an image for {}, {} layers, {}",
            plan.platform,
            plan.layers.len(),
            format_size(bytes)
        ));
        Ok(plan)
    }

    /// Downloads and unpacks the layers that are missing.
    async fn fetch_layers(
        &self,
        image_source: &ImageSource,
        plan: ImportPlan,
        scratch: &Path,
    ) -> Result<PreparedImage, FetchError> {
        let count = plan.layers.len();
        let (mut prepared, held) = self.find_shared(&plan.layers).await?;
        if !prepared.is_empty() {
            self.progress.line(&format!(
                "{} of {count} layers already exist",
                prepared.len()
            ));
        }
        let missing = &plan.layers[prepared.len()..];
        let (packed, limit) = (
            total(missing.iter().map(|layer| layer.location.length())),
            self.engine.imports.limits.bytes,
        );
        if packed > limit {
            return Err(FetchError::TooLarge { packed, limit });
        }
        let spare = self.engine.store.spare_bytes().map_err(ApiError::from)?;
        let downloaded = total(
            missing
                .iter()
                .filter_map(remote)
                .map(|descriptor| descriptor.size),
        );
        if downloaded > spare {
            return Err(FetchError::DiskNearlyFull { downloaded, spare });
        }
        let downloads = self.download(image_source, missing, scratch);
        // Layers in a file that is itself compressed count as no more than this file.
        let packed = plan.source_bytes.map_or(packed, |bytes| packed.min(bytes));
        let mut size = ArchiveSize::new(packed, limit);
        let mut key = plan.key.clone();
        for (layer, download) in missing.iter().zip(downloads) {
            let location = match download {
                Some(download) => download.await?.unwrap_or(Err(FetchError::Stopped))?,
                None => layer.location.clone(),
            };
            let name = layer
                .diff_id
                .as_ref()
                .map_or("files".to_owned(), |diff| format!("layer {}", diff.short()));
            let result = self.unpack(layer, &location, &prepared, &mut size).await;
            let (unpacked_layer, verified, report) =
                result.map_err(|source| FetchError::Layer {
                    name: name.clone(),
                    source,
                })?;
            if let (Some(_), ArchiveLocation::File { path, .. }) = (remote(layer), &location) {
                let _ = std::fs::remove_file(path);
            }
            self.progress.line(&format!(
                "unpacked {name} ({} of {count}): {} entries, {}",
                prepared.len() + 1,
                report.entries,
                format_size(report.bytes)
            ));
            self.progress.report_differences(&report);
            // An archive without a manifest is identified by its own digest.
            key.get_or_insert_with(|| format!("rootfs:{}", verified.packed));
            prepared.push(unpacked_layer);
        }
        Ok(PreparedImage::New {
            key: key.unwrap_or_default(),
            env: plan.env,
            cwd: plan.saved_directory.unwrap_or_default(),
            document: plan.document,
            source: image_source.archive_source(),
            layers: prepared,
            held,
        })
    }

    /// Finds the image that an earlier import made under `key`, and holds it.
    async fn find_known(&self, key: String) -> Result<Option<(Uuid, u64)>, ApiError> {
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

    /// Finds the lowest layers that other images already have, and holds them.
    ///
    /// To hold them, it reserves a layer on top that never becomes ready. Layers with such a child
    /// are not pruned before the image exists.
    async fn find_shared(
        &self,
        plan: &[LayerPlan],
    ) -> Result<(Vec<PreparedLayer>, Option<u64>), ApiError> {
        let chains: Option<Vec<_>> = plan
            .iter()
            .map(|layer| Some((layer.chain_id.clone()?, layer.archive.clone())))
            .collect();
        let Some(chains) = chains else {
            return Ok((Vec::new(), None));
        };
        let (operation, boot) = (self.operation, self.engine.boot.clone());
        let found = self.engine.write(move |t| {
            let mut found: Vec<PreparedLayer> = Vec::new();
            for (chain, archive) in chains {
                let Some(id) = layers::by_chain(t, &chain.to_string())? else {
                    break;
                };
                found.push(PreparedLayer {
                    id,
                    chain,
                    archive,
                    unpacked: None,
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
