//! Tests of connections with slow, stalled and many clients.

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
    let head =
        "POST /upload HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n";
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
