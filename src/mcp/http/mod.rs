//! MCP over HTTP: the endpoint `/mcp`, a web page at `/`, and `/healthz`, with access checks.
//!
//! One session and one engine serve all connections. Protocol sessions exist only for
//! clients of versions before 2026-07-28, and are kept in memory. Each request of a later client
//! stands alone.

mod actions;
mod activity;
mod answers;
mod api;
mod endpoint;
mod image_api;
mod markdown;
mod operation_record;
mod page;
mod request_filter;
mod sessions;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::ServeError;
use super::call_shutdown::CallShutdown;
use super::server::Server;
use crate::tools::Session;
use activity::ActivityMonitor;
use contree_http::MIN_TOKEN_BYTES;
use contree_http::connections::{self, ConnectionBounds, Shutdown};
use endpoint::Endpoint;
use request_filter::RequestFilter;

pub use request_filter::is_host;

/// How long calls in flight may continue after the process was asked to end.
const GRACE_PERIOD: Duration = Duration::from_secs(5);
/// How long cancelled calls may take to clean up.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(3);
/// Bounds of connections.
const BOUNDS: ConnectionBounds = ConnectionBounds {
    max_connections: 512,
    max_per_peer: None,
    write_timeout: Some(Duration::from_secs(60)),
    body_timeout: Some(Duration::from_secs(60)),
    buffer_bytes: Some(64 * 1024),
    drain_timeout: Duration::from_secs(1),
};

/// Options of the HTTP server: its address, and who may use it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpOptions {
    /// The address to listen on.
    pub listen: IpAddr,
    /// The port; 0 selects a free one.
    pub port: u16,
    /// The bearer token that clients must send. Required unless `listen` is a loopback address.
    pub token: Option<Token>,
    /// Further host names of this server, as `NAME` or `NAME:PORT`. Loopback names and its own
    /// addresses are always allowed.
    pub allowed_hosts: Vec<String>,
}

/// A bearer token. `Debug` hides it.
#[derive(Clone)]
pub struct Token(Arc<str>);

/// Reasons why a text is not a valid token. The message never contains the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidToken {
    /// The text is too short to resist guessing.
    #[error(
        "the token has {0} characters but needs at least {MIN_TOKEN_BYTES}; create one with `openssl rand -hex 32`"
    )]
    TooShort(usize),
    /// The text has characters that a header cannot carry.
    #[error(
        "the token may contain only printable ASCII characters and no spaces; create one with `openssl rand -hex 32`"
    )]
    Characters,
}

impl Token {
    /// Creates a token from at least 16 printable ASCII characters without spaces.
    ///
    /// # Errors
    /// If the text is too short or has other characters. The error does not contain the text.
    pub fn new(text: &str) -> Result<Self, InvalidToken> {
        if text.len() < MIN_TOKEN_BYTES {
            return Err(InvalidToken::TooShort(text.len()));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidToken::Characters);
        }
        Ok(Self(text.into()))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<hidden>")
    }
}

impl HttpOptions {
    /// Creates options with this address and port, and without a token.
    #[must_use]
    pub fn new(listen: IpAddr, port: u16) -> Self {
        Self {
            listen,
            port,
            token: None,
            allowed_hosts: Vec::new(),
        }
    }
}

/// A server that listens, and answers once it is [run](Self::run).
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    options: HttpOptions,
}

impl HttpServer {
    /// Binds the address and port.
    ///
    /// # Errors
    /// If the address cannot be bound, or is not loopback and no token is set.
    pub async fn bind(options: HttpOptions) -> Result<Self, ServeError> {
        if options.token.is_none() && !options.listen.to_canonical().is_loopback() {
            return Err(ServeError::Listen(format!(
                "other machines can reach {}, so clients must send a token: write one to a file (`openssl rand -hex 32`) \
                 and pass --http-token-file FILE, or listen on 127.0.0.1",
                options.listen
            )));
        }
        let wanted = SocketAddr::new(options.listen, options.port);
        let failed = |error| {
            ServeError::Listen(format!(
                "cannot listen on http://{wanted}: {error}; choose another --http-listen or --http-port"
            ))
        };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            options,
        })
    }

    /// Returns the URL of the web page; the endpoint is `/mcp` below it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until `stop` is cancelled. Calls in flight then get five seconds before they are
    /// cancelled.
    ///
    /// Returns when they have cleaned up, or after three seconds more.
    pub async fn run(self, session: Arc<Session>, stop: CancellationToken) {
        let shutdown = CallShutdown::new(stop.clone());
        let connection_shutdown = Shutdown {
            stop: stop.clone(),
            ..Shutdown::default()
        };
        let filter = RequestFilter::new(&self.options);
        let pages = page::router(session.selection(), self.options.token.is_some());
        let activity = ActivityMonitor::new(session.clone(), stop.clone());
        let server = Arc::new(Server::new(session, shutdown.clone()));
        let endpoint = Endpoint::new(
            server,
            shutdown.clone(),
            connection_shutdown.close_streams.clone(),
        );
        let router = router(filter, endpoint, activity, pages, stop.clone());
        let connections =
            connections::serve(self.listener, router, BOUNDS, connection_shutdown.clone());
        let end = async {
            stop.cancelled().await;
            if tokio::time::timeout(GRACE_PERIOD, shutdown.idle())
                .await
                .is_err()
            {
                shutdown.cancel_calls();
                if tokio::time::timeout(CLEAN_UP_TIMEOUT, shutdown.idle())
                    .await
                    .is_err()
                {
                    tracing::warn!("calls were still cleaning up when the server ended");
                }
            }
            connection_shutdown.answered.cancel();
        };
        tokio::join!(connections, end);
    }
}

fn router(
    filter: RequestFilter,
    endpoint: Endpoint,
    activity: ActivityMonitor,
    pages: Router,
    stop: CancellationToken,
) -> Router {
    let protected = Router::new()
        .route("/mcp", any(endpoint::handle))
        .route("/mcp/", any(endpoint::handle))
        .with_state(endpoint)
        .nest("/api", api::router(activity))
        .layer(from_fn_with_state(
            filter.clone(),
            request_filter::check_token,
        ))
        .layer(from_fn_with_state(
            filter.clone(),
            request_filter::check_origin,
        ));
    // The page itself is public. Its script needs the token to fetch data.
    let pages = pages
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                "there is no such page; the MCP endpoint is /mcp\n",
            )
        })
        .layer(from_fn_with_state(
            filter,
            request_filter::check_page_origin,
        ));
    // Health probes may use any host name; the answer reveals only whether the server is stopping.
    let health = Router::new()
        .route("/healthz", get(health))
        .with_state(stop);
    protected.merge(pages).merge(health).layer(from_fn(headers))
}

async fn health(State(stop): State<CancellationToken>) -> Response {
    if stop.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    } else {
        "ok\n".into_response()
    }
}

/// Adds security headers for browsers to every answer.
async fn headers(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            header::HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
    answer
}
