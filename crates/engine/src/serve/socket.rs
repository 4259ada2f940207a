//! The private socket of an engine, in a directory that only its user can enter.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Longest path of a unix socket on Linux, without its final NUL (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// The name prefix of socket directories. Directories of ended processes are found by it.
const DIRECTORY_PREFIX: &str = "contree-engine-";

/// The directory of one engine's socket, which only its user can enter. The engine locks a file in
/// it while it is alive.
pub(crate) struct SocketDirectory {
    directory: tempfile::TempDir,
    _lock: File,
}

impl SocketDirectory {
    /// Creates a directory below `parent`, and removes the directories of killed engines there. If
    /// the path would be too long for a socket, it uses `/tmp`.
    pub(crate) fn create(parent: &Path) -> std::io::Result<Self> {
        // The random part of the directory's name has 6 bytes, the socket's `/s` has 2.
        let long = parent.as_os_str().len() + 1 + DIRECTORY_PREFIX.len() + 8 > MAX_SOCKET_PATH;
        let parent = if long { Path::new("/tmp") } else { parent };
        let directory = tempfile::Builder::new()
            .prefix(DIRECTORY_PREFIX)
            .tempdir_in(parent)?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))?;
        remove_abandoned(parent, fs::metadata(directory.path())?.uid());
        // The file gets its name after it is locked, so that no other engine finds it unlocked.
        let unnamed = directory.path().join("new");
        let lock = File::create_new(&unnamed)?;
        lock.lock()?;
        fs::rename(unnamed, directory.path().join("lock"))?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    /// Listens on the socket.
    pub(crate) fn listen(&self) -> std::io::Result<UnixListener> {
        UnixListener::bind(self.path())
    }

    /// The path of the socket.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("s")
    }
}

/// Removes the socket directories of this user's killed engines.
///
/// Other users may put directories there, so only those are removed that `user` owns and that
/// nobody else can enter.
fn remove_abandoned(parent: &Path, user: u32) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let has_prefix = entry
            .file_name()
            .to_string_lossy()
            .starts_with(DIRECTORY_PREFIX);
        let ours = |metadata: fs::Metadata| {
            metadata.is_dir() && metadata.uid() == user && metadata.mode() & 0o077 == 0
        };
        if !has_prefix || !fs::symlink_metadata(entry.path()).is_ok_and(ours) {
            continue;
        }
        // A directory without a lock file may belong to an engine that is just starting.
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
    fn only_the_directories_of_ended_engines_are_removed() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let live = SocketDirectory::create(parent.path()).expect("create");
        let ended = SocketDirectory::create(parent.path()).expect("create");
        let abandoned = ended.directory.keep();
        drop(ended._lock);
        let user = fs::metadata(parent.path()).expect("metadata").uid();
        remove_abandoned(parent.path(), user);
        assert!(live.directory.path().exists());
        assert!(!abandoned.exists());
    }

    #[test]
    fn a_long_parent_is_not_used() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let long = parent.path().join("x".repeat(100));
        fs::create_dir(&long).expect("create");
        let directory = SocketDirectory::create(&long).expect("create");
        assert!(directory.path().as_os_str().len() <= MAX_SOCKET_PATH);
    }
}
