//! The accept loop of an HTTP server.
//!
//! It bounds the number of connections and closes silent and stalled ones, so that no client can
//! exhaust this process's descriptors or block others. At shutdown it lets open responses finish.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;

use crate::client_progress::{ClientClock, RequestBody, ResponseBody, WatchedStream};
use crate::open_connections::OpenConnections;
pub use crate::open_connections::Peer;

/// How long a client may take to send the head of a request. Idle connections close after the same
/// time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a rejected client may take to read the 503 response.
const REJECTION_TIMEOUT: Duration = Duration::from_millis(100);
/// The most clients over their share of connections that receive a 503 response at once. Further
/// ones are disconnected without a response.
const MAX_REJECTIONS: usize = 16;

/// The local address that a connection was made to, or `None` for a Unix socket. Every request has
/// it as an extension.
#[derive(Clone, Copy, Debug)]
pub struct LocalAddress(pub Option<IpAddr>);

/// Bounds of a server's connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionBounds {
    /// The most open connections.
    pub max_connections: usize,
    /// The most open connections of one peer. `None`: up to `max_connections`.
    pub max_per_peer: Option<usize>,
    /// How long a client may leave a response unread. `None`: without limit.
    pub write_timeout: Option<Duration>,
    /// How long a client may pause within the body of a request. `None`: without limit.
    pub body_timeout: Option<Duration>,
    /// The largest head of a request in bytes, and the size of the write buffer. At least 8192,
    /// since hyper panics at less. `None`: hyper's default.
    pub buffer_bytes: Option<usize>,
    /// How long clients may take to read the last responses at shutdown.
    pub drain_timeout: Duration,
}

/// The steps of a server's shutdown.
#[derive(Clone, Default)]
pub struct Shutdown {
    /// Stops accepting. Open connections close after their current response.
    pub stop: CancellationToken,
    /// Set once every call has its response. The responses may still be on their way.
    pub answered: CancellationToken,
    /// Closes streams that carry no response and would never end by themselves.
    pub close_streams: CancellationToken,
}

/// An accepted connection that knows its local address.
pub trait AcceptedStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The local address of the connection, or `None` for a Unix socket.
    fn local_ip(&self) -> Option<IpAddr>;

    /// The peer, if the system knows it. It is unknown if the client has already disconnected.
    fn peer(&self) -> Option<Peer>;
}

impl AcceptedStream for TcpStream {
    fn local_ip(&self) -> Option<IpAddr> {
        // Sends progress and short responses without delay.
        if let Err(error) = self.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        Some(self.local_addr().ok()?.ip().to_canonical())
    }

    fn peer(&self) -> Option<Peer> {
        Some(Peer::at(self.peer_addr().ok()?.ip()))
    }
}

#[cfg(unix)]
impl AcceptedStream for tokio::net::UnixStream {
    fn local_ip(&self) -> Option<IpAddr> {
        None
    }

    fn peer(&self) -> Option<Peer> {
        Some(Peer::User(self.peer_cred().ok()?.uid()))
    }
}

/// Serves `router` until `shutdown.stop`. Returns when no connection is left.
pub async fn serve<L>(mut listener: L, router: Router, bounds: ConnectionBounds, shutdown: Shutdown)
where
    L: Listener,
    L::Io: AcceptedStream,
{
    let mut open = OpenConnections::new(bounds.max_connections, bounds.max_per_peer);
    let rejections = Arc::new(Semaphore::new(MAX_REJECTIONS));
    loop {
        let stream = tokio::select! {
            // Ended connections are removed before the next client is counted.
            biased;
            () = shutdown.stop.cancelled() => break,
            Some(()) = open.next_end() => continue,
            (stream, _) = listener.accept() => stream,
        };
        if open.is_at_limit(stream.peer()) {
            // The loop does not wait for this client, so that others can connect.
            if let Ok(rejection) = Arc::clone(&rejections).try_acquire_owned() {
                contree_tasks::spawn(async move {
                    reject(stream).await;
                    drop(rejection);
                });
            }
            continue;
        }
        let permit = tokio::select! {
            () = shutdown.stop.cancelled() => break,
            permit = open.permit() => permit,
        };
        let Some(permit) = permit else {
            reject(stream).await;
            continue;
        };
        let connection = Connection {
            local_address: LocalAddress(stream.local_ip()),
            stream,
            clock: ClientClock::start(),
            bounds,
            _permit: ConnectionPermit(permit),
            shutdown: shutdown.clone(),
            closing: CancellationToken::new(),
        };
        open.spawn(
            connection.stream.peer(),
            Arc::clone(&connection.clock),
            connection.closing.clone(),
            connection.serve(router.clone()),
        );
    }
    drop(listener);
    shutdown.answered.cancelled().await;
    let mut tasks = open.tasks;
    // Open streams do not end by themselves. They are closed after the first wait.
    for _ in 0..2 {
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(bounds.drain_timeout, all)
            .await
            .is_ok()
        {
            return;
        }
        shutdown.close_streams.cancel();
    }
    tasks.shutdown().await;
}

/// Answers 503, and waits at most [`REJECTION_TIMEOUT`] for the client to read it.
async fn reject(mut stream: impl AcceptedStream) {
    let text = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let answering = async {
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await?;
        // If its request stayed unread, the kernel would reset the connection without the response.
        let mut request = [0; 4096];
        while stream.read(&mut request).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = tokio::time::timeout(REJECTION_TIMEOUT, answering).await;
}

/// The permit of one connection, returned on drop.
struct ConnectionPermit(#[expect(dead_code, reason = "held, never read")] OwnedSemaphorePermit);

/// An accepted connection that is being served.
struct Connection<S> {
    stream: S,
    clock: Arc<ClientClock>,
    local_address: LocalAddress,
    bounds: ConnectionBounds,
    _permit: ConnectionPermit,
    shutdown: Shutdown,
    closing: CancellationToken,
}

impl<S: AcceptedStream> Connection<S> {
    async fn serve(self, router: Router) {
        let router = TowerToHyperService::new(router);
        let local_address = self.local_address;
        let (clock, body_timeout) = (Arc::clone(&self.clock), self.bounds.body_timeout);
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            clock.begin_request();
            let clock = Arc::clone(&clock);
            let mut request = request
                .map(|body| Body::new(RequestBody::new(body, Arc::clone(&clock), body_timeout)));
            request.extensions_mut().insert(local_address);
            let answering = router.call(request);
            async move {
                let answer = answering.await?;
                Ok::<_, Infallible>(answer.map(|body| ResponseBody { body, clock }))
            }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT);
        if let Some(buffer) = self.bounds.buffer_bytes {
            builder.max_buf_size(buffer);
        }
        let mut stream = TimeoutWriter::new(WatchedStream {
            stream: self.stream,
            clock: self.clock,
        });
        stream.set_timeout(self.bounds.write_timeout);
        let serving = builder.serve_connection(TokioIo::new(Box::pin(stream)), service);
        let mut serving = std::pin::pin!(serving);
        let mut closing = false;
        loop {
            tokio::select! {
                served = serving.as_mut() => {
                    if let Err(error) = served {
                        tracing::debug!(%error, "a connection failed");
                    }
                    return;
                }
                // Closes the connection after its current response, or at once if it is idle.
                () = self.shutdown.stop.cancelled(), if !closing => {
                    closing = true;
                    serving.as_mut().graceful_shutdown();
                }
                () = self.closing.cancelled(), if !closing => {
                    closing = true;
                    serving.as_mut().graceful_shutdown();
                }
                () = self.shutdown.close_streams.cancelled() => break,
            }
        }
        // The streams have ended; their last bytes may still be on their way.
        let _ = tokio::time::timeout(self.bounds.drain_timeout, serving).await;
    }
}

#[cfg(test)]
mod tests;
