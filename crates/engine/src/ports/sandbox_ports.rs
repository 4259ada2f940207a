//! The published ports of one sandbox.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use contree_error_codes::ErrorCode;
use contree_sandbox::Sandbox;
use futures_util::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, RwLock, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection_log::ConnectionLog;
use super::publisher::{Publisher, ReservedPort, published};
use super::relay::{HALF_CLOSED_IDLE, relay};
use crate::api::types::PublishedPort;
use crate::blocking::blocking;
use crate::egress::NetworkAccess;
use crate::error::ApiError;
use crate::operation::events::EventLog;

/// How long a server inside may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failure to accept a connection, such as for a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The most published ports of one sandbox.
const MAX_PORTS: usize = 64;

/// The published ports of one sandbox. Dropping it closes them without waiting.
pub(crate) struct SandboxPorts {
    publisher: Arc<Publisher>,
    access: NetworkAccess,
    state: Mutex<PublishedState>,
    service: Arc<PortService>,
    tasks: TaskTracker,
}

/// The list of published ports.
#[derive(Default)]
struct PublishedState {
    ports: Vec<PublishedPort>,
    is_closed: bool,
}

/// The means of serving connections to a sandbox's ports.
struct PortService {
    /// `None` once the sandbox is closed.
    sandbox: Arc<RwLock<Option<Sandbox>>>,
    log: ConnectionLog,
    connections: Arc<Semaphore>,
    stop: CancellationToken,
}

impl SandboxPorts {
    pub(crate) fn new(
        publisher: Arc<Publisher>,
        access: NetworkAccess,
        sandbox: Arc<RwLock<Option<Sandbox>>>,
        log: Arc<EventLog>,
    ) -> Self {
        Self {
            service: Arc::new(PortService {
                sandbox,
                log: ConnectionLog::new(log),
                connections: Arc::new(Semaphore::new(publisher.max_connections())),
                stop: CancellationToken::new(),
            }),
            publisher,
            access,
            state: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Publishes a port. One that is published already keeps its address, unless another
    /// `host_port` is asked for. Needs a Tokio runtime.
    ///
    /// # Errors
    /// Those of [`Publisher::reserve`], and 409 if the sandbox is closed or has too many ports.
    pub(crate) fn publish(
        &self,
        port: u64,
        host_port: Option<u64>,
    ) -> Result<PublishedPort, ApiError> {
        let existing = self
            .state()
            .ports
            .iter()
            .find(|existing| {
                u64::from(existing.port) == port
                    && host_port.is_none_or(|wanted| wanted == u64::from(existing.host_port))
            })
            .cloned();
        match existing {
            Some(existing) => Ok(existing),
            None => self.open(self.publisher.reserve(self.access, port, host_port)?),
        }
    }

    /// Serves a reserved port. Needs a Tokio runtime.
    ///
    /// # Errors
    /// 409 if the sandbox is closed, or has too many ports.
    pub(crate) fn open(&self, reserved: ReservedPort) -> Result<PublishedPort, ApiError> {
        let ReservedPort {
            port,
            host_port,
            listener,
            permit,
        } = reserved;
        let listener = TcpListener::from_std(listener)?;
        let published = published(port, host_port);
        let mut state = self.state();
        if state.is_closed {
            return Err(ApiError::new(
                StatusCode::CONFLICT,
                ErrorCode::OperationOver,
                "the main process has ended, and the sandbox with it",
            ));
        }
        if state.ports.len() >= MAX_PORTS {
            return Err(ApiError::new(
                StatusCode::CONFLICT,
                ErrorCode::TooManyPorts,
                format!("{MAX_PORTS} ports of this sandbox are published, which is the limit"),
            ));
        }
        state.ports.push(published.clone());
        self.service.log.record_published(port, host_port);
        let service = Arc::clone(&self.service);
        let tasks = self.tasks.clone();
        let serving = async move {
            let accepting = accept(&service, &tasks, &listener, port, host_port);
            service.stop.run_until_cancelled(accepting).await;
            drop(permit);
        };
        self.tasks.spawn(serving.boxed());
        Ok(published)
    }

    /// The published ports, in the order of their publication.
    pub(crate) fn list(&self) -> Vec<PublishedPort> {
        self.state().ports.clone()
    }

    /// Closes all ports and their connections, so that nothing keeps the sandbox's network alive.
    /// No event follows.
    pub(crate) async fn close(&self) {
        {
            let mut state = self.state();
            state.is_closed = true;
            state.ports.clear();
        }
        self.service.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.service.log.finish();
    }

    fn state(&self) -> MutexGuard<'_, PublishedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SandboxPorts {
    fn drop(&mut self) {
        self.service.stop.cancel();
    }
}

/// Accepts the connections to one port. Beyond the limit of served connections, one more is
/// accepted. Further ones wait in the kernel's queue, whose length is bounded.
async fn accept(
    service: &Arc<PortService>,
    tasks: &TaskTracker,
    listener: &TcpListener,
    port: u16,
    host_port: u16,
) {
    loop {
        let Ok((client, from)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&service.connections).acquire_owned().await else {
            return;
        };
        let connection = PortConnection {
            service: Arc::clone(service),
            client,
            from,
            port,
            host_port,
            _permit: permit,
        };
        let stop = service.stop.clone();
        let serving = async move {
            stop.run_until_cancelled_owned(connection.serve()).await;
        };
        tasks.spawn(serving.boxed());
    }
}

/// An accepted connection.
struct PortConnection {
    service: Arc<PortService>,
    client: TcpStream,
    from: SocketAddr,
    port: u16,
    host_port: u16,
    _permit: OwnedSemaphorePermit,
}

impl PortConnection {
    /// Connects inside, and copies bytes until the connection ends. A client whose server cannot be
    /// reached sees its connection reset.
    async fn serve(self) {
        let connected = self.service.connect(self.port).await;
        let refusal = connected
            .as_ref()
            .err()
            .map(|error| describe(self.port, error));
        self.service.log.record_connection(
            self.port,
            self.host_port,
            self.from.to_string(),
            refusal,
        );
        match connected {
            Ok(inside) => relay(self.client, inside, HALF_CLOSED_IDLE).await,
            Err(_) => {
                // Without this, the client could take the end for an empty answer.
                let _ = self.client.set_zero_linger();
            }
        }
    }
}

impl PortService {
    /// Connects to a port of the sandbox's loopback: of IPv4, else of IPv6.
    async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let first = match self.connect_to((Ipv4Addr::LOCALHOST, port).into()).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        // A server at `localhost` may listen on one of the two addresses alone.
        let second = self.connect_to((Ipv6Addr::LOCALHOST, port).into()).await;
        second.map_err(|_| first)
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let sandbox = Arc::clone(&self.sandbox).read_owned().await;
        let begun = blocking(move || {
            Ok(match &*sandbox {
                Some(sandbox) => sandbox.connect(address).map_err(|error| match error {
                    contree_sandbox::Error::Connect { error, .. } => error,
                    other => io::Error::other(other),
                }),
                None => Err(io::ErrorKind::NotConnected.into()),
            })
        });
        let socket = begun.await.map_err(io::Error::other)??;
        let stream = TcpStream::from_std(socket)?;
        match tokio::time::timeout(CONNECT_TIMEOUT, stream.writable()).await {
            Ok(writable) => writable?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        match stream.take_error()? {
            Some(error) => Err(error),
            None => Ok(stream),
        }
    }
}

/// The reason why a connection was refused.
fn describe(port: u16, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("nothing listens on port {port} of the sandbox's loopback")
        }
        io::ErrorKind::TimedOut => format!(
            "the server on port {port} of the sandbox did not accept the connection within {} s",
            CONNECT_TIMEOUT.as_secs()
        ),
        io::ErrorKind::NotConnected => "the sandbox is ending".to_owned(),
        _ => format!("port {port} of the sandbox cannot be reached: {error}"),
    }
}
