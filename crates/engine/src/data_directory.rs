//! The data directory: created if missing, and checked for a layout that this release reads.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::error::EngineError;
use crate::rows::Rows;

/// The layout of the data directory that this release reads and writes.
const STORE_VERSION: &str = "1";

/// Checks that this release can use the records of a data directory, and opens them. `None` if
/// there is no data directory.
pub(crate) fn check_records(root: &Path) -> Result<Option<Rows>, EngineError> {
    if !root.join("VERSION").exists() {
        return Ok(None);
    }
    prepare(root)?;
    let rows = Rows::open(&root.join("store.db"))?;
    rows.identity()?;
    Ok(Some(rows))
}

/// Creates the data directory if missing, and checks that this release reads its layout.
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
        .map_err(failed("cannot create the data directory", root))?;
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
            let version = fs::read_to_string(&path)
                .map_err(failed("cannot read", &path))?
                .trim()
                .to_owned();
            // Empty: another engine has created the file and not yet written it.
            if version.is_empty() || version == STORE_VERSION {
                return Ok(());
            }
            Err(EngineError::StoreVersion {
                path: root.to_owned(),
                found: version,
                known: STORE_VERSION,
            })
        }
        Err(error) => Err(failed("cannot write", &path)(error)),
    }
}
