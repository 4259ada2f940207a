//! The layers of images on disk.
//!
//! `idmap` (which ids its files belong to), `lock`, `layers/<n>/d`, `l/<n>` (short names for old mount calls), `files/`, `events/` and
//! `run/<name>/{lock,L/d,w,m}`. A commit renames `L`, whose owner is the engine, so that what a command did to `/` cannot be in the way.

mod layers;
mod runs;
mod squash;

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};

use rustix::fs::{
    CWD, FlockOperation, IFlags, Mode, OFlags, flock, ioctl_getflags, ioctl_setflags, openat,
};

use crate::error::Error;
use crate::ids::IdMap;
use crate::os::error::{Doing, OsError};
use crate::protocol::spec::LayerId;

pub use runs::RunDir;

/// A failure of the layer store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another user's store.
    #[error(
        "the data directory {} belongs to the user with id {owner}: run as that user, or set CONTREE_DATA_DIR to another directory",
        path.display()
    )]
    Foreign {
        /// The store.
        path: PathBuf,
        /// Who made it.
        owner: u32,
    },
    /// The record of the store's ids cannot be read.
    #[error("{} is damaged ({reason}): restore it, or set CONTREE_DATA_DIR to a new directory", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process has made the store's record in the meantime, with other ids.
    #[error("another process has just set the data directory {} up for other ids: start again", path.display())]
    Raced {
        /// The store.
        path: PathBuf,
    },
    /// Not a name for a run directory.
    #[error(
        "`{0}` cannot name a run: letters, digits, `-`, `_` and `.` only, not starting with a dot"
    )]
    Name(String),
    /// Somebody is using it.
    #[error("the run directory {0} is in use by another process")]
    Busy(String),
    /// There already is one.
    #[error("layer {} exists already", .0.0)]
    LayerExists(LayerId),
    /// The kernel refused.
    #[error(transparent)]
    Os(#[from] OsError),
}

/// How to open a store.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct StoreOptions {
    /// The program to start as init. By default the running one; needed where this crate sits in a shared library, as in an
    /// extension module of an interpreter. It must link this crate.
    pub init_program: Option<PathBuf>,
    /// Mounts overlays the way that kernels before 6.7 need, for tests.
    #[doc(hidden)]
    pub old_mount: bool,
}

/// A directory with the layers of images. Clones share it.
#[derive(Debug, Clone)]
pub struct LayerStore {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    root: PathBuf,
    directory: OwnedFd,
    map: IdMap,
    recorded: OnceLock<()>,
    held: Mutex<HashSet<String>>,
    pub(crate) options: StoreOptions,
    /// Whether the writable layer's file system has been seen to take what an overlay needs.
    pub(crate) upper_probed: AtomicBool,
}

impl LayerStore {
    /// Opens the store in `root`, or makes one there.
    ///
    /// What the sandboxes' ids stand for is recorded with the first run or layer and kept from then on.
    ///
    /// # Errors
    /// When the directory cannot be made or belongs to another user. A machine that cannot run sandboxes is not an error here.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self, Error> {
        let private = |path: &Path, mode| DirBuilder::new().mode(mode).create(path);
        if let Some(parent) = root.parent() {
            fs::create_dir_all(parent).on("make the directory", parent)?;
        }
        match private(root, 0o700) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(
                    OsError::new(format!("make the directory {}", root.display()), error).into(),
                );
            }
            _ => {}
        }
        let root = fs::canonicalize(root).on("find", root)?;
        let owner = fs::metadata(&root).on("look at", &root)?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return Err(StoreError::Foreign { path: root, owner }.into());
        }
        for name in ["layers", "l", "files", "run", "events"] {
            let path = root.join(name);
            match private(&path, 0o711) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(OsError::new(
                        format!("make the directory {}", path.display()),
                        error,
                    )
                    .into());
                }
                // The umask may have taken bits away.
                Ok(()) => {
                    fs::set_permissions(&path, PermissionsExt::from_mode(0o711))
                        .on("set the permissions of", &path)?;
                    if name == "layers" {
                        spread(&path);
                    }
                }
                Err(_) => {}
            }
        }
        let directory = openat(
            CWD,
            &root,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .on("open", &root)?;
        let recorded = read_map(&root)?;
        let is_recorded = recorded.is_some();
        let map = match recorded {
            Some(map) => map,
            None => crate::launch::pick_map(&options),
        };
        if map.engine() != owner {
            return Err(StoreError::Foreign {
                path: root,
                owner: map.engine(),
            }
            .into());
        }
        let store = Self {
            inner: Arc::new(Inner {
                root,
                directory,
                map,
                recorded: OnceLock::new(),
                held: Mutex::default(),
                options,
                upper_probed: AtomicBool::new(false),
            }),
        };
        if is_recorded {
            let _ = store.inner.recorded.set(());
        }
        Ok(store)
    }

    /// The directory, absolute and without symlinks.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// What the ids inside sandboxes stand for.
    pub fn id_map(&self) -> &IdMap {
        &self.inner.map
    }

    /// Writes everything that was committed to disk (syncfs).
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<(), Error> {
        Ok(rustix::fs::syncfs(&self.inner.directory)
            .on("write to disk the file system of", self.root())?)
    }

    /// What a store that may or may not be there has recorded.
    pub(crate) fn recorded_map(root: &Path) -> Result<Option<IdMap>, Error> {
        read_map(root)
    }

    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.inner.directory.as_fd()
    }

    fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.inner.root.join(relative)
    }

    /// Whether overlays are mounted the old way, although the kernel knows the new one.
    pub(crate) fn old_mount(&self) -> bool {
        self.inner.options.old_mount
    }

    /// The lock that guards short changes to the store's own structure.
    fn lock(&self) -> Result<File, OsError> {
        let path = self.path("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .on("open", &path)?;
        flock(&file, FlockOperation::LockExclusive).on("lock", &path)?;
        Ok(file)
    }

    /// Records the map with the first use.
    fn record_map(&self) -> Result<(), Error> {
        if self.inner.recorded.get().is_some() {
            return Ok(());
        }
        let _lock = self.lock()?;
        match read_map(self.root())? {
            Some(map) if map == self.inner.map => {}
            Some(_) => {
                return Err(StoreError::Raced {
                    path: self.root().to_owned(),
                }
                .into());
            }
            None => {
                if self.inner.map.foreign_owner() {
                    // Root inside must be able to search the store, and nobody else on this machine.
                    let (_, gid) = self.inner.map.root_owner();
                    let root = self.root();
                    std::os::unix::fs::chown(root, None, Some(gid))
                        .on("change the group of", root)?;
                    fs::set_permissions(root, PermissionsExt::from_mode(0o710))
                        .on("set the permissions of", root)?;
                }
                let (path, temporary) = (self.path("idmap"), self.path("idmap.new"));
                let text = serde_json::to_string(&self.inner.map)
                    .map_err(io::Error::from)
                    .on("describe", &path)?;
                fs::write(&temporary, text + "\n").on("write", &temporary)?;
                fs::rename(&temporary, &path).on("write", &path)?;
            }
        }
        let _ = self.inner.recorded.set(());
        Ok(())
    }

    /// Gives a new directory to root inside.
    fn give_to_inner_root(&self, path: &Path) -> Result<(), OsError> {
        if self.inner.map.foreign_owner() {
            let (uid, gid) = self.inner.map.root_owner();
            std::os::unix::fs::lchown(path, Some(uid), Some(gid))
                .on("change the owner of", path)?;
        }
        Ok(())
    }

    /// Removes a tree below the store, through a helper in the user namespace where our own rights do not reach.
    fn remove_tree(&self, relative: &Path) -> Result<(), Error> {
        let name = std::ffi::CString::new(relative.as_os_str().as_encoded_bytes())
            .map_err(io::Error::from)
            .on("remove", relative)?;
        match crate::os::tree::remove(self.directory(), &name) {
            Ok(()) => Ok(()),
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && self.inner.map.beyond_engine() =>
            {
                crate::launch::remove_inside(self, relative)?;
                // What is left are directories of our own around it.
                Ok(crate::os::tree::remove(self.directory(), &name)
                    .on("remove", self.path(relative))?)
            }
            Err(error) => {
                Err(OsError::new(format!("remove {}", self.path(relative).display()), error).into())
            }
        }
    }
}

/// Tells the file system that what is in this directory has nothing to do with each other. ext4 then puts its directories into different
/// groups of blocks. Others know no such thing, and it is not needed.
fn spread(directory: &Path) {
    if let Ok(directory) = File::open(directory)
        && let Ok(flags) = ioctl_getflags(&directory)
    {
        let _ = ioctl_setflags(&directory, flags | IFlags::TOPDIR);
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<(), OsError> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .on("make the directory", path)?;
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).on("set the permissions of", path)
}

fn read_map(root: &Path) -> Result<Option<IdMap>, Error> {
    let path = root.join("idmap");
    match fs::read(&path) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(map) => Ok(Some(map)),
            Err(error) => Err(StoreError::Damaged {
                path,
                reason: error.to_string(),
            }
            .into()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OsError::new(format!("read {}", path.display()), error).into()),
    }
}
