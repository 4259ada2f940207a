//! A running engine: its private socket, its background tasks, and stopping it cleanly.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::routes;
use crate::config::LocalConfig;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::image::squash;
use crate::operation::maintenance::{maintain, retry_cleanup, sync_at_end, sync_records};
use crate::operation::recover;
use crate::operation::running::STOPPED;
use crate::serve::socket::SocketDirectory;
use crate::upkeep;

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
        contree_sandbox::raise_descriptor_limit();
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
        tokio::task::spawn_blocking(move || {
            let complete = recover::recover(&recovering).unwrap_or_else(|error| {
                tracing::warn!(
                    %error,
                    "cannot clean up the data directory after killed engines"
                );
                false
            });
            if !complete {
                recovering.cleanup.notify_one();
            }
        });
        engine.tasks.spawn(maintain(Arc::clone(&engine)));
        engine.tasks.spawn(sync_records(Arc::clone(&engine)));
        engine.tasks.spawn(retry_cleanup(Arc::clone(&engine)));
        engine.tasks.spawn(squash::run_queue(Arc::clone(&engine)));
        engine
            .tasks
            .spawn(upkeep::apply_retention(Arc::clone(&engine)));
        let closing = CancellationToken::new();
        let router = routes::router(Arc::clone(&engine));
        let server = tokio::spawn({
            let closing = closing.clone();
            async move {
                let served = axum::serve(listener, router)
                    .with_graceful_shutdown(closing.cancelled_owned())
                    .await;
                if let Err(error) = served {
                    tracing::error!(%error, "the engine's server ended unexpectedly");
                }
            }
        });
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
        if tokio::time::timeout(STOP_TIMEOUT, engine.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("operations did not end in time; the next start cleans up after them");
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
