//! An engine that is up: on its private socket, with what looks after it, until it is stopped in good order.

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
use crate::operation::recover;
use crate::operation::running::STOPPED;
use crate::serve::socket::SocketDirectory;
use crate::upkeep;

/// How long running operations may take to end when the engine is stopped.
const STOP: Duration = Duration::from_secs(10);

/// How long connections may take to end after that.
const CLOSE: Duration = Duration::from_millis(200);

/// An engine that is up.
pub(crate) struct Service {
    engine: Arc<Engine>,
    socket: SocketDirectory,
    server: JoinHandle<()>,
    /// Connections are to end.
    closing: CancellationToken,
}

impl Service {
    /// Opens the data directory and listens on a private socket. To be called on the runtime that serves it.
    pub(crate) fn start(config: &LocalConfig) -> Result<Self, EngineError> {
        contree_sandbox::raise_descriptor_limit();
        let engine = Arc::new(Engine::open(config)?);
        let parent = config.socket_parent();
        let failed = |source| EngineError::Io {
            action: "cannot listen in",
            path: parent.clone(),
            source,
        };
        let socket = SocketDirectory::make(&parent).map_err(failed)?;
        let listener = socket.listen().map_err(failed)?;
        engine.set_socket(&socket.path());
        let tidying = Arc::clone(&engine);
        // Not waited for when the engine is stopped: what it does not get to, the next start does.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = recover::recover(&tidying) {
                tracing::warn!(
                    %error,
                    "cannot bring the data directory in order"
                );
            }
        });
        engine.tasks.spawn(recover::look_after(Arc::clone(&engine)));
        engine.tasks.spawn(squash::run_queue(Arc::clone(&engine)));
        engine.tasks.spawn(upkeep::look_after(Arc::clone(&engine)));
        let closing = CancellationToken::new();
        let router = routes::router(Arc::clone(&engine));
        let server = tokio::spawn({
            let closing = closing.clone();
            async move {
                let served = axum::serve(listener, router)
                    .with_graceful_shutdown(closing.cancelled_owned())
                    .await;
                if let Err(error) = served {
                    tracing::error!(%error, "the engine's server ended by itself");
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

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.path()
    }

    /// Tells other servers of this engine that connections are to end, after its operations have.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// Cancels what runs, waits for it, makes what was committed safe and ends the connections.
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
        if tokio::time::timeout(STOP, engine.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("operations did not end in time; the next start clears them away");
        }
        recover::sync_at_end(Arc::clone(&engine)).await;
        engine.views.close();
        // Streams of events have seen their completion by now; connections that stay idle are not waited for.
        closing.cancel();
        let abort = server.abort_handle();
        if tokio::time::timeout(CLOSE, server).await.is_err() {
            abort.abort();
        }
        drop(socket);
    }
}
