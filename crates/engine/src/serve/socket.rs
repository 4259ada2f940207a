//! The private socket of an engine, in a directory that only its user can enter.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::net::UnixListener;

/// Longest path of a unix socket on Linux, without its final NUL (unix(7)).
pub(super) const MAX_SOCKET_PATH: usize = 107;

/// The name prefix of socket directories. Directories of ended processes are found by it.
const DIRECTORY_PREFIX: &str = "contree-engine-";

/// The age from which on a directory without a lock file is abandoned. A starting process makes the
/// file at once.
const MAX_START: Duration = Duration::from_secs(24 * 3600);

/// The directory of one engine's socket, which only its user can enter. The engine locks a file in
/// it while it is alive.
pub(crate) struct SocketDirectory {
    directory: tempfile::TempDir,
    /// The open directory. Nobody can exchange it for another one.
    opened: File,
    _lock: File,
}

impl SocketDirectory {
    /// Creates a directory below `parent`, and removes the directories of killed engines there. If
    /// the path would be too long for a socket, it uses `/tmp`.
    pub(crate) fn create(parent: &Path) -> io::Result<Self> {
        // The random part of the directory's name has 6 bytes, the socket's `/s` has 2.
        let long = parent.as_os_str().len() + 1 + DIRECTORY_PREFIX.len() + 8 > MAX_SOCKET_PATH;
        let parent = if long { Path::new("/tmp") } else { parent };
        Self::create_in(parent, DIRECTORY_PREFIX)
    }

    /// Creates a directory below `parent` whose name begins with `prefix`. It removes those of
    /// killed processes first.
    pub(super) fn create_in(parent: &Path, prefix: &str) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)?;
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed())
            .open(directory.path())?;
        let metadata = opened.metadata()?;
        let user = rustix::process::geteuid().as_raw();
        // If others can write to the parent, the name may belong to another directory by now.
        if metadata.uid() != user || metadata.mode() & 0o077 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "another user replaced the directory of the socket; set TMPDIR to a directory that only you can write to",
            ));
        }
        remove_abandoned(parent, prefix, user);
        // The file gets its name after it is locked, so that no other engine finds it unlocked.
        let own = own_path(&opened);
        let unnamed = own.join("new");
        let lock = File::create_new(&unnamed)?;
        lock.lock()?;
        fs::rename(unnamed, own.join("lock"))?;
        Ok(Self {
            directory,
            opened,
            _lock: lock,
        })
    }

    /// Listens on the socket.
    pub(crate) fn listen(&self) -> io::Result<UnixListener> {
        UnixListener::bind(self.own_path())
    }

    /// The path of the socket.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    /// The path of the socket through the open directory. It is valid in this process alone.
    ///
    /// It leads to a socket of this user, whoever may exchange the directory for another one.
    pub(crate) fn own_path(&self) -> PathBuf {
        own_path(&self.opened).join("s")
    }
}

fn own_path(directory: &File) -> PathBuf {
    format!("/proc/self/fd/{}", directory.as_raw_fd()).into()
}

/// Removes the socket directories of this user's killed processes.
///
/// Other users may put directories there, so only those are removed that `user` owns and that
/// nobody else can enter.
fn remove_abandoned(parent: &Path, prefix: &str, user: u32) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else {
            continue;
        };
        if !metadata.is_dir() || metadata.uid() != user || metadata.mode() & 0o077 != 0 {
            continue;
        }
        let is_abandoned = match File::open(entry.path().join("lock")) {
            Ok(lock) => lock.try_lock().is_ok(),
            // It may belong to a process that is just starting.
            Err(error) if error.kind() == io::ErrorKind::NotFound => metadata
                .modified()
                .is_ok_and(|made| made.elapsed().is_ok_and(|age| age > MAX_START)),
            Err(_) => false,
        };
        if is_abandoned {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener as StdListener, UnixStream};
    use std::time::SystemTime;

    use rustix::fs::inotify;

    use super::*;

    #[test]
    fn only_the_directories_of_ended_engines_are_removed() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let live = SocketDirectory::create(parent.path()).expect("create");
        let ended = SocketDirectory::create(parent.path()).expect("create");
        let abandoned = ended.directory.keep();
        drop(ended._lock);
        // Neither of these has a lock file.
        let starting = private_directory(parent.path(), "starting");
        let killed = private_directory(parent.path(), "killed");
        let long_ago = SystemTime::now() - MAX_START * 2;
        let opened = File::open(&killed).expect("open");
        opened.set_modified(long_ago).expect("set the time");
        let user = fs::metadata(parent.path()).expect("metadata").uid();
        remove_abandoned(parent.path(), DIRECTORY_PREFIX, user);
        assert!(live.directory.path().exists() && starting.exists());
        assert!(!abandoned.exists() && !killed.exists());
    }

    fn private_directory(parent: &Path, name: &str) -> PathBuf {
        let path = parent.join(format!("{DIRECTORY_PREFIX}{name}"));
        fs::create_dir(&path).expect("create");
        fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("set the mode");
        path
    }

    #[test]
    fn a_long_parent_is_not_used() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let long = parent.path().join("x".repeat(100));
        fs::create_dir(&long).expect("create");
        let directory = SocketDirectory::create(&long).expect("create");
        assert!(directory.path().as_os_str().len() <= MAX_SOCKET_PATH);
    }

    /// A directory that is private only after a second step could be entered before it.
    #[test]
    fn the_directory_is_private_from_the_start() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).expect("inotify");
        let events = inotify::WatchFlags::CREATE | inotify::WatchFlags::ATTRIB;
        inotify::add_watch(&watch, parent.path(), events).expect("watch");
        let directory = SocketDirectory::create(parent.path()).expect("create");
        let name = directory.directory.path().file_name().expect("a name");
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&watch, &mut buffer);
        let mut seen = Vec::new();
        while let Ok(event) = reader.next() {
            let of_directory = event
                .file_name()
                .is_some_and(|found| found.to_bytes() == name.as_encoded_bytes());
            if of_directory {
                seen.push(event.events());
            }
        }
        assert_eq!(
            seen,
            [inotify::ReadFlags::CREATE | inotify::ReadFlags::ISDIR],
            "the mode must not change after the creation"
        );
        let mode = fs::metadata(directory.directory.path())
            .expect("metadata")
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    /// If others can write to the parent, they can put a directory of theirs in its place.
    #[tokio::test]
    async fn an_exchanged_directory_gets_no_connections() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let directory = SocketDirectory::create(parent.path()).expect("create");
        let listener = directory.listen().expect("listen");
        let name = directory.directory.path();
        fs::rename(name, parent.path().join("elsewhere")).expect("rename");
        fs::create_dir(name).expect("create");
        let impostor = StdListener::bind(name.join("s")).expect("listen");
        impostor.set_nonblocking(true).expect("set non-blocking");
        let _client = UnixStream::connect(directory.own_path()).expect("connect");
        listener.accept().await.expect("a connection");
        assert_eq!(
            impostor.accept().expect_err("no connection").kind(),
            io::ErrorKind::WouldBlock
        );
    }
}
