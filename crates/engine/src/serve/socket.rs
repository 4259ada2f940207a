//! The private socket of an engine: in a directory of its own, which only its user can enter.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Longest path of a unix socket on Linux (unix(7)), less its NUL.
const SOCKET_PATH: usize = 107;

/// The socket's directories begin so; what is left of ended processes is known by it.
const SOCKET_DIRECTORY: &str = "contree-engine-";

/// A directory for one engine's socket, which only its user can enter. A lock tells that its engine lives.
pub(crate) struct SocketDirectory {
    directory: tempfile::TempDir,
    _lock: File,
}

impl SocketDirectory {
    /// Makes one below `parent`, and removes what killed engines left there.
    pub(crate) fn make(parent: &Path) -> std::io::Result<Self> {
        // The directory's random part is 6 bytes, the socket's name 2.
        let long = parent.as_os_str().len() + 1 + SOCKET_DIRECTORY.len() + 8 > SOCKET_PATH;
        let parent = if long { Path::new("/tmp") } else { parent };
        let directory = tempfile::Builder::new()
            .prefix(SOCKET_DIRECTORY)
            .tempdir_in(parent)?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))?;
        sweep(parent, fs::metadata(directory.path())?.uid());
        // The lock gets its name once it is held, so that no sweep finds it free.
        let unnamed = directory.path().join("new");
        let lock = File::create_new(&unnamed)?;
        lock.lock()?;
        fs::rename(unnamed, directory.path().join("lock"))?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    /// Listens in it.
    pub(crate) fn listen(&self) -> std::io::Result<UnixListener> {
        UnixListener::bind(self.path())
    }

    /// Where the socket is.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("s")
    }
}

/// Removes the directories that killed engines of this user left. What others may have put there is not touched: a
/// directory counts only if `user` owns it and nobody else may enter it.
fn sweep(parent: &Path, user: u32) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let named = entry
            .file_name()
            .to_string_lossy()
            .starts_with(SOCKET_DIRECTORY);
        let ours = |about: fs::Metadata| {
            about.is_dir() && about.uid() == user && about.mode() & 0o077 == 0
        };
        if !named || !fs::symlink_metadata(entry.path()).is_ok_and(ours) {
            continue;
        }
        // Without a lock it is not ours to judge.
        if let Ok(lock) = File::open(entry.path().join("lock"))
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_directories_of_ended_engines_are_swept() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let live = SocketDirectory::make(parent.path()).expect("make");
        let ended = SocketDirectory::make(parent.path()).expect("make");
        let left = ended.directory.keep();
        drop(ended._lock);
        let user = fs::metadata(parent.path()).expect("metadata").uid();
        sweep(parent.path(), user);
        assert!(live.directory.path().exists());
        assert!(!left.exists());
    }

    #[test]
    fn a_long_parent_is_not_used() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let long = parent.path().join("x".repeat(100));
        fs::create_dir(&long).expect("make");
        let made = SocketDirectory::make(&long).expect("make");
        assert!(made.path().as_os_str().len() <= SOCKET_PATH);
    }
}
