//! The proxy of one sandbox: HTTP/1.1 with CONNECT and absolute URLs. It serves the listener that
//! the sandbox handed to the engine.

use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, on};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::connection_log::ConnectionLog;
use super::counted::{self, Counted, Traffic};
use super::dial::{Dialer, Link, Route};
use super::target::Target;
use super::upstream::Purpose;

/// Concurrent connections of one sandbox; further ones wait for one of them to end.
const CONNECTIONS: usize = 128;
/// How long a client may take to send the head of a request, including the time since its last
/// request.
const HEAD: Duration = Duration::from_secs(60);
/// The largest head of a request, in bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// The longest reason in a status line, in bytes.
const REASON: usize = 300;

type Body = BoxBody<Bytes, hyper::Error>;

/// Headers that concern one connection only (RFC 9110, section 7.6.1), and those that the proxy
/// itself answers.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A running proxy. Dropping it closes it with all its connections.
pub(crate) struct Proxy {
    stop: CancellationToken,
    task: JoinHandle<()>,
    log: Arc<ConnectionLog>,
}

impl Proxy {
    /// Starts to accept connections. Needs a Tokio runtime.
    ///
    /// A server must read the next bytes of a request, or begin its response, within `idle`. A
    /// tunnel without traffic for `idle` is closed.
    pub(super) fn start(
        listener: StdListener,
        dialer: Arc<Dialer>,
        log: ConnectionLog,
        idle: Duration,
    ) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let log = Arc::new(log);
        let stop = CancellationToken::new();
        let shared = Shared {
            dialer,
            log: Arc::clone(&log),
            idle,
        };
        let task = tokio::spawn(accept(listener, shared, stop.clone()));
        Ok(Self { stop, task, log })
    }

    /// Closes the listener and all connections, so that nothing keeps the sandbox's network alive.
    /// No event follows. Returns a summary of the denials, if there were any.
    pub(crate) async fn close(mut self) -> Option<String> {
        self.stop.cancel();
        let _ = (&mut self.task).await;
        self.log.finish()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Shared, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = Connection::new(shared.clone());
                    connections.spawn(async move {
                        connection.serve(stream).await;
                        drop(permit);
                    });
                }
                // Descriptors or memory may become available soon.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accepting => {}
    }
    drop(listener);
    connections.shutdown().await;
}

/// The state that all connections of a proxy share.
#[derive(Clone)]
struct Shared {
    dialer: Arc<Dialer>,
    log: Arc<ConnectionLog>,
    idle: Duration,
}

/// A client's connection. It handles one request at a time.
struct Connection {
    shared: Shared,
    /// The tunnel to start once the response to CONNECT is sent.
    tunnel: Mutex<Option<(OnUpgrade, TcpStream)>>,
    /// The connection to the last server, reused for further requests to it.
    server: tokio::sync::Mutex<Option<Server>>,
}

/// A connection to a server, closed on drop.
struct Server {
    target: Target,
    route: Route,
    sender: SendRequest<Incoming>,
    traffic: Traffic,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    fn new(shared: Shared) -> Arc<Self> {
        Arc::new(Self {
            shared,
            tunnel: Mutex::default(),
            server: tokio::sync::Mutex::default(),
        })
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let serving = Arc::clone(&self);
        let service = service_fn(move |request| {
            let connection = Arc::clone(&serving);
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        });
        // Errors here are the client's, and it notices them itself.
        let _ = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_header_size(HEAD_BYTES)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
        let tunnel = self
            .tunnel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((upgrade, outside)) = tunnel
            && let Ok(inside) = upgrade.await
        {
            let mut outside = Counted::new(outside, Arc::clone(&self.shared.log.counters));
            counted::tunnel(&mut TokioIo::new(inside), &mut outside, self.shared.idle).await;
        }
    }

    /// Handles a request of the client.
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let response = if request.method() == Method::CONNECT {
            self.connect(request).await
        } else {
            self.forward(request).await
        };
        response.unwrap_or_else(|error| error.response())
    }

    /// Opens a tunnel (RFC 9110, section 9.3.6).
    async fn connect(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let authority = request.uri().authority().map_or("", |a| a.as_str());
        let target = self.target(&Method::CONNECT, authority, None)?;
        let Link { stream, route } = self
            .dial(&Method::CONNECT, &target, Purpose::Tunnel)
            .await?;
        self.shared.log.made("CONNECT", &target, &route);
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((on(&mut request), stream));
        Ok(Response::new(empty()))
    }

    /// Forwards a request with an absolute URL (RFC 9112, section 3.2.2).
    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let uri = request.uri().clone();
        let Some(authority) = uri.authority() else {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "this is the sandbox's proxy: send CONNECT or an absolute URL",
            ));
        };
        if uri.scheme_str() != Some("http") {
            return Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "the proxy forwards http:// URLs: use CONNECT for everything else",
            ));
        }
        let method = request.method().clone();
        let target = self.target(&method, authority.as_str(), Some(80))?;
        let mut request = outgoing(request, authority.as_str())?;
        let mut slot = self.server.lock().await;
        // The open connection leads to an address that was checked for this very target.
        if let Some(mut server) = slot.take().filter(|server| server.target == target)
            && server.sender.ready().await.is_ok()
        {
            server.route.address(&mut request, &uri)?;
            let sending = server.sender.try_send_request(request);
            match server.traffic.during(self.shared.idle, sending).await {
                Some(Ok(response)) => {
                    *slot = Some(server);
                    return Ok(incoming(response));
                }
                // The server closed the connection before it read the request.
                Some(Err(mut error)) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Refusal::broken(&target, error.error())),
                },
                None => return Err(Refusal::silent(&target)),
            }
        }
        let Link { stream, route } = self.dial(&method, &target, Purpose::Requests).await?;
        self.shared.log.made(method.as_str(), &target, &route);
        let stream = Counted::new(stream, Arc::clone(&self.shared.log.counters));
        let traffic = stream.traffic();
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Refusal::broken(&target, &error))?;
        let task = tokio::spawn(connection).abort_handle();
        let mut server = Server {
            target,
            route,
            sender,
            traffic,
            task,
        };
        server.route.address(&mut request, &uri)?;
        let sending = server.sender.send_request(request);
        match server.traffic.during(self.shared.idle, sending).await {
            Some(Ok(response)) => {
                *slot = Some(server);
                Ok(incoming(response))
            }
            Some(Err(error)) => Err(Refusal::broken(&server.target, &error)),
            None => Err(Refusal::silent(&server.target)),
        }
    }

    /// Parses and logs the target of a request.
    fn target(&self, method: &Method, requested: &str, port: Option<u16>) -> Result<Target, Refusal> {
        Target::parse(requested, port).map_err(|error| {
            self.shared.log.unreadable(method.as_str(), requested, &error);
            Refusal::denied(&error)
        })
    }

    async fn dial(
        &self,
        method: &Method,
        target: &Target,
        purpose: Purpose,
    ) -> Result<Link, Refusal> {
        let connection = self.shared.dialer.dial(target, purpose).await;
        connection.map_err(|failure| {
            self.shared.log.refused(method.as_str(), target, &failure);
            if failure.is_denied() {
                Refusal::denied(&failure)
            } else {
                Refusal::new(failure.status(), &failure.to_string())
            }
        })
    }
}

impl Route {
    /// Sets the request target in the form that the next hop expects.
    fn address<T>(&self, request: &mut Request<T>, uri: &Uri) -> Result<(), Refusal> {
        match self {
            Self::Direct(_) => {
                let path = uri.path_and_query().map_or("/", |path| path.as_str());
                *request.uri_mut() = path.parse().map_err(|_| Refusal::malformed())?;
            }
            Self::Upstream { via, .. } => {
                *request.uri_mut() = uri.clone();
                if let Some(authorization) = &via.authorization {
                    request
                        .headers_mut()
                        .insert(header::PROXY_AUTHORIZATION, authorization.clone());
                }
            }
        }
        Ok(())
    }
}

/// Rewrites a request for the next hop. Its body is framed again from what was parsed, so that the
/// framing cannot hide a second request.
fn outgoing(request: Request<Incoming>, authority: &str) -> Result<Request<Incoming>, Refusal> {
    let (mut parts, body) = request.into_parts();
    // If a request has both headers, only the transfer coding counts (RFC 9112, section 6.3).
    if parts.headers.contains_key(header::TRANSFER_ENCODING) {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    strip(&mut parts.headers);
    let host = HeaderValue::from_str(authority).map_err(|_| Refusal::malformed())?;
    parts.headers.insert(header::HOST, host);
    parts.version = http::Version::HTTP_11;
    parts.extensions.clear();
    Ok(Request::from_parts(parts, body))
}

/// Rewrites a response for the client.
fn incoming(response: Response<Incoming>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    strip(&mut parts.headers);
    parts.version = http::Version::HTTP_11;
    Response::from_parts(parts, body.boxed())
}

/// Removes the headers that are not for the next hop, and those that `Connection` lists.
fn strip(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A client may not remove these.
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST)
        .collect();
    for name in listed
        .iter()
        .map(HeaderName::as_str)
        .chain(HOP_BY_HOP.iter().copied())
    {
        headers.remove(name);
    }
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// An error response of the proxy itself.
struct Refusal {
    status: StatusCode,
    reason: String,
}

impl Refusal {
    fn new(status: StatusCode, why: &str) -> Self {
        Self {
            status,
            reason: why.to_owned(),
        }
    }

    fn denied(why: &impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            &format!("Forbidden by sandbox policy: {why}"),
        )
    }

    fn malformed() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "the request is malformed")
    }

    fn broken(target: &Target, error: &hyper::Error) -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            &format!("the connection to {target} failed: {error}"),
        )
    }

    fn silent(target: &Target) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            &format!("{target} does not answer"),
        )
    }

    fn response(&self) -> Response<Body> {
        let mut line: String = self
            .reason
            .chars()
            .map(|c| {
                if c == ' ' || c.is_ascii_graphic() {
                    c
                } else {
                    '?'
                }
            })
            .collect();
        line.truncate(REASON);
        let body = Full::new(Bytes::from(format!("{line}\n")));
        let mut response = Response::new(body.map_err(|never| match never {}).boxed());
        *response.status_mut() = self.status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        // Tools show the status line, and nothing else of a refused CONNECT.
        if let Ok(phrase) = ReasonPhrase::try_from(line) {
            response.extensions_mut().insert(phrase);
        }
        response
    }
}
