//! The layers of a store.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::layout::{StoreLayout, make_directory};
use crate::os::error::{CallContext, OsError};
use crate::protocol::spec::LayerId;

/// The number of candidate directories for a layer of many files.
const CANDIDATES: usize = 8;

/// The prefix of the names of layers that are being removed.
const RETIRED_PREFIX: &str = ".old-";

/// The file of a layer that describes it, beside the directory of its files.
const DESCRIPTION: &str = "about.jsonl";

impl StoreLayout {
    /// Returns true if the layer exists.
    pub(crate) fn layer_exists(&self, id: LayerId) -> bool {
        self.path(layer_directory(id)).is_dir()
    }

    /// Returns true if the number is in use.
    pub(crate) fn is_taken(&self, id: LayerId) -> bool {
        self.path(layer_tree(id)).exists()
    }

    /// Makes the directory for a layer's files in its tree, and returns its path.
    pub(crate) fn make_layer_root(&self, tree: &Path) -> Result<PathBuf, OsError> {
        let root = self.path(tree).join("d");
        make_directory(&root, 0o755)?;
        self.chown_to_inner_root(&root)?;
        Ok(root)
    }

    /// Turns a tree into the layer with that number.
    pub(crate) fn rename_to_layer(&self, tree: &Path, id: LayerId) -> Result<(), OsError> {
        let target = self.path(layer_tree(id));
        fs::rename(self.path(tree), &target).context_path("make the layer", &target)?;
        self.link_layer(id).inspect_err(|_| {
            // The caller removes its own tree. A layer without a link would stay.
            let _ = fs::rename(&target, self.path(tree));
        })
    }

    /// Renames a layer before it is removed, and returns its new path.
    ///
    /// So a layer whose removal was interrupted is never taken for a whole one.
    pub(crate) fn retire_layer(&self, id: LayerId) -> PathBuf {
        let retired = Path::new("layers").join(format!("{RETIRED_PREFIX}{}", id.0));
        match fs::rename(self.path(layer_tree(id)), self.path(&retired)) {
            Ok(()) => retired,
            // Removing it where it is works as well.
            Err(_) => layer_tree(id),
        }
    }

    /// The layers whose removal was interrupted, relative to the store.
    pub(crate) fn retired_layers(&self) -> Result<Vec<PathBuf>, OsError> {
        let names = self.names_of_layers()?;
        let retired = names
            .iter()
            .filter(|name| name.starts_with(RETIRED_PREFIX))
            .map(|name| Path::new("layers").join(name));
        Ok(retired.collect())
    }

    /// The ids of all layers on disk, in ascending order.
    pub(crate) fn layer_ids(&self) -> Result<Vec<LayerId>, OsError> {
        let names = self.names_of_layers()?;
        let mut ids: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort_unstable();
        Ok(ids.into_iter().map(LayerId).collect())
    }

    fn names_of_layers(&self) -> Result<Vec<String>, OsError> {
        let path = self.path("layers");
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).context_path("list", &path)? {
            if let Ok(name) = entry.context_path("list", &path)?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Appends a line to the description of a layer, which is in `tree`.
    pub(crate) fn describe(&self, tree: &Path, line: &[u8]) -> Result<(), OsError> {
        let path = self.path(tree).join(DESCRIPTION);
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .context_path("open", &path)?;
        let length = file.metadata().context_path("inspect", &path)?.len();
        let whole = [line, b"\n"].concat();
        file.write_all(&whole)
            .inspect_err(|_| {
                // A partial line would make the next one unreadable.
                let _ = file.set_len(length);
            })
            .context_path("write", &path)
    }

    /// The description of a layer. `None` if it has none.
    pub(crate) fn description(&self, id: LayerId) -> Result<Option<Vec<u8>>, OsError> {
        let path = self.path(layer_tree(id)).join(DESCRIPTION);
        match fs::read(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OsError::new(format!("read {}", path.display()), error)),
        }
    }

    /// Removes the layer's short link, if it exists.
    pub(crate) fn unlink_layer(&self, id: LayerId) -> Result<(), OsError> {
        let link = self.path(layer_link(id));
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(OsError::new(format!("remove {}", link.display()), error))
            }
            _ => Ok(()),
        }
    }

    /// Makes the layer's short link.
    fn link_layer(&self, id: LayerId) -> Result<(), OsError> {
        let link = self.path(layer_link(id));
        let target = Path::new("..").join(layer_directory(id));
        match std::os::unix::fs::symlink(&target, &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&link).context_path("remove", &link)?;
                std::os::unix::fs::symlink(&target, &link).context_path("link", &link)
            }
            other => other.context_path("link", &link),
        }
    }

    /// Makes a directory for many files in a fast place on disk.
    ///
    /// On ext4 without a journal, creating a file takes up to a hundred times longer where many
    /// files were deleted in the last seconds. The directory's block group decides where its files
    /// go. So this makes several directories in different groups (see `set_topdir_flag`), creates a
    /// probe file in each, and keeps the fastest.
    pub(crate) fn make_fast_directory(&self, relative: &Path) -> Result<(), OsError> {
        let mut candidates = Vec::new();
        for index in 0..CANDIDATES {
            let mut name = relative.as_os_str().to_owned();
            name.push(format!("-{index}"));
            self.remove_tree(Path::new(&name))?;
            let path = self.path(&name);
            make_directory(&path, 0o711)?;
            let probe = path.join("probe");
            let begun = Instant::now();
            drop(fs::File::create(&probe).context_path("create", &probe)?);
            candidates.push((begun.elapsed(), path));
            fs::remove_file(&probe).context_path("remove", &probe)?;
        }
        // Remove the rest only now; otherwise the next candidate could reuse the group of one just
        // removed.
        candidates.sort_unstable();
        let mut candidates = candidates.into_iter().map(|(_, path)| path);
        if let Some(best) = candidates.next() {
            fs::rename(&best, self.path(relative)).context_path("rename", &best)?;
        }
        for path in candidates {
            fs::remove_dir(&path).context_path("remove", &path)?;
        }
        Ok(())
    }
}

/// The directory of a layer, relative to the store.
pub(crate) fn layer_tree(id: LayerId) -> PathBuf {
    Path::new("layers").join(id.0.to_string())
}

/// The directory of a layer that is being made, relative to the store.
pub(crate) fn unfinished_layer_tree(id: LayerId) -> PathBuf {
    Path::new("layers").join(format!(".new-{}", id.0))
}

/// The layer's short link, relative to the store.
pub(crate) fn layer_link(id: LayerId) -> PathBuf {
    Path::new("l").join(id.0.to_string())
}

/// The directory of a layer's files, relative to the store.
fn layer_directory(id: LayerId) -> PathBuf {
    layer_tree(id).join("d")
}
