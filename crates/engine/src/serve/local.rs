//! Starting the engine inside this process. Dropping its handle stops it.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use contree_sandbox::{Check, CheckState, LayerStore};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::config::LocalConfig;
use crate::data_directory;
use crate::error::EngineError;
use crate::serve::disk_space;
use crate::serve::service::Service;
use crate::unrecorded_layers;

/// Checks whether this machine meets the requirements of sandboxes, by starting one in the data
/// directory.
#[must_use]
pub fn diagnose(config: &LocalConfig) -> Vec<Check> {
    let mut checks = contree_sandbox::diagnose(&config.data_dir, &config.store_options());
    let counted = count_unrecorded_layers(config);
    let counted = counted.map_err(|error| error.while_opening(&config.data_dir));
    let (state, detail, remedy) = match counted {
        Ok(0) => (CheckState::Fine, "can be read and written".to_owned(), None),
        Ok(count) => (
            CheckState::Degraded,
            unrecorded_layers::describe(count),
            Some("run `contree-mcp engine check`".to_owned()),
        ),
        Err(error) => (CheckState::Missing, error.to_string(), None),
    };
    checks.push(Check::new("records", state, detail, remedy));
    checks.push(disk_space::check(&config.data_dir));
    checks.extend(crate::egress::checks(config.egress_settings()));
    checks
}

/// Checks the records, and counts the layers without one.
fn count_unrecorded_layers(config: &LocalConfig) -> Result<usize, EngineError> {
    let Some(rows) = data_directory::check_records(&config.data_dir)? else {
        return Ok(0);
    };
    let store = LayerStore::open(&config.data_dir, config.store_options())?;
    let (unrecorded, _) = unrecorded_layers::find(&store, &rows)?;
    Ok(unrecorded.len())
}

/// The paths of a started engine's socket, and the identity of its store.
struct StartedEngine {
    socket: PathBuf,
    own_socket: PathBuf,
    store: String,
}

/// The end of an engine's start: the started engine, or the reason of the failure.
type Starting = oneshot::Receiver<Result<StartedEngine, EngineError>>;

/// The number of engines of this process that have not stopped.
static RUNNING: Mutex<usize> = Mutex::new(0);
static STOPPED: Condvar = Condvar::new();

/// An engine that has not stopped.
struct RunningEngine(());

impl RunningEngine {
    fn new() -> Self {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(())
    }
}

impl Drop for RunningEngine {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        STOPPED.notify_all();
    }
}

/// Waits until the engines of this process, whose handles other threads drop, have stopped, or
/// until a time has passed. Blocks.
#[doc(hidden)]
pub fn wait_for_stopped(limit: Duration) {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    // After the time, the next engine on the data directory removes what this one leaves.
    let waited = STOPPED.wait_timeout_while(running, limit, |running| *running > 0);
    drop(waited);
}

/// An engine on its own thread with its own runtime, so the caller may use any runtime.
///
/// Dropping it stops the engine and waits until it has stopped. Running operations become
/// CANCELLED.
#[derive(Debug)]
pub struct LocalEngine {
    socket: PathBuf,
    own_socket: PathBuf,
    store: String,
    _thread: EngineThread,
}

impl LocalEngine {
    /// Starts an engine and waits until it listens.
    ///
    /// # Errors
    /// Fails if the data directory cannot be used. A machine that cannot start sandboxes is not an
    /// error here: listing, tagging and uploading work, and the first run reports the reason.
    pub async fn start(config: LocalConfig) -> Result<Self, EngineError> {
        let (thread, started) = EngineThread::start(Builder::new(), config)?;
        let StartedEngine {
            socket,
            own_socket,
            store,
        } = started.await.unwrap_or(Err(EngineError::Thread))?;
        Ok(Self {
            socket,
            own_socket,
            store,
            _thread: thread,
        })
    }

    /// The unix socket on which the engine serves the API.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The same socket, by a path that is valid in this process while the engine runs.
    ///
    /// Only this user can answer there, even if others can write to the directory that has the
    /// socket's directory.
    #[must_use]
    pub fn own_socket(&self) -> &Path {
        &self.own_socket
    }

    /// The identity of the data directory's store. It stays the same when the socket changes.
    #[must_use]
    pub fn store(&self) -> &str {
        &self.store
    }
}

/// The thread of an engine. Dropping it stops the thread.
#[derive(Debug)]
struct EngineThread {
    stop: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EngineThread {
    fn start(builder: Builder, config: LocalConfig) -> Result<(Self, Starting), EngineError> {
        let stop = CancellationToken::new();
        let (sender, started) = oneshot::channel();
        let stopping = stop.clone();
        let counted = RunningEngine::new();
        let thread = builder
            .name("contree-engine".to_owned())
            .spawn(move || {
                let _counted = counted;
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .thread_name("contree-engine")
                    .enable_all()
                    .build();
                match runtime {
                    Ok(runtime) => {
                        contree_tasks::block_on(&runtime, serve(config, stopping, sender));
                        runtime.shutdown_timeout(Duration::from_secs(1));
                    }
                    Err(source) => {
                        let _ = sender.send(Err(EngineError::Start(source)));
                    }
                }
            })
            .map_err(EngineError::Start)?;
        let thread = Self {
            stop,
            thread: Mutex::new(Some(thread)),
        };
        Ok((thread, started))
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

/// Serves an engine until `stop`. Sends its socket, or the error of starting it, to `sender`.
async fn serve(
    config: LocalConfig,
    stop: CancellationToken,
    sender: oneshot::Sender<Result<StartedEngine, EngineError>>,
) {
    let service = match Service::start(&config) {
        Ok(service) => service,
        Err(error) => {
            let _ = sender.send(Err(error));
            return;
        }
    };
    let started = StartedEngine {
        socket: service.socket(),
        own_socket: service.own_socket(),
        store: service.engine().identity.clone(),
    };
    if sender.send(Ok(started)).is_ok() {
        stop.cancelled().await;
    }
    service.stop().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_cannot_be_started_is_reported_with_its_cause() {
        // No machine has as much memory.
        let builder = Builder::new().stack_size(1 << 60);
        match EngineThread::start(builder, LocalConfig::new("/nowhere")) {
            Err(error @ EngineError::Start(_)) => {
                assert!(error.to_string().contains("cannot start the threads"));
            }
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("the thread was started"),
        }
    }
}
