//! Who may ask: the name that a request was sent to, the page that it comes from, and its token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::HttpOptions;
use contree_http::connections::LocalAddress;
use contree_http::{AllowedHosts, BearerToken, OriginError, RequestOrigin, is_host_name};

/// What requests are compared with.
#[derive(Clone)]
pub(super) struct Guard(Arc<Checks>);

struct Checks {
    names: AllowedHosts,
    token: Option<BearerToken>,
}

impl Guard {
    pub(super) fn new(options: &HttpOptions) -> Self {
        Self(Arc::new(Checks {
            names: AllowedHosts::new(&options.allowed_hosts),
            token: options
                .token
                .as_ref()
                .map(|token| BearerToken::new(&token.0)),
        }))
    }

    /// What is answered to a request that may not pass.
    fn refusal(&self, request: &Request, page: bool) -> Option<Response> {
        let reached = request.extensions().get::<LocalAddress>();
        let judged = self.0.names.check(&RequestOrigin {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            local_ip: reached.and_then(|reached| reached.0),
            is_page: page,
        });
        let (status, why) = match judged.err()? {
            OriginError::NoHost => (StatusCode::BAD_REQUEST, "the Host header is missing\n"),
            OriginError::UnknownHost(name) => {
                tracing::warn!("refused a request to the host `{}`", name.escape_debug());
                (
                    StatusCode::FORBIDDEN,
                    "this server does not answer to that name; --http-allow-host NAME adds one\n",
                )
            }
            OriginError::CrossOrigin(of) => {
                tracing::warn!("refused a request from a page of `{}`", of.escape_debug());
                (
                    StatusCode::FORBIDDEN,
                    "requests from pages of other origins are refused; a proxy has to pass the Host header on\n",
                )
            }
        };
        Some((status, why).into_response())
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        self.0
            .token
            .as_ref()
            .is_none_or(|token| token.check(headers).is_ok())
    }
}

/// Whether `--http-allow-host` can be this.
#[must_use]
pub fn is_host(text: &str) -> bool {
    is_host_name(text)
}

/// Refuses requests to a name that is not ours, and from pages that are not.
pub(super) async fn check_origin(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Response {
    match guard.refusal(&request, false) {
        None => next.run(request).await,
        Some(refused) => refused,
    }
}

/// The same, but links of other sites may lead there.
pub(super) async fn check_page_origin(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Response {
    match guard.refusal(&request, true) {
        None => next.run(request).await,
        Some(refused) => refused,
    }
}

/// Refuses requests without the token.
pub(super) async fn check_token(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Response {
    if guard.has_token(request.headers()) {
        return next.run(request).await;
    }
    let challenge = if request.headers().contains_key(header::AUTHORIZATION) {
        "Bearer realm=\"contree-mcp\", error=\"invalid_token\""
    } else {
        "Bearer realm=\"contree-mcp\""
    };
    let mut answer = (
        StatusCode::UNAUTHORIZED,
        "send the server's token: `Authorization: Bearer TOKEN`\n",
    )
        .into_response();
    answer.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static(challenge),
    );
    answer
}
