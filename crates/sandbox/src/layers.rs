//! The layer store, as callers use it.
//!
//! It joins the directory on disk with the helpers that change files for which this process lacks
//! the rights.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BlockingRetryable as _, ExponentialBuilder};

use crate::cgroup::group::remove_leftovers;
use crate::error::Error;
use crate::host_root::{self, HostError, HostReport};
use crate::ids::IdMap;
use crate::launch::classify::explain;
use crate::launch::handshake::{InitProcess, pick_map};
use crate::options::StoreOptions;
use crate::os::error::CallContext;
use crate::os::free_space::FileSystemSpace;
use crate::protocol::boot::{Boot, SquashBoot};
use crate::protocol::reply::Reply;
use crate::protocol::spec::LayerId;
use crate::protocol::wire::WireError;
use crate::store::error::StoreError;
use crate::store::layers::{layer_link, layer_tree, unfinished_layer_tree};
use crate::store::layout::StoreLayout;
use crate::store::runs::{RunDir, RunHolder};

/// The most layers of a chain. The kernel's limit for an overlay is 500.
const MAX_LAYERS: usize = 480;
/// The first pause before programs are copied again that changed meanwhile. The next ones are
/// twice as long each.
const PAUSE_AFTER_CHANGES: Duration = Duration::from_millis(100);
/// How often programs that change are copied again.
const MAX_COPIES_AFTER_CHANGES: usize = 5;
/// The time-out of helpers whose work grows with the number of files in the layers.
const LONG_TIMEOUT: Duration = Duration::from_secs(1800);

/// A directory with the layers of images. Clones share the same store.
#[derive(Debug, Clone)]
pub struct LayerStore {
    layout: Arc<StoreLayout>,
}

impl LayerStore {
    /// Opens the store in `root` and creates it if it does not exist.
    ///
    /// The id map is recorded when the first run or layer is made, and does not change afterwards.
    ///
    /// # Errors
    /// When the directory cannot be made or belongs to another user. A machine that cannot run
    /// sandboxes does not cause an error here.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self, Error> {
        let layout = StoreLayout::open(root, options, pick_map)?;
        Ok(Self {
            layout: Arc::new(layout),
        })
    }

    /// The store's directory on disk.
    pub(crate) fn layout(&self) -> &StoreLayout {
        &self.layout
    }

    /// The directory, absolute and without symlinks.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// The ids of this machine to which ids inside sandboxes are mapped.
    pub fn id_map(&self) -> &IdMap {
        self.layout.id_map()
    }

    /// The bytes that may still be written to the store's file system. Sandboxes and imports leave
    /// some space free for other programs.
    ///
    /// # Errors
    /// When the file system does not answer.
    pub fn spare_bytes(&self) -> Result<u64, Error> {
        let space = FileSystemSpace::read(self.layout.directory())
            .context_path("read the free space of", self.root())?;
        Ok(space.bytes().above_floor())
    }

    /// Flushes everything that was committed to the disk (syncfs).
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<(), Error> {
        Ok(self.layout.sync()?)
    }

    /// Returns true if the layer exists.
    pub fn layer_exists(&self, id: LayerId) -> bool {
        self.layout.layer_exists(id)
    }

    /// Removes a layer if it exists. The caller ensures that no image still needs it.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove_layer(&self, id: LayerId) -> Result<(), Error> {
        self.layout.unlink_layer(id)?;
        let retired = self.layout.retire_layer(id);
        self.remove_tree(&retired)?;
        // An earlier removal of this layer may have been interrupted.
        self.remove_tree(&layer_tree(id))
    }

    /// Removes the remains of layers whose removal was interrupted.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove_retired_layers(&self) -> Result<(), Error> {
        for tree in self.layout.retired_layers()? {
            self.remove_tree(&tree)?;
        }
        Ok(())
    }

    /// The ids of all layers on disk, in ascending order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn layer_ids(&self) -> Result<Vec<LayerId>, Error> {
        Ok(self.layout.layer_ids()?)
    }

    /// Appends a line to the description of the layer that a run will commit.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn describe_run(&self, run: &RunDir, line: &[u8]) -> Result<(), Error> {
        let layer = StoreLayout::unfinished_layer(run);
        Ok(self.layout.describe(&layer, line)?)
    }

    /// Appends a line to the description of a layer. Commands never see it.
    ///
    /// # Errors
    /// When the layer does not exist, or the file system refuses.
    pub fn describe_layer(&self, id: LayerId, line: &[u8]) -> Result<(), Error> {
        Ok(self.layout.describe(&layer_tree(id), line)?)
    }

    /// The description of a layer. `None` if it has none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn layer_description(&self, id: LayerId) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.layout.description(id)?)
    }

    /// Copies this machine's own programs into a new layer. It needs no namespace. The caller
    /// allows one call at a time.
    ///
    /// # Errors
    /// When the layer already exists, or the programs cannot be copied. [`HostError::Changed`] if
    /// they change for several seconds.
    pub fn stage_host_layer(&self, id: LayerId) -> Result<HostReport, Error> {
        self.layout.record_map()?;
        if self.layout.is_taken(id) {
            return Err(StoreError::LayerExists(id).into());
        }
        let unfinished = unfinished_layer_tree(id);
        let pauses = ExponentialBuilder::default()
            .with_min_delay(PAUSE_AFTER_CHANGES)
            .with_max_times(MAX_COPIES_AFTER_CHANGES);
        let filled = again_if_changed(pauses, || {
            // An earlier attempt, or a process that was interrupted, may have left an unfinished
            // layer.
            self.remove_tree(&unfinished)?;
            self.layout.make_fast_directory(&unfinished)?;
            self.fill_host_layer(&unfinished)
        });
        let report = match filled {
            Ok(report) => report,
            Err(error) => {
                let _ = self.remove_tree(&unfinished);
                return Err(error);
            }
        };
        if let Err(error) = self.layout.rename_to_layer(&unfinished, id) {
            let _ = self.remove_tree(&unfinished);
            return Err(error.into());
        }
        Ok(report)
    }

    fn fill_host_layer(&self, unfinished: &Path) -> Result<HostReport, Error> {
        let root = self.layout.make_layer_root(unfinished)?;
        let owner = self
            .id_map()
            .files_have_other_owner()
            .then(|| self.id_map().root_owner());
        Ok(host_root::build(&root, owner)?)
    }

    /// Makes `run/<name>` and locks it.
    ///
    /// # Errors
    /// When the name is invalid or in use, or the file system refuses.
    pub fn create_run(&self, name: &str) -> Result<RunDir, Error> {
        Ok(self.layout.create_run(name)?)
    }

    /// The names of all run directories, including those of other processes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn runs(&self) -> Result<Vec<String>, Error> {
        Ok(self.layout.runs()?)
    }

    /// Returns the holder of the run directory's lock. Nobody holds that of a missing directory.
    ///
    /// # Errors
    /// When the lock cannot be read.
    pub fn run_holder(&self, name: &str) -> Result<Option<RunHolder>, Error> {
        Ok(self.layout.run_holder(name)?)
    }

    /// Returns true if a process (this one or another) holds the run directory's lock. A missing
    /// directory is not live.
    ///
    /// # Errors
    /// When the lock cannot be read.
    pub fn run_is_live(&self, name: &str) -> Result<bool, Error> {
        Ok(self.run_holder(name)?.is_some())
    }

    /// Removes a run directory and everything in it, if it exists.
    ///
    /// # Errors
    /// When another process holds the run directory, or the file system refuses.
    pub fn remove_run(&self, name: &str) -> Result<(), Error> {
        let claim = self.layout.claim_run(name)?;
        for tree in claim.trees() {
            self.remove_tree(&tree)?;
        }
        Ok(())
    }

    /// Removes everything in a run directory except its lock, which this process holds.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn empty_run(&self, run: &RunDir) -> Result<(), Error> {
        for tree in StoreLayout::content(run) {
            self.remove_tree(&tree)?;
        }
        Ok(())
    }

    /// Turns the upper directory of a finished sandbox into a layer.
    ///
    /// # Errors
    /// When the layer already exists, or the file system refuses.
    pub fn commit(&self, run: &RunDir, id: LayerId) -> Result<(), Error> {
        Ok(self.layout.commit(run, id)?)
    }

    /// Merges several layers (topmost first) into the unfinished layer of a run directory.
    /// [`LayerStore::commit`] then turns it into a layer.
    ///
    /// `below` lists the layers below them, topmost first. On top of `below`, the new layer shows
    /// the same files as the merged ones. Files are shared by hard links, so only directories take
    /// space. The link count of a file is the only visible difference.
    ///
    /// # Errors
    /// When the helper cannot be started, or the file system refuses. The caller then removes the
    /// run directory; nothing else has changed.
    pub fn squash(&self, run: &RunDir, layers: &[LayerId], below: &[LayerId]) -> Result<(), Error> {
        let boot = Boot::Squash(SquashBoot {
            layers: self.lowers(layers)?,
            below: match below {
                [] => Vec::new(),
                below => self.lowers(below)?,
            },
            target: self.new_layer(run)?,
        });
        self.run_helper(&boot, "make one layer of several")
    }

    /// Starts a helper and waits until it has done its work. `action` names the work in errors.
    fn run_helper(&self, boot: &Boot, action: &'static str) -> Result<(), Error> {
        let init = InitProcess::start(&self.layout, boot)?;
        match init.receive(Instant::now() + LONG_TIMEOUT) {
            Ok((Reply::Squashed | Reply::Removed, _)) => Ok(()),
            Ok((Reply::Failed(failure), _)) => Err(explain(&self.layout, failure)),
            Err(WireError::TimedOut) => Err(Error::TimedOut(action)),
            _ => Err(Error::Gone),
        }
    }

    /// Removes control groups that a killed engine left: those of this store's runs, and probe
    /// groups.
    pub fn remove_leftover_groups(&self) {
        remove_leftovers(self.root(), |run| {
            matches!(self.run_is_live(run), Ok(false))
        });
    }

    /// The lower directories of a chain, as their short links in the store.
    pub(crate) fn lowers(&self, layers: &[LayerId]) -> Result<Vec<PathBuf>, Error> {
        if layers.is_empty() {
            return Err(Error::Invalid(
                "an image without layers cannot be mounted".into(),
            ));
        }
        if layers.len() > MAX_LAYERS {
            return Err(Error::Invalid(format!(
                "the image has {} layers, and the kernel mounts no more than {MAX_LAYERS}: squash it, or start again from an earlier image",
                layers.len()
            )));
        }
        self.links(layers)
    }

    /// The short links of layers, without a limit on their number: nothing is mounted.
    pub(crate) fn links(&self, layers: &[LayerId]) -> Result<Vec<PathBuf>, Error> {
        for &layer in layers {
            self.check_layer(layer)?;
        }
        Ok(layers.iter().map(|&layer| layer_link(layer)).collect())
    }

    fn check_layer(&self, layer: LayerId) -> Result<(), Error> {
        if self.layer_exists(layer) {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "layer {} of the image is missing in {}",
            layer.0,
            self.root().display()
        )))
    }

    /// Replaces the unfinished layer of a run directory with an empty one. Returns the new
    /// directory, relative to the store.
    pub(crate) fn new_layer(&self, run: &RunDir) -> Result<PathBuf, Error> {
        let layer = StoreLayout::unfinished_layer(run);
        self.remove_tree(&layer)?;
        self.layout.make_layer(run)?;
        Ok(layer.join("d"))
    }

    /// Removes a tree below the store. If this process lacks the rights, a helper in the user
    /// namespace does it.
    fn remove_tree(&self, relative: &Path) -> Result<(), Error> {
        match self.layout.remove_tree(relative) {
            Err(error)
                if error.io().kind() == io::ErrorKind::PermissionDenied
                    && self.id_map().exceeds_engine_rights() =>
            {
                let paths = vec![relative.to_owned()];
                self.run_helper(&Boot::Remove { paths }, "remove files")?;
                // Only this process's own directories around the tree are left.
                Ok(self.layout.remove_tree(relative)?)
            }
            other => Ok(other?),
        }
    }
}

/// Copies programs again if the machine has replaced some meanwhile. An upgrade does that for
/// seconds, and Python replaces compiled files when it first runs.
fn again_if_changed<T>(
    pauses: ExponentialBuilder,
    copy: impl FnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    copy.retry(pauses)
        .sleep(std::thread::sleep)
        .when(|error| matches!(error, Error::Host(HostError::Changed { .. })))
        .call()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;
    use std::time::Duration;

    use backon::ExponentialBuilder;

    use super::again_if_changed;
    use crate::{Error, HostError};

    fn without_pauses() -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_min_delay(Duration::ZERO)
            .with_max_times(3)
    }

    fn changed() -> Error {
        let path = PathBuf::from("/usr/bin/changed");
        HostError::Changed { path }.into()
    }

    #[test]
    fn programs_that_change_are_copied_again() {
        let mut attempts = 0;
        let copied = again_if_changed(without_pauses(), || {
            attempts += 1;
            if attempts < 3 {
                Err(changed())
            } else {
                Ok(attempts)
            }
        });
        assert_eq!(copied.ok(), Some(3));
    }

    #[test]
    fn other_errors_are_final_and_changes_without_end_are_reported() {
        let mut attempts = 0;
        let failed = again_if_changed(without_pauses(), || -> Result<(), Error> {
            attempts += 1;
            Err(HostError::Io {
                action: "read",
                path: PathBuf::from("/usr"),
                source: io::ErrorKind::PermissionDenied.into(),
            }
            .into())
        });
        assert!(failed.is_err() && attempts == 1);
        attempts = 0;
        let failed = again_if_changed(without_pauses(), || -> Result<(), Error> {
            attempts += 1;
            Err(changed())
        });
        assert_eq!(attempts, 4);
        let message = failed.map_err(|error| error.to_string());
        assert!(message.is_err_and(|message| message.contains("/usr/bin/changed changed")));
    }
}
