//! The proxy of one sandbox: HTTP/1.1 with CONNECT and absolute URLs. It serves the listener that
//! the sandbox handed to the engine.

use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contree_sandbox::InterceptedPackets;
use futures_util::FutureExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self as client_http1, SendRequest};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, on};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::connection_context::ConnectionContext;
use super::connection_log::ConnectionLog;
use super::dial::{Dialer, OutgoingConnection, Route};
use super::forwarding::{client_response, outgoing_request, set_request_target};
use super::interception::InterceptedNetwork;
use super::proxy_error::{ProxyBody, ProxyError};
use super::target::Target;
use super::traffic::{self, CountedStream, TrafficMonitor};
use super::upstream::ConnectionPurpose;

/// How long a client may take to send the head of a request, including the time since its last
/// request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest head of a request or of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The most header lines of a request or of an answer.
const MAX_HEADERS: usize = 1000;

/// The limits of one sandbox's proxy.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProxyLimits {
    /// Concurrent connections.
    pub(super) connections: usize,
    /// How long a connection may have no traffic.
    pub(super) idle: Duration,
}

/// A running proxy. Dropping it closes it with all its connections.
pub(crate) struct Proxy {
    stop: CancellationToken,
    task: JoinHandle<()>,
    log: Arc<ConnectionLog>,
    /// The network of programs that know no proxy. It has the same policy, limits and log.
    intercepted: Option<InterceptedNetwork>,
}

impl Proxy {
    /// Starts to accept connections. Needs a Tokio runtime.
    ///
    /// Of more than `limits.connections` connections, further ones wait for one of them to end. A
    /// server must read the next bytes of a request, or begin its response, within `limits.idle`. A
    /// tunnel without traffic for that time is closed.
    pub(super) fn start(
        listener: StdListener,
        packets: Option<InterceptedPackets>,
        dialer: Arc<Dialer>,
        log: ConnectionLog,
        limits: ProxyLimits,
    ) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let log = Arc::new(log);
        let stop = CancellationToken::new();
        let context = ConnectionContext {
            lookups: Arc::new(dialer.lookups.for_sandbox()),
            dialer,
            log: Arc::clone(&log),
            permits: Arc::new(Semaphore::new(limits.connections)),
            idle: limits.idle,
        };
        let intercepted = packets.and_then(|packets| {
            InterceptedNetwork::start(packets, context.clone())
                .inspect_err(|error| tracing::error!(%error, "cannot answer a sandbox's packets"))
                .ok()
        });
        let task = contree_tasks::spawn(accept(listener, context, stop.clone()));
        Ok(Self {
            stop,
            task,
            log,
            intercepted,
        })
    }

    /// Closes the listener and all connections, so that nothing keeps the sandbox's network alive.
    /// No event follows. Returns a summary of the denials, if there were any.
    pub(crate) async fn close(mut self) -> Option<String> {
        self.stop.cancel();
        let _ = (&mut self.task).await;
        if let Some(intercepted) = self.intercepted.take() {
            intercepted.close().await;
        }
        self.log.finish()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, context: ConnectionContext, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    // A permit that waits for a connection would be missing elsewhere.
                    let permit = Arc::clone(&context.permits).acquire_owned().await;
                    let Ok(permit) = permit else { return };
                    let connection = ClientConnection::new(context.clone());
                    let serving = async move {
                        connection.serve(stream).await;
                        drop(permit);
                    };
                    connections.spawn(serving.boxed());
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

/// A client's connection. It handles one request at a time.
struct ClientConnection {
    context: ConnectionContext,
    /// The tunnel to start once the response to CONNECT is sent.
    tunnel: Mutex<Option<(OnUpgrade, TcpStream)>>,
    /// The connection to the last server, reused for further requests to it.
    server: tokio::sync::Mutex<Option<ServerConnection>>,
}

/// A connection to a server, closed on drop.
struct ServerConnection {
    target: Target,
    route: Route,
    sender: SendRequest<Incoming>,
    traffic: TrafficMonitor,
    task: AbortHandle,
}

impl Drop for ServerConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ClientConnection {
    fn new(context: ConnectionContext) -> Arc<Self> {
        Arc::new(Self {
            context,
            tunnel: Mutex::default(),
            server: tokio::sync::Mutex::default(),
        })
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let serving = Arc::clone(&self);
        let service = service_fn(move |request| {
            let connection = Arc::clone(&serving);
            async move { Ok::<_, Infallible>(connection.respond(request).await) }
        });
        // Errors here are the client's, and it notices them itself.
        let _ = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_header_size(MAX_HEAD_BYTES)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .preserve_header_case(true)
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
            let mut outside = CountedStream::new(outside, Arc::clone(&self.context.log.counters));
            traffic::tunnel(&mut TokioIo::new(inside), &mut outside, self.context.idle).await;
        }
    }

    /// Handles a request of the client.
    async fn respond(&self, request: Request<Incoming>) -> Response<ProxyBody> {
        let response = if request.method() == Method::CONNECT {
            self.connect(request).await
        } else {
            self.forward(request).await
        };
        response.unwrap_or_else(|error| error.response())
    }

    /// Opens a tunnel (RFC 9110, section 9.3.6).
    async fn connect(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response<ProxyBody>, ProxyError> {
        let authority = request.uri().authority().map_or("", |a| a.as_str());
        let target = self.target(&Method::CONNECT, authority, None)?;
        let OutgoingConnection { stream, route } = self
            .dial(&Method::CONNECT, &target, ConnectionPurpose::Tunnel)
            .await?;
        self.context.log.record_open("CONNECT", &target, &route);
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((on(&mut request), stream));
        let empty = Empty::new().map_err(|never| match never {});
        Ok(Response::new(empty.boxed()))
    }

    /// Forwards a request with an absolute URL (RFC 9112, section 3.2.2).
    async fn forward(&self, request: Request<Incoming>) -> Result<Response<ProxyBody>, ProxyError> {
        let uri = request.uri().clone();
        let Some(authority) = uri.authority() else {
            return Err(ProxyError::new(
                StatusCode::BAD_REQUEST,
                "this is the sandbox's proxy: send CONNECT or an absolute URL",
            ));
        };
        if uri.scheme_str() != Some("http") {
            return Err(ProxyError::new(
                StatusCode::NOT_IMPLEMENTED,
                "the proxy forwards http:// URLs: use CONNECT for everything else",
            ));
        }
        let method = request.method().clone();
        let target = self.target(&method, authority.as_str(), Some(80))?;
        let mut request = outgoing_request(request, authority.as_str())?;
        let mut slot = self.server.lock().await;
        // The open connection leads to an address that was checked for this very target.
        if let Some(mut server) = slot.take().filter(|server| server.target == target)
            && server.sender.ready().await.is_ok()
        {
            set_request_target(&mut request, &server.route, &uri)?;
            let sending = server.sender.try_send_request(request);
            match server.traffic.unless_idle(self.context.idle, sending).await {
                Some(Ok(response)) => {
                    *slot = Some(server);
                    return Ok(client_response(response));
                }
                // The server closed the connection before it read the request.
                Some(Err(mut error)) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(ProxyError::failed(&target, error.error())),
                },
                None => return Err(ProxyError::timed_out(&target)),
            }
        }
        let OutgoingConnection { stream, route } = self
            .dial(&method, &target, ConnectionPurpose::Requests)
            .await?;
        self.context
            .log
            .record_open(method.as_str(), &target, &route);
        let stream = CountedStream::new(stream, Arc::clone(&self.context.log.counters));
        let traffic = stream.traffic();
        // The default would let a server make the engine keep 400 KiB for each connection.
        let (sender, connection) = client_http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .max_header_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .preserve_header_case(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ProxyError::failed(&target, &error))?;
        let task = contree_tasks::spawn(connection).abort_handle();
        let mut server = ServerConnection {
            target,
            route,
            sender,
            traffic,
            task,
        };
        set_request_target(&mut request, &server.route, &uri)?;
        let sending = server.sender.send_request(request);
        match server.traffic.unless_idle(self.context.idle, sending).await {
            Some(Ok(response)) => {
                *slot = Some(server);
                Ok(client_response(response))
            }
            Some(Err(error)) => Err(ProxyError::failed(&server.target, &error)),
            None => Err(ProxyError::timed_out(&server.target)),
        }
    }

    /// Parses and logs the target of a request.
    fn target(
        &self,
        method: &Method,
        requested: &str,
        port: Option<u16>,
    ) -> Result<Target, ProxyError> {
        Target::parse(requested, port).map_err(|error| {
            self.context
                .log
                .record_invalid_target(method.as_str(), requested, &error);
            ProxyError::denied(&error)
        })
    }

    async fn dial(
        &self,
        method: &Method,
        target: &Target,
        purpose: ConnectionPurpose,
    ) -> Result<OutgoingConnection, ProxyError> {
        let (dialer, lookups) = (&self.context.dialer, &self.context.lookups);
        let connection = dialer.dial(lookups, target, purpose).await;
        connection.map_err(|failure| {
            self.context
                .log
                .record_failure(method.as_str(), target, &failure);
            if failure.is_denied() {
                ProxyError::denied(&failure)
            } else {
                ProxyError::new(failure.status(), &failure.to_string())
            }
        })
    }
}
