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
                tokio::spawn(async move {
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
mod tests {
    use tokio::task::JoinSet;

    use super::*;
    use axum::routing::get;
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
            clock: ClientClock::start(),
            bounds: ConnectionBounds {
                max_connections: 1,
                max_per_peer: None,
                write_timeout: Some(WRITE_TIMEOUT),
                body_timeout: None,
                buffer_bytes: None,
                drain_timeout: Duration::from_secs(1),
            },
            _permit: ConnectionPermit(permits.try_acquire_owned().unwrap()),
            shutdown: Shutdown::default(),
            closing: CancellationToken::new(),
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

    /// Serves on loopback: `/` answers at once, `/large` with much, and `/upload` reads the body.
    async fn serve_few(bounds: ConnectionBounds) -> (std::net::SocketAddr, Shutdown) {
        let router = Router::new()
            .route("/", get(|| async { "ok" }))
            .route("/large", get(|| async { "x".repeat(LARGE_BYTES) }))
            .route(
                "/upload",
                axum::routing::post(|body: Body| async {
                    match axum::body::to_bytes(body, usize::MAX).await {
                        Ok(bytes) => format!("{} bytes", bytes.len()),
                        Err(error) => error.to_string(),
                    }
                }),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::default();
        tokio::spawn(serve(listener, router, bounds, shutdown.clone()));
        (address, shutdown)
    }

    const FEW: ConnectionBounds = ConnectionBounds {
        max_connections: 4,
        max_per_peer: None,
        write_timeout: None,
        body_timeout: None,
        buffer_bytes: None,
        drain_timeout: Duration::from_secs(1),
    };

    async fn send(address: std::net::SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn response(mut stream: TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn stalled_clients_do_not_keep_others_out() {
        const HALF_UPLOAD: &str =
            "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nbegun";
        const HALF_HEAD: &str = "GET / HTTP/1.1\r\nHo";
        const UNREAD: &str = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
        for stalled in [HALF_UPLOAD, HALF_HEAD, UNREAD] {
            let (address, _shutdown) = serve_few(FEW).await;
            let mut held = Vec::new();
            for _ in 0..2 * FEW.max_connections {
                held.push(send(address, stalled).await);
            }
            let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            loop {
                let text = response(send(address, request).await).await;
                if text.starts_with("HTTP/1.1 200") {
                    break;
                }
                assert!(text.starts_with("HTTP/1.1 503"), "{text}");
            }
        }
    }

    #[tokio::test]
    async fn a_client_that_waits_for_its_answer_keeps_its_connection() {
        let begun = Arc::new(tokio::sync::Notify::new());
        let finish = Arc::new(tokio::sync::Notify::new());
        let (starting, ending) = (begun.clone(), finish.clone());
        let router = Router::new().route(
            "/",
            get(move || async move {
                starting.notify_one();
                ending.notified().await;
                "ok"
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = ConnectionBounds {
            max_connections: 1,
            ..FEW
        };
        tokio::spawn(serve(listener, router, bounds, Shutdown::default()));
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let waiting = send(address, request).await;
        begun.notified().await;
        // Longer than a stalled client may take: the second client is rejected meanwhile.
        let rejected = response(send(address, request).await).await;
        assert!(rejected.starts_with("HTTP/1.1 503"), "{rejected}");
        finish.notify_one();
        assert!(response(waiting).await.ends_with("ok"));
    }

    /// Connects from an address of this machine and sends a request.
    async fn send_from(from: &str, to: std::net::SocketAddr, text: &str) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn one_peer_gets_only_its_share_of_the_connections() {
        let begun = Arc::new(Semaphore::new(0));
        let finish = Arc::new(Semaphore::new(0));
        let (starting, ending) = (begun.clone(), finish.clone());
        let router = Router::new().route(
            "/",
            get(move || async move {
                starting.add_permits(1);
                ending.acquire().await.unwrap().forget();
                "ok"
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = ConnectionBounds {
            max_per_peer: Some(3),
            ..FEW
        };
        tokio::spawn(serve(listener, router, bounds, Shutdown::default()));
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let mut busy = Vec::new();
        for _ in 0..3 {
            busy.push(send_from("127.0.0.1", address, request).await);
            begun.acquire().await.unwrap().forget();
        }
        for _ in 0..2 * MAX_REJECTIONS {
            let rejected = response(send_from("127.0.0.1", address, request).await).await;
            assert!(rejected.starts_with("HTTP/1.1 503"), "{rejected}");
        }
        // The last connection is for another peer.
        busy.push(send_from("127.0.0.2", address, request).await);
        begun.acquire().await.unwrap().forget();
        finish.add_permits(busy.len());
        for connection in busy {
            assert!(response(connection).await.ends_with("ok"));
        }
        // A peer whose connections have ended may connect again.
        finish.add_permits(1);
        let again = response(send_from("127.0.0.1", address, request).await).await;
        assert!(again.ends_with("ok"), "{again}");
    }

    #[test]
    fn addresses_of_one_network_are_one_peer() {
        let peer = |address: &str| Peer::at(address.parse().unwrap());
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8:0:1::1"), peer("2001:db8:0:2::1"));
        assert_ne!(peer("::1"), peer("::2"));
    }

    #[tokio::test]
    async fn a_body_that_stops_arriving_fails_and_one_that_arrives_does_not() {
        let bounds = ConnectionBounds {
            body_timeout: Some(Duration::from_secs(2)),
            ..FEW
        };
        let (address, _shutdown) = serve_few(bounds).await;
        let head = "POST /upload HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n";
        let stopped = response(send(address, head).await).await;
        assert!(stopped.contains("of the request's body"), "{stopped}");
        // Single bytes do not count as progress.
        let mut dripping = send(address, head).await;
        let (mut reader, mut writer) = dripping.split();
        let drip = async {
            while writer.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let mut text = String::new();
        tokio::select! {
            _ = reader.read_to_string(&mut text) => {}
            () = drip => {}
        }
        assert!(
            text.is_empty() || text.contains("of the request's body"),
            "{text}"
        );
        let mut slow = send(address, head).await;
        for _ in 0..10 {
            slow.write_all(&[b'x'; 20_000]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let text = response(slow).await;
        assert!(text.contains("200000 bytes"), "{text}");
    }
}
