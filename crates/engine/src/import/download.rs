//! Downloads the layers of an image, at most three at once.

use std::path::Path;
use std::sync::Arc;

use contree_registry::Reference;
use contree_registry::manifest::Descriptor;
use contree_registry::pull::Repository;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::context::{ImportContext, total};
use super::error::FetchError;
use super::plan::{ArchiveLocation, LayerPlan};
use super::source::ImageSource;

/// Concurrent downloads of one import.
const MAX_DOWNLOADS: usize = 3;

/// The task of a layer's download. It yields `None` if the import was stopped.
pub(super) type Download = JoinHandle<Option<Result<ArchiveLocation, FetchError>>>;

impl ImportContext<'_> {
    /// Starts the downloads of a registry's layers, which take turns. Layers on this machine have
    /// no download.
    pub(super) fn download(
        &self,
        image_source: &ImageSource,
        missing: &[LayerPlan],
        scratch: &Path,
    ) -> Vec<Option<Download>> {
        let ImageSource::Registry(reference, _) = image_source else {
            return missing.iter().map(|_| None).collect();
        };
        self.progress
            .set_total(total(missing.iter().map(|layer| layer.location.length())));
        let permits = Arc::new(Semaphore::new(MAX_DOWNLOADS));
        let start = |(number, layer): (usize, &LayerPlan)| {
            let blob = remote(layer)?.clone();
            let path = scratch.join(number.to_string());
            let permits = Arc::clone(&permits);
            let progress = self.progress.clone();
            let engine = Arc::clone(self.engine);
            let (reference, login) = (reference.as_ref().clone(), self.login.cloned());
            Some(self.tasks.spawn(async move {
                // The semaphore is never closed.
                let _permit = permits.acquire().await.map_err(|_| FetchError::Stopped)?;
                let repository = Repository::new(&engine.imports.http, reference, login);
                let mut before = 0;
                repository
                    .download(&blob, &path, |downloaded| {
                        progress.record(
                            downloaded.saturating_sub(before),
                            before.saturating_sub(downloaded),
                        );
                        before = downloaded;
                    })
                    .await?;
                Ok(ArchiveLocation::File {
                    path,
                    offset: 0,
                    length: blob.size,
                    // `Repository::download` has checked the digest.
                    digest: None,
                })
            }))
        };
        missing.iter().enumerate().map(start).collect()
    }

    /// The repository of an image.
    pub(super) fn repository(&self, reference: &Reference) -> Repository<'_> {
        Repository::new(
            &self.engine.imports.http,
            reference.clone(),
            self.login.cloned(),
        )
    }
}

/// The layer's descriptor in its registry, or `None` if the layer is on this machine.
pub(super) fn remote(layer: &LayerPlan) -> Option<&Descriptor> {
    match &layer.location {
        ArchiveLocation::Remote(descriptor) => Some(descriptor),
        ArchiveLocation::File { .. } => None,
    }
}
