//! Unpacks a layer through a helper of the sandbox crate, and removes the layers of a failed
//! import.

use std::sync::Arc;

use contree_sandbox::{LayerId, UnpackReport};
use uuid::Uuid;

use super::archive_size::ArchiveSize;
use super::context::ImportContext;
use super::error::UnpackError;
use super::plan::{ArchiveLocation, LayerPlan};
use super::prepared::{PreparedLayer, UnpackedSize};
use super::verify::{VerifiedArchive, VerifyError, copy_verified};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::layer_note::{LayerNote, NotedLayer};
use crate::operation::discard;
use crate::rows::layers;

impl ImportContext<'_> {
    /// Unpacks one layer on top of `below` (the bottom first) and stores it as a layer that is not
    /// ready yet. `size` counts the decompressed bytes of all layers of the image.
    pub(super) async fn unpack(
        &self,
        layer: &LayerPlan,
        location: &ArchiveLocation,
        below: &[PreparedLayer],
        size: &mut ArchiveSize,
    ) -> Result<(PreparedLayer, VerifiedArchive, UnpackReport), UnpackError> {
        let engine = Arc::clone(self.engine);
        let (operation, run, tasks) = (self.operation, Arc::clone(self.run), self.tasks.clone());
        let (layer, location) = (layer.clone(), location.clone());
        let mut counted = size.clone();
        let parent = below.last().map(|layer| layer.id);
        let unpacked = || below.iter().filter_map(|layer| layer.unpacked);
        let used_bytes: u64 = unpacked().map(|size| size.bytes).sum();
        let used_entries: u64 = unpacked().map(|size| size.entries).sum();
        let work = self
            .tasks
            .spawn_blocking(move || -> Result<_, UnpackError> {
                let mut limits = engine.imports.limits;
                limits.bytes = limits.bytes.saturating_sub(used_bytes);
                limits.entries = limits.entries.saturating_sub(used_entries);
                let lowers = match parent {
                    None => Vec::new(),
                    Some(top) => engine
                        .rows
                        .read(|c| layers::chain(c, top))?
                        .iter()
                        .map(|layer| LayerId(layer.id))
                        .collect(),
                };
                let (unpacking, mut stream) = engine.store.unpack(&run, &lowers, limits)?;
                let unpacking = Arc::new(unpacking);
                if !tasks.register(&unpacking) {
                    return Err(UnpackError::Stopped);
                }
                let verified = copy_verified(&location, &mut counted, &mut stream);
                drop(stream);
                let verified = match verified {
                    Ok(verified) => verified,
                    Err(VerifyError::HelperEnded) => {
                        unpacking.wait()?;
                        return Err(VerifyError::HelperEnded.into());
                    }
                    Err(error) => {
                        unpacking.stop();
                        return Err(error.into());
                    }
                };
                let unpacked = unpacking.wait()?;
                if let Some(expected) = layer
                    .diff_id
                    .as_ref()
                    .filter(|diff| **diff != verified.diff)
                {
                    return Err(UnpackError::WrongDigest {
                        found: verified.diff,
                        expected: expected.clone(),
                    });
                }
                if tasks.is_stopped() {
                    return Err(UnpackError::Stopped);
                }
                let id = engine
                    .rows
                    .write(|t| layers::reserve(t, parent, operation, &engine.boot))?;
                // The import's commit adds the rest.
                let note = LayerNote::Layer(NotedLayer {
                    parent,
                    bytes: unpacked.bytes,
                    chain: None,
                    stands_for: None,
                    files: None,
                });
                engine.store.describe_run(&run, &note.line())?;
                discard::commit_or_forget(&engine, &run, id)?;
                let prepared = PreparedLayer {
                    id,
                    chain: layer.chain_id.unwrap_or_else(|| verified.diff.clone()),
                    archive: layer
                        .archive
                        .map(|archive| archive.with_detected(verified.compression)),
                    unpacked: Some(UnpackedSize {
                        bytes: unpacked.bytes,
                        entries: unpacked.counted_entries(),
                    }),
                };
                Ok((prepared, verified, unpacked, counted))
            });
        let (prepared, verified, unpacked, counted) = work.await??;
        *size = counted;
        Ok((prepared, verified, unpacked))
    }
}

/// Removes the layers that an import unpacked and that no image uses.
pub(super) async fn discard(engine: &Arc<Engine>, operation: Uuid) {
    let task_engine = Arc::clone(engine);
    let removal = blocking(move || {
        for layer in task_engine.rows.read(|c| layers::of_run(c, operation))? {
            discard::failed_commit(&task_engine, layer);
        }
        Ok(())
    });
    if let Err(error) = removal.await {
        tracing::warn!(%operation, error = error.message(), "cannot remove the layers of a failed import; the engine tries again");
        engine.cleanup.notify_one();
    }
}
