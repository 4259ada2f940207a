//! Layers: what images are made of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{LayerStore, StoreError, make_directory};
use crate::error::Error;
use crate::host_root::{self, HostReport};
use crate::os::error::{Doing, OsError};
use crate::protocol::spec::LayerId;

/// How many places are looked at for a layer of many files.
const CANDIDATES: usize = 8;

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
        self.make_where_files_are_made_fast(&unfinished)?;
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

    /// Makes a directory for many files. On ext4 without a journal a file takes up to a hundred times as long where many were deleted in
    /// the last seconds, and where a file goes is settled by its directory's group. So of a few directories in different groups (see
    /// [`super::spread`]) the one is kept that took a probe best.
    fn make_where_files_are_made_fast(&self, relative: &Path) -> Result<(), Error> {
        let mut candidates = Vec::new();
        for index in 0..CANDIDATES {
            let mut name = relative.as_os_str().to_owned();
            name.push(format!("-{index}"));
            self.remove_tree(Path::new(&name))?;
            let path = self.path(&name);
            make_directory(&path, 0o711)?;
            let probe = path.join("probe");
            let begun = Instant::now();
            drop(fs::File::create(&probe).on("create", &probe)?);
            candidates.push((begun.elapsed(), path));
            fs::remove_file(&probe).on("remove", &probe)?;
        }
        // Only now, else the next candidate would have gone where one was just removed.
        candidates.sort_unstable();
        let mut candidates = candidates.into_iter().map(|(_, path)| path);
        if let Some(best) = candidates.next() {
            fs::rename(&best, self.path(relative)).on("rename", &best)?;
        }
        for path in candidates {
            fs::remove_dir(&path).on("remove", &path)?;
        }
        Ok(())
    }

    fn fill_host_layer(&self, path: &Path) -> Result<HostReport, Error> {
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
