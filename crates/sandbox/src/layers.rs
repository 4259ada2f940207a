//! A store of layers, as callers hold it.
//!
//! It joins what is on disk with the helpers that change it where this process has no rights.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cgroup::group::remove_leftovers;
use crate::error::Error;
use crate::host_root::{self, HostReport};
use crate::ids::IdMap;
use crate::launch::classify::explain;
use crate::launch::handshake::{InitProcess, pick_map, remove_inside};
use crate::options::StoreOptions;
use crate::protocol::boot::{Boot, SquashBoot};
use crate::protocol::reply::Reply;
use crate::protocol::spec::LayerId;
use crate::protocol::wire::WireError;
use crate::store::error::StoreError;
use crate::store::layers::{layer_link, layer_tree, unfinished_layer_tree};
use crate::store::layout::StoreLayout;
use crate::store::runs::RunDir;

/// An overlay cannot have more than 500.
const MOST_LAYERS: usize = 480;
/// For making one layer of several. It grows with the number of names in the layers.
const SQUASHED: Duration = Duration::from_secs(1800);

/// A directory with the layers of images. Clones share it.
#[derive(Debug, Clone)]
pub struct LayerStore {
    layout: Arc<StoreLayout>,
}

impl LayerStore {
    /// Opens the store in `root`, or makes one there.
    ///
    /// What the sandboxes' ids stand for is recorded with the first run or layer and kept from then on.
    ///
    /// # Errors
    /// When the directory cannot be made or belongs to another user. A machine that cannot run sandboxes is not an error here.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self, Error> {
        let layout = StoreLayout::open(root, options, pick_map)?;
        Ok(Self {
            layout: Arc::new(layout),
        })
    }

    /// The part of the store that is on disk.
    pub(crate) fn layout(&self) -> &StoreLayout {
        &self.layout
    }

    /// The directory, absolute and without symlinks.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// What the ids inside sandboxes stand for.
    pub fn id_map(&self) -> &IdMap {
        self.layout.id_map()
    }

    /// Writes everything that was committed to disk (syncfs).
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<(), Error> {
        Ok(self.layout.sync()?)
    }

    /// Whether the layer is there.
    pub fn layer_exists(&self, id: LayerId) -> bool {
        self.layout.layer_exists(id)
    }

    /// Removes a layer. One that is missing is fine; whether an image still needs it is the caller's affair.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove_layer(&self, id: LayerId) -> Result<(), Error> {
        self.layout.unlink_layer(id)?;
        self.remove_tree(&layer_tree(id))
    }

    /// Copies this machine's own programs into a new layer. Needs no namespace. One call at a time: the caller holds a lock.
    ///
    /// # Errors
    /// When there is such a layer already, or it cannot be copied.
    pub fn stage_host_layer(&self, id: LayerId) -> Result<HostReport, Error> {
        self.layout.record_map()?;
        if self.layout.is_taken(id) {
            return Err(StoreError::LayerExists(id).into());
        }
        let unfinished = unfinished_layer_tree(id);
        // What a process left that did not come to the end.
        self.remove_tree(&unfinished)?;
        self.layout.make_where_files_are_made_fast(&unfinished)?;
        let report = match self.fill_host_layer(&unfinished) {
            Ok(report) => report,
            Err(error) => {
                let _ = self.remove_tree(&unfinished);
                return Err(error);
            }
        };
        self.layout.keep(&unfinished, id)?;
        Ok(report)
    }

    fn fill_host_layer(&self, unfinished: &Path) -> Result<HostReport, Error> {
        let root = self.layout.make_layer_root(unfinished)?;
        let owner = self
            .id_map()
            .foreign_owner()
            .then(|| self.id_map().root_owner());
        Ok(host_root::build(&root, owner)?)
    }

    /// Makes `run/<name>` and locks it.
    ///
    /// # Errors
    /// When the name is not fit for a directory or is taken, or the disk refuses.
    pub fn create_run(&self, name: &str) -> Result<RunDir, Error> {
        Ok(self.layout.create_run(name)?)
    }

    /// The names of all run directories, whoever made them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn runs(&self) -> Result<Vec<String>, Error> {
        Ok(self.layout.runs()?)
    }

    /// Whether a process (this one or another) holds the run directory. One that does not exist is not live.
    ///
    /// # Errors
    /// When its lock cannot be looked at.
    pub fn run_is_live(&self, name: &str) -> Result<bool, Error> {
        Ok(self.layout.run_is_live(name)?)
    }

    /// Removes a run directory and all in it. One that is missing is fine.
    ///
    /// # Errors
    /// When another process holds it, or the disk refuses.
    pub fn remove_run(&self, name: &str) -> Result<(), Error> {
        let claim = self.layout.claim_run(name)?;
        for tree in claim.trees() {
            self.remove_tree(&tree)?;
        }
        Ok(())
    }

    /// Turns what a finished sandbox has written into a layer.
    ///
    /// # Errors
    /// When there is such a layer already, or the disk refuses.
    pub fn commit(&self, run: &RunDir, id: LayerId) -> Result<(), Error> {
        Ok(self.layout.commit(run, id)?)
    }

    /// Makes one layer of several (topmost first) that lie on `below` (topmost first), as what the run directory is to become
    /// ([`LayerStore::commit`]). On `below` it shows what the several show. Contents are shared with them by further names, so that it
    /// costs directories alone; how many names a file has is the one thing that looks different.
    ///
    /// # Errors
    /// When the helper cannot be started, or the disk refuses. The run directory is then to be removed; nothing else has changed.
    pub fn squash(&self, run: &RunDir, layers: &[LayerId], below: &[LayerId]) -> Result<(), Error> {
        let boot = Boot::Squash(SquashBoot {
            layers: self.lowers(layers)?,
            below: match below {
                [] => Vec::new(),
                below => self.lowers(below)?,
            },
            target: self.new_layer(run)?,
        });
        let init = InitProcess::start(&self.layout, &boot)?;
        match init.receive(Instant::now() + SQUASHED) {
            Ok((Reply::Squashed, _)) => Ok(()),
            Ok((Reply::Failed(failure), _)) => Err(explain(&self.layout, failure)),
            Err(WireError::TimedOut) => Err(Error::TimedOut("make one layer of several")),
            _ => Err(Error::Gone),
        }
    }

    /// Removes control groups whose engine is gone: of this store's runs alone, and those that tried what can be had.
    pub fn remove_leftover_groups(&self) {
        remove_leftovers(self.root(), |run| {
            matches!(self.run_is_live(run), Ok(false))
        });
    }

    /// The lower directories of a chain, by their short names.
    pub(crate) fn lowers(&self, layers: &[LayerId]) -> Result<Vec<PathBuf>, Error> {
        if layers.is_empty() {
            return Err(Error::Invalid(
                "an image without layers cannot be mounted".into(),
            ));
        }
        if layers.len() > MOST_LAYERS {
            return Err(Error::Invalid(format!(
                "the image has {} layers, and the kernel mounts no more than {MOST_LAYERS}: squash it, or start again from an earlier image",
                layers.len()
            )));
        }
        for &layer in layers {
            if !self.layer_exists(layer) {
                return Err(Error::Invalid(format!(
                    "layer {} of the image is missing in {}",
                    layer.0,
                    self.root().display()
                )));
            }
        }
        Ok(layers.iter().map(|&layer| layer_link(layer)).collect())
    }

    /// An empty directory to become a layer, in the place of what the run directory holds; relative to the store.
    pub(crate) fn new_layer(&self, run: &RunDir) -> Result<PathBuf, Error> {
        let layer = StoreLayout::unfinished_layer(run);
        self.remove_tree(&layer)?;
        self.layout.make_layer(run)?;
        Ok(layer.join("d"))
    }

    /// Removes a tree below the store, through a helper in the user namespace where our own rights do not reach.
    fn remove_tree(&self, relative: &Path) -> Result<(), Error> {
        match self.layout.remove_tree(relative) {
            Err(error)
                if error.io().kind() == io::ErrorKind::PermissionDenied
                    && self.id_map().beyond_engine() =>
            {
                remove_inside(&self.layout, relative)?;
                // What is left are directories of our own around it.
                Ok(self.layout.remove_tree(relative)?)
            }
            other => Ok(other?),
        }
    }
}
