//! MCP over HTTP: the endpoint `/mcp`, a page for people at `/`, `/healthz`, and who may use them.
//!
//! One session and one engine serve all connections. Sessions of clients before protocol 2026-07-28 are kept in memory;
//! later clients have none, and each of their requests stands alone.

mod activity;
mod api;
mod endpoint;
mod guard;
mod markdown;
mod page;
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
use super::ending::Ending;
use super::server::Server;
use crate::tools::Session;
use activity::Activity;
use contree_http::MIN_TOKEN_BYTES;
use contree_http::connections::{self, ConnectionBounds, Shutdown};
use endpoint::Endpoint;
use guard::Guard;

pub use guard::is_host;

/// How long calls in flight may go on once the process is asked to end.
const GRACE: Duration = Duration::from_secs(5);
/// How long cancelled calls may take to clean up.
const CLEAN_UP: Duration = Duration::from_secs(3);
/// What connections may do.
const BOUNDS: ConnectionBounds = ConnectionBounds {
    max_connections: 512,
    write_timeout: Some(Duration::from_secs(60)),
    buffer_bytes: Some(64 * 1024),
    drain_timeout: Duration::from_secs(1),
};

/// Where to listen, and for whom.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpOptions {
    /// The address to listen on.
    pub listen: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// What clients must send as bearer token. Needed beyond loopback.
    pub token: Option<Token>,
    /// AllowedHosts under which clients reach the server, besides loopback names and its addresses: `NAME` or `NAME:PORT`.
    pub allowed_hosts: Vec<String>,
}

/// A secret; it is never shown.
#[derive(Clone)]
pub struct Token(Arc<str>);

/// Why a text is no token. It never shows the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidToken {
    /// It is so short that others could guess it.
    #[error(
        "the token has {0} characters, and needs at least {MIN_TOKEN_BYTES}: make one with `openssl rand -hex 32`"
    )]
    TooShort(usize),
    /// A header cannot carry it.
    #[error("the token may have only printable ASCII characters without spaces")]
    Characters,
}

impl Token {
    /// A token of at least 16 printable ASCII characters without spaces, as headers can carry it.
    ///
    /// # Errors
    /// Says what is wrong with it, without showing it.
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
    /// On this address and port, without a token.
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

/// A server that has its port, and answers once it is [run](Self::run).
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    options: HttpOptions,
}

impl HttpServer {
    /// Takes the port.
    ///
    /// # Errors
    /// When the port cannot be had, or others than this machine could reach the server and no token is set.
    pub async fn bind(options: HttpOptions) -> Result<Self, ServeError> {
        if options.token.is_none() && !options.listen.to_canonical().is_loopback() {
            return Err(ServeError::Listen(format!(
                "{} can be reached from other machines, so clients must show a token: write one to a file (`openssl rand \
                 -hex 32`) and give --http-token-file FILE, or listen on 127.0.0.1",
                options.listen
            )));
        }
        let asked = SocketAddr::new(options.listen, options.port);
        let failed =
            |error| ServeError::Listen(format!("cannot listen on http://{asked}: {error}"));
        let listener = TcpListener::bind(asked).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            options,
        })
    }

    /// The URL of the page; the endpoint is `/mcp` below it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until `stop` is cancelled. Then calls in flight get five seconds, after which they are cancelled.
    ///
    /// Returns when they have cleaned up, or after a few seconds more.
    pub async fn run(self, session: Arc<Session>, stop: CancellationToken) {
        let ending = Ending::new(stop.clone());
        let ends = Shutdown {
            stop: stop.clone(),
            ..Shutdown::default()
        };
        let guard = Guard::new(&self.options);
        let pages = page::router(session.selection(), self.options.token.is_some());
        let activity = Activity::new(session.clone(), stop.clone());
        let server = Arc::new(Server::new(session, ending.clone()));
        let endpoint = Endpoint::new(server, ending.clone(), ends.close_streams.clone());
        let router = router(guard, endpoint, activity, pages, stop.clone());
        let connections = connections::serve(self.listener, router, BOUNDS, ends.clone());
        let end = async {
            stop.cancelled().await;
            if tokio::time::timeout(GRACE, ending.idle()).await.is_err() {
                ending.cancel_calls();
                if tokio::time::timeout(CLEAN_UP, ending.idle()).await.is_err() {
                    tracing::warn!("calls were still cleaning up when the server ended");
                }
            }
            ends.answered.cancel();
        };
        tokio::join!(connections, end);
    }
}

fn router(
    guard: Guard,
    endpoint: Endpoint,
    activity: Activity,
    pages: Router,
    stop: CancellationToken,
) -> Router {
    let protected = Router::new()
        .route("/mcp", any(endpoint::handle))
        .route("/mcp/", any(endpoint::handle))
        .with_state(endpoint)
        .nest("/api", api::router(activity))
        .layer(from_fn_with_state(guard.clone(), guard::check_token))
        .layer(from_fn_with_state(guard.clone(), guard::check_origin));
    // What it says is public; what it shows is asked for with the token.
    let pages = pages
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such page; MCP is at /mcp\n") })
        .layer(from_fn_with_state(guard, guard::check_page_origin));
    // Probes come under any name, and learn nothing.
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

/// What every answer says about itself to browsers.
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
