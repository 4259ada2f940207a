//! The directory of a store: its owner, its lock and the ids of its files.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::fs::{CWD, IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, openat};

use super::error::StoreError;
use crate::ids::{IdMap, record};
use crate::options::StoreOptions;
use crate::os::error::{CallContext, OsError};
use crate::os::file_lock::{LOCK_TIMEOUT, lock_exclusively};
use crate::os::tree;

/// The directory of descriptions of the machine.
pub(super) const MACHINE_VIEWS: &str = "sys";

/// The directory of a store.
#[derive(Debug)]
pub(crate) struct StoreLayout {
    root: PathBuf,
    directory: OwnedFd,
    map: IdMap,
    recorded: OnceLock<()>,
    /// The names of the run directories that this process has locked.
    pub(super) held_runs: Arc<Mutex<HashSet<String>>>,
    options: StoreOptions,
    /// True once the file system has been seen to support upper directories.
    upper_probed: AtomicBool,
    /// The directory with the description of the machine, once it was made or could not be made.
    pub(super) machine_view: OnceLock<PathBuf>,
}

impl StoreLayout {
    /// Opens the store in `root` and creates it if it does not exist. `pick_map` chooses the id map
    /// of the store's directory if none is recorded.
    ///
    /// # Errors
    /// When the directory cannot be made or belongs to another user. A machine that cannot run
    /// sandboxes does not cause an error here.
    pub(crate) fn open(
        root: &Path,
        options: StoreOptions,
        pick_map: impl FnOnce(&StoreOptions, &Path) -> Result<IdMap, StoreError>,
    ) -> Result<Self, StoreError> {
        let create_with_mode = |path: &Path, mode| DirBuilder::new().mode(mode).create(path);
        if let Some(parent) = root.parent() {
            fs::create_dir_all(parent).context_path("make the directory", parent)?;
        }
        match create_with_mode(root, 0o700) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(
                    OsError::new(format!("make the directory {}", root.display()), error).into(),
                );
            }
            _ => {}
        }
        let root = fs::canonicalize(root).context_path("find", root)?;
        let owner = fs::metadata(&root).context_path("inspect", &root)?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return Err(foreign_store(root, owner, &options));
        }
        let standard = ["layers", "l", "run", MACHINE_VIEWS].into_iter();
        for name in standard.chain(options.directories.iter().map(String::as_str)) {
            let path = root.join(name);
            match create_with_mode(&path, 0o711) {
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
                        .context_path("set the permissions of", &path)?;
                    if name == "layers" {
                        set_topdir_flag(&path);
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
        .context_path("open", &root)?;
        let recorded = read_map(&root, &options)?;
        let is_recorded = recorded.is_some();
        let map = match recorded {
            Some(map) => {
                // The store's own map decides, and the record only serves other stores. So an
                // unusable record does not stop this store; `diagnose` reports it.
                let _ = record::register(&options.id_record, &root, &map);
                map
            }
            None => pick_map(&options, &root)?,
        };
        if map.engine() != owner {
            return Err(foreign_store(root, map.engine(), &options));
        }
        let layout = Self {
            root,
            directory,
            map,
            recorded: OnceLock::new(),
            held_runs: Arc::default(),
            options,
            upper_probed: AtomicBool::new(false),
            machine_view: OnceLock::new(),
        };
        if is_recorded {
            let _ = layout.recorded.set(());
        }
        Ok(layout)
    }

    /// The directory, absolute and without symlinks.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The ids of this machine to which ids inside sandboxes are mapped.
    pub(crate) fn id_map(&self) -> &IdMap {
        &self.map
    }

    /// Flushes everything that was committed to the disk (syncfs).
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        Ok(rustix::fs::syncfs(&self.directory)
            .context_path("write to disk the file system of", self.root())?)
    }

    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(super) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    pub(crate) fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// True if overlays are mounted with mount(2) even on newer kernels.
    pub(crate) fn old_mount(&self) -> bool {
        self.options.old_mount
    }

    /// True once the file system has been seen to support upper directories.
    pub(crate) fn is_upper_probed(&self) -> bool {
        self.upper_probed.load(Ordering::Relaxed)
    }

    /// Records that the file system supports upper directories.
    pub(crate) fn set_upper_probed(&self) {
        self.upper_probed.store(true, Ordering::Relaxed);
    }

    /// Takes the lock that guards short changes to the store's own structure. Fails if another
    /// process holds it for [`LOCK_TIMEOUT`], for instance because a signal has stopped it.
    pub(super) fn lock(&self) -> Result<File, OsError> {
        let path = self.path("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .context_path("open", &path)?;
        lock_exclusively(&file, &path, LOCK_TIMEOUT)?;
        Ok(file)
    }

    /// Records the id map when the store is first used.
    pub(crate) fn record_map(&self) -> Result<(), StoreError> {
        if self.recorded.get().is_some() {
            return Ok(());
        }
        let _lock = self.lock()?;
        match read_map(self.root(), &self.options)? {
            Some(map) if map == self.map => {}
            Some(_) => {
                return Err(StoreError::Raced {
                    path: self.root().to_owned(),
                });
            }
            None => {
                if self.map.files_have_other_owner() {
                    // The inner root must be able to search the store, but no other user of this
                    // machine.
                    let (_, gid) = self.map.root_owner();
                    let root = self.root();
                    std::os::unix::fs::chown(root, None, Some(gid))
                        .context_path("change the group of", root)?;
                    fs::set_permissions(root, PermissionsExt::from_mode(0o710))
                        .context_path("set the permissions of", root)?;
                }
                let (path, temporary) = (self.path("idmap"), self.path("idmap.new"));
                let text = serde_json::to_string(&self.map)
                    .map_err(io::Error::from)
                    .context_path("encode", &path)?;
                // A power loss must not leave an empty file: nothing could be run then.
                File::create(&temporary)
                    .and_then(|mut file| {
                        file.write_all((text + "\n").as_bytes())?;
                        file.sync_all()
                    })
                    .context_path("write", &temporary)?;
                fs::rename(&temporary, &path).context_path("write", &path)?;
                // Not all file systems sync directories.
                let _ = File::open(self.root()).and_then(|directory| directory.sync_all());
            }
        }
        let _ = self.recorded.set(());
        Ok(())
    }

    /// Gives a new directory to the inner root.
    pub(super) fn chown_to_inner_root(&self, path: &Path) -> Result<(), OsError> {
        if self.map.files_have_other_owner() {
            let (uid, gid) = self.map.root_owner();
            std::os::unix::fs::lchown(path, Some(uid), Some(gid))
                .context_path("change the owner of", path)?;
        }
        Ok(())
    }

    /// Removes a tree below the store. This process may lack the rights for parts of it: see
    /// [`IdMap::exceeds_engine_rights`].
    pub(crate) fn remove_tree(&self, relative: &Path) -> Result<(), OsError> {
        let name = CString::new(relative.as_os_str().as_encoded_bytes())
            .map_err(io::Error::from)
            .context_path("remove", relative)?;
        tree::remove(self.directory(), &name).context_path("remove", self.path(relative))
    }
}

fn foreign_store(path: PathBuf, owner: u32, options: &StoreOptions) -> StoreError {
    StoreError::Foreign {
        path,
        owner,
        remedy: format!(
            "run as that user, or {} another directory",
            options.choose_directory()
        ),
    }
}

/// Marks the subdirectories as unrelated to each other (FS_TOPDIR_FL). ext4 then puts them into
/// different block groups. Other file systems do not support the flag and do not need it.
fn set_topdir_flag(directory: &Path) {
    if let Ok(directory) = File::open(directory)
        && let Ok(flags) = ioctl_getflags(&directory)
    {
        let _ = ioctl_setflags(&directory, flags | IFlags::TOPDIR);
    }
}

pub(super) fn make_directory(path: &Path, mode: u32) -> Result<(), OsError> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .context_path("make the directory", path)?;
    fs::set_permissions(path, PermissionsExt::from_mode(mode))
        .context_path("set the permissions of", path)
}

/// Reads the id map that a store has recorded, if any.
pub(crate) fn read_map(root: &Path, options: &StoreOptions) -> Result<Option<IdMap>, StoreError> {
    let path = root.join("idmap");
    match fs::read(&path) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(map) => Ok(Some(map)),
            Err(error) => Err(StoreError::Damaged {
                path,
                reason: error.to_string(),
                remedy: format!(
                    "restore it, or {} a new directory",
                    options.choose_directory()
                ),
            }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OsError::new(format!("read {}", path.display()), error).into()),
    }
}
