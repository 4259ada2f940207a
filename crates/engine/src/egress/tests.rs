//! Tests of the proxy over real sockets. Their servers listen on loopback, which the tests' policy
//! allows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::connection_log::ConnectionLog;
use super::dial::Dialer;
use super::lookup::LookupPool;
use super::policy::Policy;
use super::proxy::{Proxy, ProxyLimits};
use super::rules::EgressRule;
use super::traffic;
use super::upstream::Upstream;
use crate::operation::events;

struct Fixture {
    proxy: Proxy,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new(deny: &str, upstream: Upstream) -> Self {
        let mut policy = Policy::new(Vec::new(), EgressRule::parse_list(deny).expect(deny));
        policy.open = vec!["127.0.0.0/8".parse().expect("a network")];
        Self::with(policy, upstream)
    }

    /// A proxy that closes connections without traffic for `idle`.
    fn with_idle_timeout(idle: Duration) -> Self {
        let mut policy = Policy::new(Vec::new(), Vec::new());
        policy.open = vec!["127.0.0.0/8".parse().expect("a network")];
        Self::start(policy, Upstream::none(), idle)
    }

    fn with(policy: Policy, upstream: Upstream) -> Self {
        Self::start(policy, upstream, traffic::IDLE_TIMEOUT)
    }

    fn start(policy: Policy, upstream: Upstream, idle: Duration) -> Self {
        Self::with_dialer(&Arc::new(Dialer::new(policy, upstream)), idle)
    }

    /// The proxy of one of several sandboxes of an engine.
    fn with_dialer(dialer: &Arc<Dialer>, idle: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = events::EventLog::create(&folder.path().join("log")).expect("a log");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("an address");
        let log = ConnectionLog::new(Arc::new(log));
        let dialer = Arc::clone(dialer);
        Self {
            proxy: Proxy::start(
                listener,
                None,
                dialer,
                log,
                ProxyLimits {
                    connections: 128,
                    idle,
                },
            )
            .expect("a proxy"),
            address,
            folder,
        }
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connect")
    }

    /// Sends a request on a new connection and returns the whole response.
    async fn ask(&self, request: &str) -> String {
        let mut client = self.client().await;
        client.write_all(request.as_bytes()).await.expect("write");
        all(&mut client).await
    }

    /// Closes the proxy. Returns the summary of denials, and the events.
    async fn end(self) -> (Option<String>, Vec<Value>) {
        let denied = self.proxy.close().await;
        assert!(
            TcpStream::connect(self.address).await.is_err(),
            "it still listens"
        );
        let mut reader = events::EventReader::open(&self.folder.path().join("log")).expect("a log");
        let mut events = Vec::new();
        loop {
            let records = reader.next().expect("events");
            if records.is_empty() {
                return (denied, events);
            }
            for record in records {
                assert_eq!((record.kind.as_str(), record.spid), ("network", 0));
                events.push(record.data());
            }
        }
    }
}

/// Starts a server that answers each request with the next of `answers`. It hangs up after the
/// last, and after one with `X-Hang-Up`. The receiver yields `connected` for each connection and
/// the text of each request.
async fn server(answers: &[&'static str]) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address");
    let (sender, received) = mpsc::unbounded_channel();
    let answers = answers.to_vec();
    tokio::spawn(async move {
        let mut answers = answers.into_iter();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = sender.send("connected".to_owned());
            while let Some(request) = request(&mut stream).await {
                let _ = sender.send(request);
                let Some(answer) = answers.next() else { break };
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
                if answer.contains("X-Hang-Up") {
                    break;
                }
            }
        }
    });
    (address, received)
}

/// Reads the head of a request and its short body.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        text.push(char::from(stream.read_u8().await.ok()?));
    }
    let lower = text.to_lowercase();
    if lower.contains("transfer-encoding: chunked") {
        let mut body = String::new();
        while !body.ends_with("0\r\n\r\n") {
            body.push(char::from(stream.read_u8().await.ok()?));
        }
        text.push_str(&body);
    } else if let Some((_, rest)) = lower.split_once("content-length: ") {
        let length: usize = rest.split("\r\n").next()?.parse().ok()?;
        for _ in 0..length {
            text.push(char::from(stream.read_u8().await.ok()?));
        }
    }
    Some(text)
}

async fn all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=5\r\nX-Seen: yes\r\n\r\nhi";

#[tokio::test]
async fn a_tunnel_carries_bytes_unchanged() {
    let fixture = Fixture::new("", Upstream::none());
    let (address, mut received) = server(&[OK]).await;
    let mut client = fixture.client().await;
    let connect = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    client.write_all(connect.as_bytes()).await.expect("write");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(client.read_u8().await.expect("a head")));
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(!head.to_lowercase().contains("content-length"), "{head}");
    let inner = "GET /inner HTTP/1.1\r\nProxy-Connection: stays\r\n\r\n";
    client.write_all(inner.as_bytes()).await.expect("write");
    let mut answer = vec![0; OK.len()];
    client.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, OK.as_bytes());
    assert_eq!(received.recv().await.as_deref(), Some("connected"));
    assert_eq!(received.recv().await.as_deref(), Some(inner));
    let (denied, events) = fixture.end().await;
    assert_eq!(denied, None);
    // Closing the proxy closes its connections.
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert_eq!(events[0]["x-connection"]["verdict"], "allowed");
    assert_eq!(events[0]["x-connection"]["method"], "CONNECT");
    assert_eq!(events[0]["x-connection"]["port"], address.port());
    assert_eq!(events[1]["interfaces"][0]["tx_bytes"], inner.len());
    assert_eq!(events[1]["interfaces"][0]["rx_bytes"], OK.len());
    assert_eq!(events[1]["x-connections"]["allowed"], 1);
}

#[tokio::test]
async fn hop_by_hop_headers_are_not_forwarded() {
    let fixture = Fixture::new("", Upstream::none());
    let (address, mut received) = server(&[OK, OK, OK]).await;
    let mut client = fixture.client().await;
    // Two requests at once: the second waits for its turn.
    let text = format!(
        "GET http://{address}/one?q=1 HTTP/1.1\r\nHost: elsewhere.example\r\nProxy-Connection: keep-alive\r\n\
         Proxy-Authorization: Basic eDp5\r\nConnection: X-Private, host, content-length\r\nX-Private: secret\r\nTE: trailers\r\n\
         Upgrade: h2c\r\nX-Public: stays\r\n\r\n\
         POST http://{address} HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    );
    client.write_all(text.as_bytes()).await.expect("write");
    let last = format!(
        "GET http://{address}/three HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    );
    client.write_all(last.as_bytes()).await.expect("write");
    let answers = all(&mut client).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    assert_eq!(
        answers.to_lowercase().matches("x-seen: yes").count(),
        3,
        "{answers}"
    );
    assert!(
        !answers.to_lowercase().contains("keep-alive: timeout"),
        "{answers}"
    );
    assert_eq!(received.recv().await.as_deref(), Some("connected"));
    let first = received.recv().await.expect("a request");
    assert!(first.starts_with("GET /one?q=1 HTTP/1.1\r\n"), "{first}");
    let lower = first.to_lowercase();
    assert!(
        lower.contains(&format!("host: {address}\r\n")) && lower.contains("x-public: stays"),
        "{first}"
    );
    for removed in [
        "elsewhere",
        "proxy-",
        "x-private",
        "te:",
        "upgrade",
        "connection",
    ] {
        assert!(!lower.contains(removed), "{removed}: {first}");
    }
    let second = received.recv().await.expect("a request");
    assert!(second.starts_with("POST / HTTP/1.1\r\n"), "{second}");
    assert!(second.ends_with("4\r\nbody\r\n0\r\n\r\n"), "{second}");
    let third = received.recv().await.expect("a request");
    assert!(third.starts_with("GET /three "), "{third}");
    let (_, events) = fixture.end().await;
    // All requests share one connection.
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0]["x-connection"]["method"], "GET");
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_opened_again() {
    let fixture = Fixture::new("", Upstream::none());
    let hang_up = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Hang-Up: yes\r\n\r\nhi";
    let (address, mut received) = server(&[hang_up, OK]).await;
    let mut client = fixture.client().await;
    let request = format!("GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n\r\n");
    client.write_all(request.as_bytes()).await.expect("write");
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\nhi") {
        answer.push(char::from(client.read_u8().await.expect("an answer")));
    }
    client.write_all(request.as_bytes()).await.expect("write");
    answer.clear();
    while !answer.ends_with("\r\n\r\nhi") {
        answer.push(char::from(client.read_u8().await.expect("an answer")));
    }
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(fixture);
    let mut connected = 0;
    while let Some(text) = received.recv().await {
        connected += usize::from(text == "connected");
        if connected == 2 {
            break;
        }
    }
}

#[tokio::test]
async fn the_status_line_gives_the_reason_of_a_denial() {
    let fixture = Fixture::with(Policy::default(), Upstream::none());
    let (address, mut received) = server(&[OK]).await;
    for (request, line) in [
        (
            format!("CONNECT {address} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            "HTTP/1.1 403 Forbidden by sandbox policy: 127.0.0.1 is a loopback address\r\n",
        ),
        (
            format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            "HTTP/1.1 403 Forbidden by sandbox policy: 127.0.0.1 is a loopback address\r\n",
        ),
        (
            "CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                .to_owned(),
            "HTTP/1.1 403 Forbidden by sandbox policy: 169.254.169.254 is a link-local address\r\n",
        ),
        (
            "CONNECT localhost:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
            "HTTP/1.1 403 Forbidden by sandbox policy: localhost is this machine\r\n",
        ),
        (
            format!(
                "GET http://allowed.example@{address}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            ),
            "HTTP/1.1 403 Forbidden by sandbox policy: allowed.example@",
        ),
        (
            "GET https://example.com/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
            "HTTP/1.1 501 ",
        ),
        (
            "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n".to_owned(),
            "HTTP/1.1 400 this is the sandbox's proxy",
        ),
    ] {
        let answer = fixture.ask(&request).await;
        assert!(answer.starts_with(line), "{request}{answer}");
        assert!(answer.contains("text/plain"), "{answer}");
    }
    assert!(received.try_recv().is_err(), "the server was reached");
    let (denied, events) = fixture.end().await;
    let denied = denied.expect("a line");
    assert!(denied.starts_with("5 connections were denied"), "{denied}");
    assert!(
        denied.contains("127.0.0.1 is a loopback address (2 times)"),
        "{denied}"
    );
    assert_eq!(events.len(), 6, "{events:?}");
    assert_eq!(events[0]["x-connection"]["verdict"], "denied");
}

#[tokio::test]
async fn mail_cannot_be_sent() {
    let fixture = Fixture::new("", Upstream::none());
    for request in [
        "CONNECT mail.invalid:25 HTTP/1.1",
        "CONNECT 127.0.0.1:587 HTTP/1.1",
        "POST http://mail.invalid:25/ HTTP/1.1",
    ] {
        let answer = fixture
            .ask(&format!(
                "{request}\r\nHost: x\r\nConnection: close\r\n\r\n"
            ))
            .await;
        assert!(
            answer.starts_with("HTTP/1.1 403 Forbidden by sandbox policy: ")
                && answer.contains("a port for sending mail"),
            "{request}: {answer}"
        );
    }
}

/// A tunnel may carry any protocol, also one in which the server speaks first.
#[tokio::test]
async fn a_tunnel_carries_other_protocols_than_tls() {
    let server = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = server.local_addr().expect("an address");
    let fixture = Fixture::new("", Upstream::none());
    let mut client = fixture.client().await;
    let connect = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    client.write_all(connect.as_bytes()).await.expect("write");
    let (mut peer, _) = server.accept().await.expect("a connection");
    peer.write_all(b"SSH-2.0-server\r\n").await.expect("write");
    let mut text = String::new();
    while !text.ends_with("server\r\n") {
        text.push(char::from(client.read_u8().await.expect("an answer")));
    }
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn names_of_one_sandbox_that_hang_do_not_stop_another() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (started, mut starts) = mpsc::unbounded_channel();
    let released = std::sync::Mutex::new(released);
    let mut policy = Policy::new(Vec::new(), Vec::new());
    policy.open = vec!["127.0.0.0/8".parse().expect("a network")];
    let mut dialer = Dialer::new(policy, Upstream::none());
    dialer.lookups = Arc::new(LookupPool::with_resolver(Arc::new(move |name| {
        if name.ends_with("stuck.invalid") {
            let _ = started.send(());
            // Until the sender is dropped.
            let _ = released.lock().map(|released| released.recv());
        }
        Ok(vec![std::net::Ipv4Addr::LOCALHOST.into()])
    })));
    let dialer = Arc::new(dialer);
    let hostile = [
        Fixture::with_dialer(&dialer, traffic::IDLE_TIMEOUT),
        Fixture::with_dialer(&dialer, traffic::IDLE_TIMEOUT),
    ];
    let mut clients = Vec::new();
    for fixture in &hostile {
        for number in 0..60 {
            let mut client = fixture.client().await;
            let head = format!("CONNECT {number}.stuck.invalid:443 HTTP/1.1\r\nHost: x\r\n\r\n");
            client.write_all(head.as_bytes()).await.expect("write");
            clients.push(client);
        }
    }
    // Each sandbox has eight look-ups at once.
    for _ in 0..16 {
        starts.recv().await.expect("a look-up");
    }
    let (address, _received) = server(&[OK]).await;
    let other = Fixture::with_dialer(&dialer, traffic::IDLE_TIMEOUT);
    let answer = other
        .ask(&format!(
            "GET http://fine.invalid:{}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            address.port()
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(starts.try_recv().is_err(), "more than a sandbox's share");
    drop(release);
}

#[tokio::test]
async fn a_denial_names_its_rule_and_a_closed_port_is_a_failure() {
    let fixture = Fixture::new("127.0.0.2, bad.example", Upstream::none());
    let answer = fixture
        .ask("CONNECT bad.example:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answer.contains("bad.example is denied by the rule bad.example"),
        "{answer}"
    );
    let answer = fixture
        .ask("CONNECT 127.0.0.2:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.contains("denied by the rule 127.0.0.2"), "{answer}");
    // Bound without listening, so that no other process gets the port.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    let any = "127.0.0.1:0".parse().expect("an address");
    socket.bind(any).expect("bind");
    let closed = socket.local_addr().expect("an address");
    let answer = fixture
        .ask(&format!(
            "CONNECT {closed} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ))
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 502 cannot connect to"),
        "{answer}"
    );
    let (denied, events) = fixture.end().await;
    assert!(denied.expect("a line").starts_with("2 connections"));
    assert_eq!(events[3]["x-connections"]["failed"], 1);
}

#[tokio::test]
async fn ambiguous_framing_is_refused() {
    let fixture = Fixture::new("", Upstream::none());
    let (address, mut received) = server(&[OK]).await;
    for head in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: +3\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: y\r\n continued: z\r\nContent-Length: x\r\n",
    ] {
        let request = format!(
            "POST http://{address}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n0\r\n\r\n"
        );
        let answer = fixture.ask(&request).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{head}{answer}"
        );
    }
    let large = format!(
        "GET http://{address}/ HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "y".repeat(100_000)
    );
    let answer = fixture.ask(&large).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    assert!(received.try_recv().is_err(), "the server was reached");
    // A request with both headers is framed again. Bytes after its body are not part of it.
    let both = format!(
        "POST http://{address}/first HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nGET http://{address}/second HTTP/1.1\r\nHost: x\r\n\r\n"
    );
    let answer = fixture.ask(&both).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(received.recv().await.as_deref(), Some("connected"));
    let first = received.recv().await.expect("a request").to_lowercase();
    assert!(
        first.starts_with("post /first ")
            && !first.contains("content-length")
            && !first.contains("second"),
        "{first}"
    );
}

#[tokio::test]
async fn a_silent_server_times_out_and_a_slow_upload_does_not() {
    let idle = Duration::from_secs(1);
    let fixture = Fixture::with_idle_timeout(idle);
    let (address, _received) = server(&[OK, OK]).await;
    let mut client = fixture.client().await;
    // The second upload reuses the connection of the first.
    for connection in ["keep-alive", "close"] {
        let begun = Instant::now();
        let head = format!(
            "PUT http://{address}/ HTTP/1.1\r\nHost: {address}\r\nConnection: {connection}\r\nContent-Length: 10\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.expect("write");
        for _ in 0..10 {
            tokio::time::sleep(idle / 4).await;
            client.write_all(b".").await.expect("write");
        }
        assert!(begun.elapsed() > idle * 2);
        let mut answer = vec![0; 15];
        client.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(answer, b"HTTP/1.1 200 OK");
        let mut end = Vec::new();
        while !end.ends_with(b"\r\n\r\nhi") {
            end.push(client.read_u8().await.expect("all of it"));
        }
    }
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = silent.local_addr().expect("an address");
    let begun = Instant::now();
    let answer = fixture
        .ask(&format!(
            "GET http://{address}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(begun.elapsed() >= idle);
}

#[tokio::test]
async fn the_machines_own_proxy_is_used() {
    let (address, mut received) = server(&[
        "HTTP/1.1 200 Fine\r\n\r\n",
        OK,
        "HTTP/1.1 407 Who are you\r\n\r\n",
    ])
    .await;
    let fixture = Fixture::new(
        "",
        Upstream::all(&format!("http://user:secret@{address}"), ""),
    );
    let mut client = fixture.client().await;
    client
        .write_all(b"CONNECT nowhere.invalid:443 HTTP/1.1\r\nHost: nowhere.invalid:443\r\n\r\n")
        .await
        .expect("write");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(client.read_u8().await.expect("a head")));
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(received.recv().await.as_deref(), Some("connected"));
    let forwarded = received.recv().await.expect("a request");
    assert!(
        forwarded.starts_with("CONNECT nowhere.invalid:443 HTTP/1.1\r\n"),
        "{forwarded}"
    );
    assert!(
        forwarded.contains("Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"),
        "{forwarded}"
    );
    drop(client);
    let mut client = fixture.client().await;
    client
        .write_all(b"GET http://nowhere.invalid/path HTTP/1.1\r\nHost: nowhere.invalid\r\nConnection: close\r\n\r\n")
        .await
        .expect("write");
    let answer = all(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(received.recv().await.as_deref(), Some("connected"));
    let forwarded = received.recv().await.expect("a request");
    assert!(
        forwarded.starts_with("GET http://nowhere.invalid/path HTTP/1.1\r\n"),
        "{forwarded}"
    );
    assert!(
        forwarded
            .to_lowercase()
            .contains("proxy-authorization: basic dxnlcjpzzwnyzxq="),
        "{forwarded}"
    );
    let answer = fixture
        .ask("CONNECT nowhere.invalid:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 502 this machine's proxy"),
        "{answer}"
    );
    // Addresses are checked even though the proxy resolves names itself.
    let answer = fixture
        .ask("CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let (_, events) = fixture.end().await;
    assert_eq!(events[0]["x-connection"]["via"], address.to_string());
    assert!(
        events[0]["x-connection"]["reason"]
            .as_str()
            .is_some_and(|text| text.contains("only the name"))
    );
    let text = serde_json::to_string(&events).expect("JSON");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn header_names_keep_their_case() {
    let fixture = Fixture::new("", Upstream::none());
    let answer =
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-MiXed: 1\r\nlower: 2\r\nETag: \"x\"\r\n\r\nhi";
    let (address, mut received) = server(&[answer, answer]).await;
    for _ in 0..2 {
        let request = format!(
            "GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\nSOAPAction: a\r\nx-lower: b\r\nX-Two: 1\r\nx-TWO: 2\r\nConnection: close\r\n\r\n"
        );
        let answer = fixture.ask(&request).await;
        for line in [
            "\r\nX-MiXed: 1\r\n",
            "\r\nlower: 2\r\n",
            "\r\nETag: \"x\"\r\n",
        ] {
            assert!(answer.contains(line), "{line}: {answer}");
        }
        assert_eq!(received.recv().await.as_deref(), Some("connected"));
        let request = received.recv().await.expect("a request");
        for line in [
            "\r\nHost: ",
            "\r\nSOAPAction: a\r\n",
            "\r\nx-lower: b\r\n",
            "\r\nX-Two: 1\r\n",
            "\r\nx-TWO: 2\r\n",
        ] {
            assert!(request.contains(line), "{line}: {request}");
        }
    }
}

#[tokio::test]
async fn heads_are_limited_as_documented() {
    let fixture = Fixture::new("", Upstream::none());
    let lines =
        |count: usize| (0..count).fold(String::new(), |text, n| text + &format!("X-{n}: y\r\n"));
    let request = |address: &SocketAddr, headers: &str| {
        format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
    };
    let (address, mut received) = server(&[OK, OK]).await;
    let large = format!("X: {}\r\n", "y".repeat(60_000));
    for headers in [lines(900), large] {
        let answer = fixture.ask(&request(&address, &headers)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(received.recv().await.as_deref(), Some("connected"));
        let passed = received.recv().await.expect("a request");
        assert!(passed.len() > headers.len(), "{}", passed.len());
    }
    for headers in [lines(1001), format!("X: {}\r\n", "y".repeat(70_000))] {
        let answer = fixture.ask(&request(&address, &headers)).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
    // Answers have the same limits.
    let answer = |headers: String| -> &'static str {
        Box::leak(
            format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{headers}\r\nhi").into_boxed_str(),
        )
    };
    let answers = [
        (answer(lines(900)), "200"),
        (answer(format!("X: {}\r\n", "y".repeat(60_000))), "200"),
        (answer(lines(1001)), "502"),
        (answer(format!("X: {}\r\n", "y".repeat(70_000))), "502"),
    ];
    for (answer, status) in answers {
        let (address, _received) = server(&[answer]).await;
        let seen = fixture.ask(&request(&address, "")).await;
        assert!(
            seen.starts_with(&format!("HTTP/1.1 {status}")),
            "{}",
            &seen[..200.min(seen.len())]
        );
    }
}
