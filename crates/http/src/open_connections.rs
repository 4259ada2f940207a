//! Tracks the open connections of a server, and makes room for new ones.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::client_progress::ClientClock;

/// How long a connection waits for its permit while idle connections are asked to close.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection stays open without a request while others wait for one. A client often
/// sends its next request at once, and cannot know whether a server that closes has received it.
const IDLE_GRACE: Duration = Duration::from_millis(500);
/// How long a client may keep the server waiting while others wait for a connection. It loses its
/// connection after that.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the server looks for stalled clients while it has no free connection.
const STALL_CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// The bits of an IPv6 address that tell peers apart. One peer often has all addresses of a /64
/// network.
const IPV6_PEER_MASK: u128 = !(u64::MAX as u128);

/// The other side of a connection, which gets only a share of all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A user of this machine, by user id, on a Unix socket.
    User(u32),
    /// An IPv4 address, or the network of an IPv6 address.
    Address(IpAddr),
}

impl Peer {
    /// The peer with an IP address.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & IPV6_PEER_MASK))
            }
            address => address,
        })
    }
}

/// The open connections. Each has a permit.
pub(crate) struct OpenConnections {
    permits: Arc<Semaphore>,
    max_per_peer: Option<usize>,
    pub(crate) tasks: JoinSet<()>,
    clients: HashMap<Id, Client>,
    /// Number of open connections of each peer.
    peers: HashMap<Peer, usize>,
}

/// The client of an open connection.
struct Client {
    peer: Option<Peer>,
    clock: Arc<ClientClock>,
    connection: AbortHandle,
    /// Closes the connection after its current response, or at once if it is idle.
    closing: CancellationToken,
}

impl OpenConnections {
    pub(crate) fn new(max_connections: usize, max_per_peer: Option<usize>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max_connections)),
            max_per_peer,
            tasks: JoinSet::new(),
            clients: HashMap::new(),
            peers: HashMap::new(),
        }
    }

    /// Waits for the end of a connection. `None` if there is none.
    pub(crate) async fn next_end(&mut self) -> Option<()> {
        let id = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        let peer = self.clients.remove(&id).and_then(|client| client.peer);
        if let Some(peer) = peer
            && let Some(count) = self.peers.get_mut(&peer)
        {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&peer);
            }
        }
        Some(())
    }

    /// Returns whether a peer has all the connections that it may have. Then its idle connections
    /// are asked to close, and its stalled ones are closed, so that it can connect again soon.
    pub(crate) fn is_at_limit(&self, peer: Option<Peer>) -> bool {
        let (Some(peer), Some(share)) = (peer, self.max_per_peer) else {
            return false;
        };
        if self.peers.get(&peer).is_none_or(|count| *count < share) {
            return false;
        }
        self.close_idle(Some(peer));
        self.close_stalled(Some(peer));
        true
    }

    /// Returns a permit. If no permit is free, closes idle and stalled connections. `None` if every
    /// client stays busy.
    pub(crate) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(permit);
        }
        let closing = async {
            loop {
                self.close_idle(None);
                let permit = Arc::clone(&self.permits).acquire_owned();
                if let Ok(permit) = tokio::time::timeout(STALL_CHECK_INTERVAL, permit).await {
                    return permit.ok();
                }
                self.close_stalled(None);
            }
        };
        tokio::time::timeout(PERMIT_TIMEOUT, closing)
            .await
            .ok()
            .flatten()
    }

    /// The clients of a peer, or all clients.
    fn clients_of(&self, peer: Option<Peer>) -> impl Iterator<Item = &Client> {
        let all = self.clients.values();
        all.filter(move |client| peer.is_none() || client.peer == peer)
    }

    /// Asks the connections of a peer, or all of them, to close after their current response, and
    /// the idle ones at once. Those that became idle within [`IDLE_GRACE`] stay open.
    fn close_idle(&self, peer: Option<Peer>) {
        for client in self.clients_of(peer) {
            let waited = client.clock.stalled_for();
            if waited.is_none_or(|waited| waited >= IDLE_GRACE) {
                client.closing.cancel();
            }
        }
    }

    /// Closes the connections whose clients have kept the server waiting for [`STALL_TIMEOUT`]:
    /// those of a peer, or all of them.
    fn close_stalled(&self, peer: Option<Peer>) {
        let stalled = self.clients_of(peer).filter(|client| {
            let stalled = client.clock.stalled_for();
            stalled.is_some_and(|stalled| stalled >= STALL_TIMEOUT)
        });
        let mut closed = 0;
        for client in stalled {
            client.connection.abort();
            closed += 1;
        }
        if closed > 0 {
            tracing::debug!(closed, "closed stalled connections, since others wait");
        }
    }

    /// Serves a client. `closing` closes its connection after its current response, or at once if
    /// it is idle.
    pub(crate) fn spawn(
        &mut self,
        peer: Option<Peer>,
        clock: Arc<ClientClock>,
        closing: CancellationToken,
        serving: impl Future<Output = ()> + Send + 'static,
    ) {
        let connection = self.tasks.spawn(serving.boxed());
        if let Some(peer) = peer {
            *self.peers.entry(peer).or_default() += 1;
        }
        let id = connection.id();
        let client = Client {
            peer,
            clock,
            connection,
            closing,
        };
        self.clients.insert(id, client);
    }
}
