//! The accept loop. It bounds connections and closes silent ones, so that no client can use up this process's descriptors
//! or keep others out. At shutdown it lets answers be finished.

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

/// How long a connection waits for its permit, while idle ones are asked to go.
const PERMIT: Duration = Duration::from_secs(3);
/// How long a client may take to send the head of a request, and how long an idle connection is kept.
const HEAD: Duration = Duration::from_secs(75);
/// How long a client may take to be told that there are too many.
const REFUSAL: Duration = Duration::from_millis(100);

/// The address of this machine that a connection was made to; none for a unix socket. An extension of every request.
#[derive(Clone, Copy, Debug)]
pub struct LocalAddress(pub Option<IpAddr>);

/// Bounds of a server's connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionBounds {
    /// How many connections there may be at once.
    pub connections: usize,
    /// How long a client may leave an answer unread; `None`: as long as it likes.
    pub unread: Option<Duration>,
    /// The largest head of a request, in bytes; also what is buffered of an answer. `None`: hyper's own bound.
    pub buffer: Option<usize>,
    /// How long last answers may take to be read.
    pub last: Duration,
}

/// The steps of a server's shutdown.
#[derive(Clone, Default)]
pub struct Shutdown {
    /// No more are accepted, and those there are end with their answer.
    pub stop: CancellationToken,
    /// No call is under way any more: answers have been given, and are being sent.
    pub answered: CancellationToken,
    /// Streams that carry no answer never end by themselves, and are cut.
    pub cut: CancellationToken,
}

/// A connection that knows where it was made to.
pub trait AcceptedStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The address of this machine that it was made to; none for a unix socket.
    fn reached(&self) -> Option<IpAddr>;
}

impl AcceptedStream for TcpStream {
    fn reached(&self) -> Option<IpAddr> {
        // Progress and short answers go out at once.
        if let Err(error) = self.set_nodelay(true) {
            tracing::debug!("no TCP_NODELAY: {error}");
        }
        Some(self.local_addr().ok()?.ip().to_canonical())
    }
}

#[cfg(unix)]
impl AcceptedStream for tokio::net::UnixStream {
    fn reached(&self) -> Option<IpAddr> {
        None
    }
}

/// Serves `router` until it is to stop, and returns when no connection is left.
pub async fn serve<L>(mut listener: L, router: Router, bounds: ConnectionBounds, shutdown: Shutdown)
where
    L: Listener,
    L::Io: AcceptedStream,
{
    let permits = Arc::new(Semaphore::new(bounds.connections));
    let room = watch::Sender::new(());
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
                room.send_replace(());
                let waited = tokio::time::timeout(PERMIT, permits.clone().acquire_owned());
                let permit = tokio::select! {
                    () = shutdown.stop.cancelled() => break,
                    permit = waited => permit,
                };
                let Ok(Ok(permit)) = permit else {
                    refuse(stream).await;
                    continue;
                };
                permit
            }
        };
        let connection = Connection {
            reached: LocalAddress(stream.reached()),
            stream,
            bounds,
            _permit: ConnectionPermit(permit),
            shutdown: shutdown.clone(),
            room: room.subscribe(),
        };
        tasks.spawn(connection.serve(router.clone()));
    }
    drop(listener);
    shutdown.answered.cancelled().await;
    for _ in 0..2 {
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(bounds.last, all).await.is_ok() {
            return;
        }
        shutdown.cut.cancel();
    }
    tasks.shutdown().await;
}

/// Says that there are too many connections, to a client that may not even read it.
async fn refuse(mut stream: impl AcceptedStream) {
    let text = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let _ = tokio::time::timeout(REFUSAL, stream.write_all(text.as_bytes())).await;
}

/// The right to one of the bounded connections, given back when it is dropped.
struct ConnectionPermit(#[expect(dead_code, reason = "held, never read")] OwnedSemaphorePermit);

struct Connection<S> {
    stream: S,
    reached: LocalAddress,
    bounds: ConnectionBounds,
    _permit: ConnectionPermit,
    shutdown: Shutdown,
    room: watch::Receiver<()>,
}

impl<S: AcceptedStream> Connection<S> {
    async fn serve(mut self, router: Router) {
        let router = TowerToHyperService::new(router);
        let reached = self.reached;
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(reached);
            router.call(request)
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
        if let Some(buffer) = self.bounds.buffer {
            builder.max_buf_size(buffer);
        }
        let mut stream = TimeoutWriter::new(self.stream);
        stream.set_timeout(self.bounds.unread);
        let serving = builder.serve_connection(TokioIo::new(Box::pin(stream)), service);
        let mut serving = std::pin::pin!(serving);
        let mut leaving = false;
        loop {
            tokio::select! {
                served = serving.as_mut() => {
                    if let Err(error) = served {
                        tracing::debug!("a connection ended: {error}");
                    }
                    return;
                }
                // Ends the connection after the answer that is under way, or at once.
                () = self.shutdown.stop.cancelled(), if !leaving => {
                    leaving = true;
                    serving.as_mut().graceful_shutdown();
                }
                Ok(()) = self.room.changed(), if !leaving => {
                    leaving = true;
                    serving.as_mut().graceful_shutdown();
                }
                () = self.shutdown.cut.cancelled() => break,
            }
        }
        // Streams have been ended; their last bytes may still be on the way.
        let _ = tokio::time::timeout(self.bounds.last, serving).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::UnixStream;

    const UNREAD: Duration = Duration::from_millis(50);
    /// More than a socket holds.
    const LARGE: usize = 8 * 1024 * 1024;

    /// Serves one client, which has asked for a large answer; the task ends with its connection.
    async fn asked() -> (UnixStream, JoinSet<()>) {
        let (mut client, stream) = UnixStream::pair().unwrap();
        let permits = Arc::new(Semaphore::new(1));
        let connection = Connection {
            reached: LocalAddress(None),
            stream,
            bounds: ConnectionBounds {
                connections: 1,
                unread: Some(UNREAD),
                buffer: None,
                last: Duration::from_secs(1),
            },
            _permit: ConnectionPermit(permits.try_acquire_owned().unwrap()),
            shutdown: Shutdown::default(),
            room: watch::Sender::new(()).subscribe(),
        };
        let router = Router::new().route("/", get(|| async { "x".repeat(LARGE) }));
        let mut tasks = JoinSet::new();
        tasks.spawn(connection.serve(router));
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        (client, tasks)
    }

    #[tokio::test]
    async fn a_client_that_stops_reading_is_given_up() {
        let (mut client, mut tasks) = asked().await;
        tasks.join_next().await.unwrap().unwrap();
        let mut read = Vec::new();
        let _ = client.read_to_end(&mut read).await;
        assert!(!read.is_empty() && read.len() < LARGE, "{}", read.len());
    }

    #[tokio::test]
    async fn a_client_that_goes_on_reading_is_not() {
        let (mut client, mut tasks) = asked().await;
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert!(read.len() > LARGE, "{}", read.len());
        tasks.join_next().await.unwrap().unwrap();
    }
}
