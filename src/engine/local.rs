//! Starting the engine inside this process, and stopping it with its last client.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use contree_sandbox::{Check, State};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::state::Engine;
use super::{EngineError, LocalConfig, STOPPED, recover, routes};
use crate::{Backend, Client, Error};

/// How long running operations may take to end when the engine is stopped.
const STOP: Duration = Duration::from_secs(10);

/// Longest path of a unix socket on Linux (unix(7)), less its NUL.
const SOCKET_PATH: usize = 107;

/// The socket's directories begin so; what is left of ended processes is known by it.
const SOCKET_DIRECTORY: &str = "contree-engine-";

impl Client {
    /// Starts the embedded engine in this process and connects to it.
    ///
    /// The engine runs on a thread and a runtime of its own, so the caller's runtime may be of any kind. Operations that
    /// still run when the last clone of the client is dropped become CANCELLED.
    ///
    /// # Errors
    /// [`Error::Engine`] if the data directory cannot be used. A machine that cannot make sandboxes is no error here:
    /// listing, tagging and uploading work, and the first run says what is missing.
    pub async fn local(config: LocalConfig) -> Result<Self, Error> {
        let (engine, ready) = EngineThread::start(config);
        let engine = Arc::new(engine);
        let identity = ready
            .await
            .unwrap_or(Err(EngineError::Thread))
            .map_err(|error| Error::Engine(error.to_string()))?;
        let backend = Backend::new(&format!("unix:{}", identity.socket.display()))?
            .with_identity(identity.store);
        Ok(Self::connect(backend)?.with_guard(engine))
    }
}

/// Probes this machine for what sandboxes need, by really making one in the data directory.
#[must_use]
pub fn diagnose(config: &LocalConfig) -> Vec<Check> {
    let mut checks = contree_sandbox::diagnose(&config.data_dir, &config.store_options());
    let (state, detail) = match super::state::check_records(&config.data_dir) {
        Ok(()) => (State::Fine, "can be read and written".to_owned()),
        Err(error) => (State::Missing, error.to_string()),
    };
    checks.push(Check::new("records", state, detail, None));
    checks
}

/// Where a started engine listens, and which store it serves.
struct Ready {
    socket: PathBuf,
    store: String,
}

/// The engine's thread; dropping it stops the engine and waits for it.
struct EngineThread {
    stop: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EngineThread {
    fn start(config: LocalConfig) -> (Self, oneshot::Receiver<Result<Ready, EngineError>>) {
        let stop = CancellationToken::new();
        let (tell, ready) = oneshot::channel();
        let stopping = stop.clone();
        let thread = std::thread::Builder::new()
            .name("contree-engine".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .thread_name("contree-engine")
                    .enable_all()
                    .build();
                match runtime {
                    Ok(runtime) => {
                        runtime.block_on(serve(config, stopping, tell));
                        runtime.shutdown_timeout(Duration::from_secs(1));
                    }
                    Err(source) => {
                        let path = PathBuf::from("/proc/self");
                        let _ = tell.send(Err(EngineError::Io {
                            action: "cannot start the runtime of",
                            path,
                            source,
                        }));
                    }
                }
            });
        (
            Self {
                stop,
                thread: Mutex::new(thread.ok()),
            },
            ready,
        )
    }
}

impl Drop for EngineThread {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            let _ = thread.join();
        }
    }
}

async fn serve(
    config: LocalConfig,
    stop: CancellationToken,
    tell: oneshot::Sender<Result<Ready, EngineError>>,
) {
    let (engine, socket, listener) = match open(&config) {
        Ok(opened) => opened,
        Err(error) => {
            let _ = tell.send(Err(error));
            return;
        }
    };
    let ready = Ready {
        socket: socket.path(),
        store: engine.identity.clone(),
    };
    if tell.send(Ok(ready)).is_err() {
        return;
    }
    let tidying = Arc::clone(&engine);
    // Not waited for when the engine is stopped: what it does not get to, the next start does.
    tokio::task::spawn_blocking(move || {
        if let Err(error) = recover::recover(&tidying) {
            tracing::warn!(
                error = error.message(),
                "cannot bring the data directory in order"
            );
        }
    });
    engine.tasks.spawn(recover::look_after(Arc::clone(&engine)));
    let closed = CancellationToken::new();
    let closing = closed.clone();
    let router = routes::router(Arc::clone(&engine));
    let mut server = tokio::spawn(async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(closing.cancelled_owned())
            .await
    });
    tokio::select! {
        () = stop.cancelled() => {}
        ended = &mut server => tracing::error!(?ended, "the engine's server ended by itself"),
    }
    engine.stopping.cancel();
    engine.cancel_all(STOPPED);
    engine.tasks.close();
    if tokio::time::timeout(STOP, engine.tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("operations did not end in time; the next start clears them away");
    }
    recover::sync_at_end(Arc::clone(&engine)).await;
    engine.views.close();
    // Streams of events have seen their completion by now; connections that stay idle are not waited for.
    closed.cancel();
    let _ = tokio::time::timeout(Duration::from_millis(200), server).await;
    drop(socket);
}

fn open(config: &LocalConfig) -> Result<(Arc<Engine>, SocketDirectory, UnixListener), EngineError> {
    contree_sandbox::raise_descriptor_limit();
    let engine = Arc::new(Engine::open(config)?);
    let parent = config.socket_parent();
    let failed = |source| EngineError::Io {
        action: "cannot listen in",
        path: parent.clone(),
        source,
    };
    let socket = SocketDirectory::make(&parent).map_err(failed)?;
    let listener = UnixListener::bind(socket.path()).map_err(failed)?;
    Ok((engine, socket, listener))
}

/// A directory for one engine's socket, which only its user can enter. A lock tells that its engine lives.
struct SocketDirectory {
    directory: tempfile::TempDir,
    _lock: File,
}

impl SocketDirectory {
    fn make(parent: &Path) -> std::io::Result<Self> {
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

    fn path(&self) -> PathBuf {
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
