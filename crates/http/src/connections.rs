//! The accept loop of an HTTP server.
//!
//! It bounds the number of connections and closes silent ones, so that no client can exhaust this
//! process's descriptors or block others. At shutdown it lets open responses finish.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use tokio_io_timeout::TimeoutWriter;

/// How long a connection waits for its permit while idle connections are asked to close.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a client may take to send the head of a request. Idle connections close after the same
/// time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a rejected client may take to read the 503 response.
const REJECTION_TIMEOUT: Duration = Duration::from_millis(100);

/// The local address that a connection was made to, or `None` for a Unix socket. Every request has
/// it as an extension.
#[derive(Clone, Copy, Debug)]
pub struct LocalAddress(pub Option<IpAddr>);

/// Bounds of a server's connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionBounds {
    /// The most open connections.
    pub max_connections: usize,
    /// How long a client may leave a response unread. `None`: without limit.
    pub write_timeout: Option<Duration>,
    /// The largest head of a request in bytes, and the size of the write buffer. `None`: hyper's
    /// default.
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
}

impl AcceptedStream for TcpStream {
    fn local_ip(&self) -> Option<IpAddr> {
        // Sends progress and short responses without delay.
        if let Err(error) = self.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        Some(self.local_addr().ok()?.ip().to_canonical())
    }
}

#[cfg(unix)]
impl AcceptedStream for tokio::net::UnixStream {
    fn local_ip(&self) -> Option<IpAddr> {
        None
    }
}

/// Serves `router` until `shutdown.stop`. Returns when no connection is left.
pub async fn serve<L>(mut listener: L, router: Router, bounds: ConnectionBounds, shutdown: Shutdown)
where
    L: Listener,
    L::Io: AcceptedStream,
{
    let permits = Arc::new(Semaphore::new(bounds.max_connections));
    let close_idle = watch::Sender::new(());
    let mut tasks = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = shutdown.stop.cancelled() => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            (stream, _) = listener.accept() => stream,
        };
        let permit = match permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                close_idle.send_replace(());
                let waiting = tokio::time::timeout(PERMIT_TIMEOUT, permits.clone().acquire_owned());
                let permit = tokio::select! {
                    () = shutdown.stop.cancelled() => break,
                    permit = waiting => permit,
                };
                let Ok(Ok(permit)) = permit else {
                    reject(stream).await;
                    continue;
                };
                permit
            }
        };
        let connection = Connection {
            local_address: LocalAddress(stream.local_ip()),
            stream,
            bounds,
            _permit: ConnectionPermit(permit),
            shutdown: shutdown.clone(),
            close_idle: close_idle.subscribe(),
        };
        tasks.spawn(connection.serve(router.clone()));
    }
    drop(listener);
    shutdown.answered.cancelled().await;
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

/// Answers 503, to a client that may not even read it.
async fn reject(mut stream: impl AcceptedStream) {
    let text = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let _ = tokio::time::timeout(REJECTION_TIMEOUT, stream.write_all(text.as_bytes())).await;
}

/// The permit of one connection, returned on drop.
struct ConnectionPermit(#[expect(dead_code, reason = "held, never read")] OwnedSemaphorePermit);

/// An accepted connection that is being served.
struct Connection<S> {
    stream: S,
    local_address: LocalAddress,
    bounds: ConnectionBounds,
    _permit: ConnectionPermit,
    shutdown: Shutdown,
    close_idle: watch::Receiver<()>,
}

impl<S: AcceptedStream> Connection<S> {
    async fn serve(mut self, router: Router) {
        let router = TowerToHyperService::new(router);
        let local_address = self.local_address;
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(local_address);
            router.call(request)
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT);
        if let Some(buffer) = self.bounds.buffer_bytes {
            builder.max_buf_size(buffer);
        }
        let mut stream = TimeoutWriter::new(self.stream);
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
                Ok(()) = self.close_idle.changed(), if !closing => {
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
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::UnixStream;

    const WRITE_TIMEOUT: Duration = Duration::from_millis(50);
    /// More than a socket buffers.
    const LARGE_BYTES: usize = 8 * 1024 * 1024;

    /// Serves a client that has requested a large response. The task ends with its connection.
    async fn request_large_response() -> (UnixStream, JoinSet<()>) {
        let (mut client, stream) = UnixStream::pair().unwrap();
        let permits = Arc::new(Semaphore::new(1));
        let connection = Connection {
            local_address: LocalAddress(None),
            stream,
            bounds: ConnectionBounds {
                max_connections: 1,
                write_timeout: Some(WRITE_TIMEOUT),
                buffer_bytes: None,
                drain_timeout: Duration::from_secs(1),
            },
            _permit: ConnectionPermit(permits.try_acquire_owned().unwrap()),
            shutdown: Shutdown::default(),
            close_idle: watch::Sender::new(()).subscribe(),
        };
        let router = Router::new().route("/", get(|| async { "x".repeat(LARGE_BYTES) }));
        let mut tasks = JoinSet::new();
        tasks.spawn(connection.serve(router));
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        (client, tasks)
    }

    #[tokio::test]
    async fn a_client_that_stops_reading_is_disconnected() {
        let (mut client, mut tasks) = request_large_response().await;
        tasks.join_next().await.unwrap().unwrap();
        let mut read = Vec::new();
        let _ = client.read_to_end(&mut read).await;
        assert!(
            !read.is_empty() && read.len() < LARGE_BYTES,
            "{}",
            read.len()
        );
    }

    #[tokio::test]
    async fn a_client_that_keeps_reading_gets_the_whole_response() {
        let (mut client, mut tasks) = request_large_response().await;
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert!(read.len() > LARGE_BYTES, "{}", read.len());
        tasks.join_next().await.unwrap().unwrap();
    }
}
