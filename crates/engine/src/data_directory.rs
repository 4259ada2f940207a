//! The data directory: made if it is missing, and checked to be of this release.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::error::EngineError;
use crate::rows::Rows;

/// The layout of the data directory that this release reads and writes.
const STORE_VERSION: &str = "1";

/// Whether the records of a data directory can be used by this release. One that is not there yet can.
pub(crate) fn check_records(root: &Path) -> Result<(), EngineError> {
    if !root.join("VERSION").exists() {
        return Ok(());
    }
    prepare(root)?;
    Rows::open(&root.join("store.db"))?.identity()?;
    Ok(())
}

/// Makes the data directory and checks that its layout is one this release knows.
pub(crate) fn prepare(root: &Path) -> Result<(), EngineError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| EngineError::Io {
            action,
            path,
            source,
        }
    };
    if !root.is_dir() && root.symlink_metadata().is_ok() {
        return Err(EngineError::NotADirectory {
            path: root.to_owned(),
        });
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .map_err(failed("cannot make the data directory", root))?;
    let path = root.join("VERSION");
    match fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
    {
        Ok(mut file) => file
            .write_all(STORE_VERSION.as_bytes())
            .map_err(failed("cannot write", &path)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let found = fs::read_to_string(&path)
                .map_err(failed("cannot read", &path))?
                .trim()
                .to_owned();
            // Empty: another engine is between making the file and writing it.
            if found.is_empty() || found == STORE_VERSION {
                return Ok(());
            }
            Err(EngineError::StoreVersion {
                path: root.to_owned(),
                found,
                known: STORE_VERSION,
            })
        }
        Err(error) => Err(failed("cannot write", &path)(error)),
    }
}
