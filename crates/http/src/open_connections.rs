//! The open connections of a server, and making room for new ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, Id, JoinSet};

use crate::client_progress::ClientClock;

/// How long a connection waits for its permit while idle connections are asked to close.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a client may keep the server waiting while others wait for a connection. It loses its
/// connection after that.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the server looks for stalled clients while it has no free connection.
const STALL_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// The open connections. Each has a permit.
pub(crate) struct OpenConnections {
    permits: Arc<Semaphore>,
    /// Asks idle connections to close.
    pub(crate) close_idle: watch::Sender<()>,
    pub(crate) tasks: JoinSet<()>,
    clients: HashMap<Id, (Arc<ClientClock>, AbortHandle)>,
}

impl OpenConnections {
    pub(crate) fn new(max_connections: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max_connections)),
            close_idle: watch::Sender::new(()),
            tasks: JoinSet::new(),
            clients: HashMap::new(),
        }
    }

    /// Waits for the end of a connection. `None` if there is none.
    pub(crate) async fn next_end(&mut self) -> Option<()> {
        let id = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        self.clients.remove(&id);
        Some(())
    }

    /// Returns a permit, for which idle and stalled connections are closed if none is free. `None`
    /// if every client is busy.
    pub(crate) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(permit);
        }
        self.close_idle.send_replace(());
        let closing = async {
            loop {
                let permit = Arc::clone(&self.permits).acquire_owned();
                if let Ok(permit) = tokio::time::timeout(STALL_CHECK_INTERVAL, permit).await {
                    return permit.ok();
                }
                self.close_stalled();
            }
        };
        tokio::time::timeout(PERMIT_TIMEOUT, closing)
            .await
            .ok()
            .flatten()
    }

    /// Closes the connections whose clients have kept the server waiting for [`STALL_TIMEOUT`].
    fn close_stalled(&self) {
        let stalled = self.clients.values().filter(|(clock, _)| {
            clock
                .stalled_for()
                .is_some_and(|stalled| stalled >= STALL_TIMEOUT)
        });
        let mut closed = 0;
        for (_, connection) in stalled {
            connection.abort();
            closed += 1;
        }
        if closed > 0 {
            tracing::debug!(closed, "closed stalled connections, since others wait");
        }
    }

    pub(crate) fn spawn(
        &mut self,
        clock: Arc<ClientClock>,
        serving: impl Future<Output = ()> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(serving);
        self.clients.insert(handle.id(), (clock, handle));
    }
}
