//! Layers: what images are made of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{LayerStore, StoreError, make_directory};
use crate::error::{Doing, Error, OsError};
use crate::host_root::{self, HostReport};
use crate::spec::LayerId;

impl LayerStore {
    /// Whether the layer is there.
    pub fn layer_exists(&self, id: LayerId) -> bool {
        self.path(layer_directory(id)).is_dir()
    }

    /// Removes a layer. One that is missing is fine; whether an image still needs it is the caller's affair.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove_layer(&self, id: LayerId) -> Result<(), Error> {
        let link = self.path("l").join(id.0.to_string());
        if let Err(error) = fs::remove_file(&link)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(OsError::new(format!("remove {}", link.display()), error).into());
        }
        self.remove_tree(&Path::new("layers").join(id.0.to_string()))
    }

    /// Gives the layer its short name.
    pub(super) fn link_layer(&self, id: LayerId) -> Result<(), OsError> {
        let link = self.path("l").join(id.0.to_string());
        let target = Path::new("..").join(layer_directory(id));
        match std::os::unix::fs::symlink(&target, &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&link).on("remove", &link)?;
                std::os::unix::fs::symlink(&target, &link).on("link", &link)
            }
            other => other.on("link", &link),
        }
    }

    /// Copies this machine's own programs into a new layer. Needs no namespace. One call at a time: the caller holds a lock.
    ///
    /// # Errors
    /// When there is such a layer already, or it cannot be copied.
    pub fn stage_host_layer(&self, id: LayerId) -> Result<HostReport, Error> {
        self.record_map()?;
        let target = self.path("layers").join(id.0.to_string());
        if target.exists() {
            return Err(StoreError::LayerExists(id).into());
        }
        let unfinished = Path::new("layers").join(format!(".new-{}", id.0));
        // What a process left that did not come to the end.
        self.remove_tree(&unfinished)?;
        let made = self.fill_host_layer(&self.path(&unfinished));
        let report = match made {
            Ok(report) => report,
            Err(error) => {
                let _ = self.remove_tree(&unfinished);
                return Err(error);
            }
        };
        fs::rename(self.path(&unfinished), &target).on("keep", &target)?;
        self.link_layer(id)?;
        Ok(report)
    }

    fn fill_host_layer(&self, path: &Path) -> Result<HostReport, Error> {
        make_directory(path, 0o711)?;
        let root = path.join("d");
        make_directory(&root, 0o755)?;
        self.give_to_inner_root(&root)?;
        let owner = self
            .id_map()
            .foreign_owner()
            .then(|| self.id_map().root_owner());
        Ok(host_root::build(&root, owner)?)
    }
}

/// Where a layer's files are, relative to the store.
fn layer_directory(id: LayerId) -> PathBuf {
    Path::new("layers").join(id.0.to_string()).join("d")
}
