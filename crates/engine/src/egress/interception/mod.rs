//! The network of programs that know no proxy: names and TCP connections, through the same policy
//! and log as the proxy.
//!
//! The engine gets the packets that leave the sandbox ([`frame`], [`packet_loop`]). It holds the
//! first packet of a connection, checks it and connects to the outside ([`connections`]). Then it
//! changes the addresses of the packet, so that the connection ends at a listener inside, which the
//! engine holds ([`flow_table`]). The kernel thus speaks TCP, and the engine copies bytes.
//!
//! Names get addresses of their own ([`dns`], [`names`], [`resolver`]), by UDP and by TCP
//! ([`name_stream`]).

mod connections;
mod dns;
mod flow_table;
mod frame;
mod name_stream;
mod names;
mod packet_loop;
mod resolver;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contree_sandbox::{InterceptedPackets, PacketSocket};
use rustix::event::{EventfdFlags, eventfd};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::flow_table::FlowTable;
use self::names::Names;
use super::connection_context::ConnectionContext;

/// The port of name servers.
const NAME_PORT: u16 = 53;
/// The most queries of a sandbox that are answered at once. Programs repeat those that are dropped.
const MAX_QUERIES: usize = 64;
/// The largest query, in bytes. The rest of a larger one is lost, so it gets no answer.
const MAX_QUERY_BYTES: usize = 2048;
/// The pause after an error of the socket for names.
const RECEIVE_PAUSE: Duration = Duration::from_millis(50);

/// The state that the thread and the tasks of one sandbox share.
struct Interception {
    small: PacketSocket,
    large: PacketSocket,
    /// Wakes the thread at the end.
    wake: OwnedFd,
    flows: Mutex<FlowTable>,
    names: Mutex<Names>,
    queries: Arc<Semaphore>,
    context: ConnectionContext,
    runtime: Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Interception {
    fn flows(&self) -> MutexGuard<'_, FlowTable> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a packet into the sandbox. If the kernel does not take it, it is lost like any packet.
    fn send(&self, frame: &[u8]) {
        let _ = self.small.send(frame);
    }
}

/// The network of one sandbox for programs that know no proxy. Dropping it closes all connections.
pub(super) struct InterceptedNetwork {
    /// `None` once it is closed.
    shared: Option<Arc<Interception>>,
}

impl InterceptedNetwork {
    /// Starts to answer the packets of a sandbox. Needs a Tokio runtime. The thread starts with the
    /// first packet.
    pub(super) fn start(
        packets: InterceptedPackets,
        context: ConnectionContext,
    ) -> io::Result<Self> {
        let listener = TcpListener::from_std(packets.listener)?;
        let names = UdpSocket::from_std(packets.names)?;
        let shared = Arc::new(Interception {
            small: packets.small,
            large: packets.large,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            flows: Mutex::default(),
            names: Mutex::default(),
            queries: Arc::new(Semaphore::new(MAX_QUERIES)),
            context,
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        // The first packet of a program is small.
        let first_packet = UdpSocket::from_std(shared.small.readiness()?)?;
        let waiting = Arc::clone(&shared);
        spawn(&shared, async move {
            let ready = first_packet.readable().await.is_ok();
            drop(first_packet);
            if ready {
                start_thread(waiting);
            }
        });
        spawn(&shared, connections::accept(Arc::clone(&shared), listener));
        spawn(&shared, answer_names(Arc::clone(&shared), names));
        Ok(Self {
            shared: Some(shared),
        })
    }

    /// Closes all connections. The sockets close a few milliseconds later.
    pub(super) async fn close(mut self) {
        if let Some(shared) = self.shared.take() {
            shared.stop.cancel();
            shared.tasks.close();
            shared.tasks.wait().await;
            end_thread(shared);
        }
    }
}

impl Drop for InterceptedNetwork {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.stop.cancel();
            shared.tasks.close();
            end_thread(shared);
        }
    }
}

/// Runs a task until the sandbox ends.
fn spawn(shared: &Arc<Interception>, work: impl Future<Output = ()> + Send + 'static) {
    let stop = shared.stop.clone();
    shared.tasks.spawn_on(
        async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        },
        &shared.runtime,
    );
}

fn start_thread(shared: Arc<Interception>) {
    let started = std::thread::Builder::new()
        .name("packets".to_owned())
        .spawn(move || packet_loop::run(&shared));
    if let Err(error) = started {
        tracing::error!(%error, "cannot start the thread for a sandbox's packets");
    }
}

/// Ends the thread. Closing the sockets takes the kernel some milliseconds, so a thread does it.
fn end_thread(shared: Arc<Interception>) {
    let _ = rustix::io::write(&shared.wake, &1_u64.to_ne_bytes());
    let closing = std::thread::Builder::new()
        .name("packets-close".to_owned())
        .spawn(move || drop(shared));
    if let Err(error) = closing {
        tracing::debug!(%error, "a sandbox's packet sockets were closed without a thread");
    }
}

/// Answers the queries to the socket for names.
async fn answer_names(shared: Arc<Interception>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; MAX_QUERY_BYTES];
    loop {
        let Ok((length, asking)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(RECEIVE_PAUSE).await;
            continue;
        };
        let query = buffer.get(..length).unwrap_or_default().to_vec();
        let socket = Arc::clone(&socket);
        names_task(&shared, query, move |_, answer| {
            // A full queue of the program loses the answer.
            let _ = socket.try_send_to(answer, asking);
        });
    }
}

/// Answers a query in a task of its own. If too many are being answered, it is dropped.
fn names_task(
    shared: &Arc<Interception>,
    query: Vec<u8>,
    send: impl FnOnce(&Interception, &[u8]) + Send + 'static,
) {
    let Ok(permit) = Arc::clone(&shared.queries).try_acquire_owned() else {
        return;
    };
    let task = Arc::clone(shared);
    spawn(shared, async move {
        let answer = resolver::answer(&task.context, &task.names, &query).await;
        if let Some(answer) = answer {
            send(&task, &answer);
        }
        drop(permit);
    });
}
