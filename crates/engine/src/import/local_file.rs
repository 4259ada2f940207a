//! Reading files of this machine.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use contree_registry::manifest::LARGEST;

/// Opens a regular file and says how long it is. Nothing else is opened: a pipe would wait for its other end.
pub(super) fn open(path: &Path) -> Result<(File, u64), String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    // Before it is opened, and again after it.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    Ok((file, about.len()))
}

/// Reads a small file whole.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let (file, length) = open(path)?;
    if length > LARGEST as u64 {
        return Err(format!("{} is larger than {LARGEST} bytes", path.display()));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(bytes)
}
