//! Starting the engine inside this process, and stopping it with its last client.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use contree_sandbox::{Check, CheckState};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::config::LocalConfig;
use crate::error::EngineError;
use crate::serve::service::Service;

/// Probes this machine for what sandboxes need, by really making one in the data directory.
#[must_use]
pub fn diagnose(config: &LocalConfig) -> Vec<Check> {
    let mut checks = contree_sandbox::diagnose(&config.data_dir, &config.store_options());
    let (state, detail) = match crate::data_directory::check_records(&config.data_dir) {
        Ok(()) => (CheckState::Fine, "can be read and written".to_owned()),
        Err(error) => (CheckState::Missing, error.to_string()),
    };
    checks.push(Check::new("records", state, detail, None));
    checks.push(crate::egress::check(config.egress_settings()));
    checks
}

/// Where a started engine listens, and which store it serves.
struct Ready {
    socket: PathBuf,
    store: String,
}

/// An engine on a thread and a runtime of its own, so the caller's runtime may be of any kind.
///
/// Dropping it stops the engine and waits for it. Operations that still run become CANCELLED.
#[derive(Debug)]
pub struct LocalEngine {
    socket: PathBuf,
    store: String,
    _thread: EngineThread,
}

impl LocalEngine {
    /// Starts an engine and waits until it listens.
    ///
    /// # Errors
    /// If the data directory cannot be used. A machine that cannot make sandboxes is no error here: listing, tagging and
    /// uploading work, and the first run says what is missing.
    pub async fn start(config: LocalConfig) -> Result<Self, EngineError> {
        let (thread, ready) = EngineThread::start(config);
        let Ready { socket, store } = ready.await.unwrap_or(Err(EngineError::Thread))?;
        Ok(Self {
            socket,
            store,
            _thread: thread,
        })
    }

    /// The unix socket on which the engine serves the API.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The identity of the data directory's store, which stays when the socket moves.
    #[must_use]
    pub fn store(&self) -> &str {
        &self.store
    }
}

/// The engine's thread.
#[derive(Debug)]
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
    let service = match Service::start(&config) {
        Ok(service) => service,
        Err(error) => {
            let _ = tell.send(Err(error));
            return;
        }
    };
    let ready = Ready {
        socket: service.socket(),
        store: service.engine().identity.clone(),
    };
    if tell.send(Ok(ready)).is_ok() {
        stop.cancelled().await;
    }
    service.stop().await;
}
