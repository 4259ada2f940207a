//! Packs layers into a compressed archive in the run directory.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contree_registry::push::layer::{LayerCompression, PackedLayer, compress};
use contree_sandbox::LayerId;

use super::error::PushError;
use super::plan::LayerGroup;
use super::tasks::PushTasks;
use crate::engine::Engine;

/// The bytes after which a packing checks the free space again.
const SPACE_CHECK_BYTES: u64 = 64 << 20;

/// A blob in a file of the run directory, which is removed with this value.
pub(super) struct ScratchBlob {
    pub(super) layer: PackedLayer,
    pub(super) path: PathBuf,
}

impl Drop for ScratchBlob {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Packs the layers of a group into the new file `path`. Blocks.
pub(super) fn pack(
    engine: &Engine,
    group: &LayerGroup,
    compression: LayerCompression,
    path: PathBuf,
    tasks: &PushTasks,
) -> Result<ScratchBlob, PushError> {
    let layer = group.layers.first().copied().unwrap_or_default();
    let unreadable = |source| PushError::Layer { layer, source };
    let ids = |layers: &[u64]| layers.iter().copied().map(LayerId).collect::<Vec<_>>();
    let (packing, mut stream) = engine
        .store
        .pack(&ids(&group.layers), &ids(&group.below))
        .map_err(unreadable)?;
    let packing = Arc::new(packing);
    tasks.register(&packing)?;
    let result = write(engine, &mut stream, &path, compression, layer);
    if result.is_err() {
        packing.stop();
    }
    drop(stream);
    let report = packing.wait();
    tasks.forget(&packing);
    if tasks.is_stopped() {
        return Err(PushError::Stopped);
    }
    // A helper that failed has ended the archive early, and gives the reason.
    let packed = result?;
    report.map_err(unreadable)?;
    Ok(packed)
}

fn write(
    engine: &Engine,
    stream: &mut impl io::Read,
    path: &Path,
    compression: LayerCompression,
    layer: u64,
) -> Result<ScratchBlob, PushError> {
    let file = File::create_new(path).map_err(PushError::write(path))?;
    let mut blob = ScratchBlob {
        // Replaced below. The file is removed if packing fails.
        layer: PackedLayer {
            media_type: String::new(),
            digest: contree_registry::Digest::of(b""),
            size: 0,
            diff_id: contree_registry::Digest::of(b""),
        },
        path: path.to_owned(),
    };
    let mut target = SparingFile {
        file,
        engine,
        until_check: 0,
    };
    blob.layer = compress(stream, &mut target, compression)
        .map_err(|source| PushError::Pack { layer, source })?;
    Ok(blob)
}

/// A file that leaves some disk space to other programs.
struct SparingFile<'a> {
    file: File,
    engine: &'a Engine,
    until_check: u64,
}

impl Write for SparingFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.until_check == 0 {
            let spare = self.engine.store.spare_bytes().map_err(io::Error::other)?;
            if spare == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    "the data directory's file system has too little space left: free space there",
                ));
            }
            self.until_check = spare.min(SPACE_CHECK_BYTES);
        }
        let most =
            usize::try_from(self.until_check).map_or(bytes.len(), |most| most.min(bytes.len()));
        let written = self.file.write(&bytes[..most])?;
        self.until_check -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
