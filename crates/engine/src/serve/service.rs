//! A running engine: its private socket, its background tasks, and stopping it cleanly.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::routes;
use crate::config::LocalConfig;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::image::squash;
use crate::operation::maintenance::{maintain, retry_cleanup, sync_at_end, sync_records};
use crate::operation::recover::{self, Recovery};
use crate::operation::running::STOPPED;
use crate::serve::bounds::private_bounds;
use crate::serve::socket::SocketDirectory;
use crate::upkeep;
use contree_http::connections::{self, Shutdown};

/// Longest time that running operations may take to end when the engine stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time that connections may take to end after that.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// A running engine.
pub(crate) struct Service {
    engine: Arc<Engine>,
    socket: SocketDirectory,
    server: JoinHandle<()>,
    /// Cancelled when connections are to end.
    closing: CancellationToken,
}

impl Service {
    /// Opens the data directory and listens on a private socket. Must be called on the runtime that
    /// serves it.
    pub(crate) fn start(config: &LocalConfig) -> Result<Self, EngineError> {
        if config.raise_descriptor_limit {
            contree_sandbox::raise_descriptor_limit();
        }
        let engine = Arc::new(Engine::open(config)?);
        let parent = config.socket_parent();
        let failed = |source| EngineError::Io {
            action: "cannot listen in",
            path: parent.clone(),
            source,
        };
        let socket = SocketDirectory::create(&parent).map_err(failed)?;
        let listener = socket.listen().map_err(failed)?;
        engine.set_socket(&socket.path());
        let recovering = Arc::clone(&engine);
        // Stopping the engine does not wait for this: the next start does the rest.
        drop(contree_tasks::blocking(move || {
            let recovery = recover::recover(&recovering).unwrap_or_else(|error| {
                tracing::warn!(
                    %error,
                    "cannot clean up the data directory after killed engines"
                );
                Recovery::Incomplete
            });
            if recovery != Recovery::Complete {
                recovering.cleanup.notify_one();
            }
        }));
        engine.tasks.spawn(maintain(Arc::clone(&engine)).boxed());
        engine
            .tasks
            .spawn(sync_records(Arc::clone(&engine)).boxed());
        engine
            .tasks
            .spawn(retry_cleanup(Arc::clone(&engine)).boxed());
        engine
            .tasks
            .spawn(squash::run_queue(Arc::clone(&engine)).boxed());
        engine
            .tasks
            .spawn(upkeep::apply_retention(Arc::clone(&engine)).boxed());
        let closing = CancellationToken::new();
        let router = routes::router(Arc::clone(&engine));
        let shutdown = Shutdown {
            stop: closing.clone(),
            answered: closing.clone(),
            ..Shutdown::default()
        };
        let server = contree_tasks::spawn(connections::serve(
            listener,
            router,
            private_bounds(),
            shutdown,
        ));
        Ok(Self {
            engine,
            socket,
            server,
            closing,
        })
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The path of its private socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.path()
    }

    /// The path of its private socket that is valid in this process alone; see
    /// [`SocketDirectory::own_path`].
    pub(crate) fn own_socket(&self) -> PathBuf {
        self.socket.own_path()
    }

    /// The signal for other servers of this engine to end their connections. It comes after the
    /// operations have ended.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// Cancels running operations, waits for their end, syncs commits and closes connections.
    pub(crate) async fn stop(self) {
        let Self {
            engine,
            socket,
            server,
            closing,
        } = self;
        engine.stopping.cancel();
        engine.cancel_all(STOPPED);
        engine.tasks.close();
        match wait_for_tasks(&engine, STOP_TIMEOUT).await {
            TasksEnd::Ended => {}
            TasksEnd::CleaningUp => {
                tracing::info!("files of ended operations are left; the next start removes them");
            }
            TasksEnd::Running => tracing::warn!(
                "operations did not end in time; the next start cleans up after them"
            ),
        }
        sync_at_end(Arc::clone(&engine)).await;
        engine.views.close();
        // Event streams have sent their completion event by now. Idle connections need no waiting.
        closing.cancel();
        let abort = server.abort_handle();
        if tokio::time::timeout(CLOSE_TIMEOUT, server).await.is_err() {
            abort.abort();
        }
        drop(socket);
    }
}

/// The state of an engine's tasks after waiting for their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TasksEnd {
    Ended,
    /// All operations have ended, and only clean-up was left.
    CleaningUp,
    /// An operation has not ended.
    Running,
}

/// Waits for the tasks of an engine that stops.
async fn wait_for_tasks(engine: &Engine, longest: Duration) -> TasksEnd {
    let ended = tokio::time::timeout(longest, engine.tasks.wait()).await;
    match ended {
        Ok(()) => TasksEnd::Ended,
        Err(_) if engine.is_busy() => TasksEnd::Running,
        Err(_) => TasksEnd::CleaningUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::events::EventLog;
    use crate::operation::running::RunningOperation;

    #[tokio::test]
    async fn clean_up_that_takes_long_is_not_taken_for_a_running_operation() {
        let data = tempfile::tempdir().unwrap();
        let engine = Engine::open(&LocalConfig::new(data.path())).unwrap();
        engine.tasks.close();
        let wait = || wait_for_tasks(&engine, Duration::ZERO);
        assert_eq!(wait().await, TasksEnd::Ended);
        // The operation is over, and its directory is still being removed.
        let removal = engine.tasks.token();
        assert_eq!(wait().await, TasksEnd::CleaningUp);
        let operation = uuid::Uuid::new_v4();
        let log = EventLog::create(&engine.log_path(operation)).unwrap();
        let running = Arc::new(RunningOperation::new(log, false));
        engine.running.lock().unwrap().insert(operation, running);
        assert_eq!(wait().await, TasksEnd::Running);
        drop(removal);
    }
}
