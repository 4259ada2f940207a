//! Run directories: the files of one sandbox while it lives.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::StoreError;
use super::layout::{StoreLayout, make_directory};
use crate::os::error::{CallContext, OsError};
use crate::protocol::spec::LayerId;

/// A run directory that this process has locked. Dropping the value releases the lock.
#[derive(Debug)]
pub struct RunDir {
    name: String,
    path: PathBuf,
    held_runs: Arc<Mutex<HashSet<String>>>,
    _lock: File,
}

impl RunDir {
    /// The name in the store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        self.held_runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.name);
    }
}

/// A run directory that this process may remove. Dropping the value releases the lock.
pub(crate) struct RunClaim {
    directory: PathBuf,
    _lock: Option<File>,
}

impl RunClaim {
    /// The trees to remove, in this order. Paths are relative to the store.
    pub(crate) fn trees(&self) -> [PathBuf; 4] {
        let inner = |name| self.directory.join(name);
        [inner("w"), inner("L"), inner("m"), self.directory.clone()]
    }
}

/// The holder of the lock of a run directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunHolder {
    /// The store that was asked.
    ThisStore,
    /// Another process, or another store of this process. A process that has just been started may
    /// also hold the locks of the one that started it, until it executes its program.
    Another,
}

/// The result of trying to take the lock of a run directory.
enum RunLock {
    Taken(File),
    /// The run directory or its lock file does not exist.
    Missing,
    /// A process holds the lock.
    Held,
}

impl StoreLayout {
    /// Makes `run/<name>` and locks it.
    ///
    /// # Errors
    /// When the name is invalid or in use, or the file system refuses.
    pub(crate) fn create_run(&self, name: &str) -> Result<RunDir, StoreError> {
        check_name(name)?;
        self.record_map()?;
        let directory = Path::new("run").join(name);
        let path = self.path(&directory);
        let lock = {
            // The store's lock keeps another process from removing the directory before it is
            // locked.
            let _store = self.lock()?;
            make_directory(&path, 0o711)?;
            lock_new_run(&path).inspect_err(|_| {
                // Without a lock, no other process knows whether the directory is in use.
                let _ = self.remove_tree(&directory);
            })?
        };
        self.held_runs().insert(name.to_owned());
        let run = RunDir {
            name: name.to_owned(),
            path,
            held_runs: self.held_runs.clone(),
            _lock: lock,
        };
        match self.fill_run(&run) {
            Ok(()) => Ok(run),
            Err(error) => {
                // A full disk must not fill up with directories of runs that never began.
                let _ = self.remove_tree(&directory);
                Err(error.into())
            }
        }
    }

    /// Makes the directories of a new run.
    fn fill_run(&self, run: &RunDir) -> Result<(), OsError> {
        self.make_layer(run)?;
        for (inner, mode) in [("w", 0o700), ("m", 0o755)] {
            let path = run.path.join(inner);
            make_directory(&path, mode)?;
            self.chown_to_inner_root(&path)?;
        }
        Ok(())
    }

    /// Makes an empty unfinished layer.
    pub(crate) fn make_layer(&self, run: &RunDir) -> Result<(), OsError> {
        make_directory(&run.path.join("L"), 0o711)?;
        self.make_layer_root(&Self::unfinished_layer(run)).map(drop)
    }

    /// The directories in a run directory, relative to the store.
    pub(crate) fn content(run: &RunDir) -> [PathBuf; 3] {
        ["w", "L", "m"].map(|inner| Path::new("run").join(&run.name).join(inner))
    }

    /// The unfinished layer of a run directory, relative to the store.
    pub(crate) fn unfinished_layer(run: &RunDir) -> PathBuf {
        Path::new("run").join(&run.name).join("L")
    }

    /// The names of all run directories, including those of other processes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn runs(&self) -> Result<Vec<String>, StoreError> {
        let path = self.path("run");
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).context_path("list", &path)? {
            if let Ok(name) = entry.context_path("list", &path)?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Returns the holder of the run directory's lock. Nobody holds that of a missing directory.
    ///
    /// # Errors
    /// When the lock cannot be read.
    pub(crate) fn run_holder(&self, name: &str) -> Result<Option<RunHolder>, StoreError> {
        check_name(name)?;
        if self.held_runs().contains(name) {
            return Ok(Some(RunHolder::ThisStore));
        }
        let _store = self.lock()?;
        let held = matches!(self.try_lock(name)?, RunLock::Held);
        Ok(held.then_some(RunHolder::Another))
    }

    /// Takes the lock of a run directory that is to be removed. A missing directory, and one that
    /// this process holds, need no lock.
    ///
    /// # Errors
    /// When another process holds the lock.
    pub(crate) fn claim_run(&self, name: &str) -> Result<RunClaim, StoreError> {
        check_name(name)?;
        let lock = if self.held_runs().contains(name) {
            None
        } else {
            let _store = self.lock()?;
            match self.try_lock(name)? {
                RunLock::Taken(lock) => Some(lock),
                RunLock::Missing => None,
                RunLock::Held => return Err(StoreError::Busy(name.to_owned())),
            }
        };
        Ok(RunClaim {
            directory: Path::new("run").join(name),
            _lock: lock,
        })
    }

    /// Turns the upper directory of a finished sandbox into a layer.
    ///
    /// # Errors
    /// When the layer already exists, or the file system refuses.
    pub(crate) fn commit(&self, run: &RunDir, id: LayerId) -> Result<(), StoreError> {
        if self.is_taken(id) {
            return Err(StoreError::LayerExists(id));
        }
        Ok(self.rename_to_layer(&Self::unfinished_layer(run), id)?)
    }

    /// Tries to take the lock of a run directory.
    fn try_lock(&self, name: &str) -> Result<RunLock, OsError> {
        let path = self.path("run").join(name).join("lock");
        let lock = match OpenOptions::new().write(true).open(&path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(RunLock::Missing),
            Err(error) => return Err(OsError::new(format!("open {}", path.display()), error)),
        };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(RunLock::Taken(lock)),
            Err(Errno::WOULDBLOCK) => Ok(RunLock::Held),
            Err(error) => Err(OsError::new(format!("lock {}", path.display()), error)),
        }
    }

    fn held_runs(&self) -> MutexGuard<'_, HashSet<String>> {
        self.held_runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes and takes the lock of a new run directory.
fn lock_new_run(path: &Path) -> Result<File, OsError> {
    let lock = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path.join("lock"))
        .context_path("make the lock of", path)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).context_path("lock", path)?;
    Ok(lock)
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.bytes().all(is_allowed)
    {
        return Err(StoreError::Name(name.to_owned()));
    }
    Ok(())
}
