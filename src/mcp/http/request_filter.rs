//! Checks the host, origin and token of requests.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::HttpOptions;
use contree_http::connections::LocalAddress;
use contree_http::{AllowedHosts, BearerToken, OriginError, RequestOrigin, is_host_name};

/// Checks of requests. Clones share the settings.
#[derive(Clone)]
pub(super) struct RequestFilter(Arc<FilterRules>);

struct FilterRules {
    allowed_hosts: AllowedHosts,
    token: Option<BearerToken>,
}

impl RequestFilter {
    pub(super) fn new(options: &HttpOptions) -> Self {
        Self(Arc::new(FilterRules {
            allowed_hosts: AllowedHosts::new(&options.allowed_hosts),
            token: options
                .token
                .as_ref()
                .map(|token| BearerToken::new(&token.0)),
        }))
    }

    /// Returns the answer that refuses a request; `None` if the request is allowed. `is_page`
    /// allows links from other sites.
    fn refusal(&self, request: &Request, is_page: bool) -> Option<Response> {
        let local = request.extensions().get::<LocalAddress>();
        let checked = self.0.allowed_hosts.check(&RequestOrigin {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            local_ip: local.and_then(|local| local.0),
            is_page,
        });
        let (status, why) = match checked.err()? {
            OriginError::NoHost => (
                StatusCode::BAD_REQUEST,
                "the Host header is missing or repeated; send it once, with the host name of this server\n",
            ),
            OriginError::UnknownHost(name) => {
                tracing::warn!("refused a request to the host `{}`", name.escape_debug());
                (
                    StatusCode::FORBIDDEN,
                    "this host name is not allowed; start the server with --http-allow-host NAME to allow it\n",
                )
            }
            OriginError::CrossOrigin(origin) => {
                tracing::warn!(
                    "refused a request from a page of `{}`",
                    origin.escape_debug()
                );
                (
                    StatusCode::FORBIDDEN,
                    "requests from pages of other origins are refused; a proxy must forward the Host header unchanged\n",
                )
            }
        };
        Some((status, why).into_response())
    }

    fn is_authorized(&self, headers: &HeaderMap) -> bool {
        self.0
            .token
            .as_ref()
            .is_none_or(|token| token.check(headers).is_ok())
    }
}

/// Reports whether `text` is a valid value of `--http-allow-host`.
#[must_use]
pub fn is_host(text: &str) -> bool {
    is_host_name(text)
}

/// Refuses requests to other host names, and from pages of other origins.
pub(super) async fn check_origin(
    State(filter): State<RequestFilter>,
    request: Request,
    next: Next,
) -> Response {
    match filter.refusal(&request, false) {
        None => next.run(request).await,
        Some(refused) => refused,
    }
}

/// Refuses requests as [`check_origin`] does, but allows links from other sites.
pub(super) async fn check_page_origin(
    State(filter): State<RequestFilter>,
    request: Request,
    next: Next,
) -> Response {
    match filter.refusal(&request, true) {
        None => next.run(request).await,
        Some(refused) => refused,
    }
}

/// Refuses requests without the token.
pub(super) async fn check_token(
    State(filter): State<RequestFilter>,
    request: Request,
    next: Next,
) -> Response {
    if filter.is_authorized(request.headers()) {
        return next.run(request).await;
    }
    let challenge = if request.headers().contains_key(header::AUTHORIZATION) {
        "Bearer realm=\"contree-mcp\", error=\"invalid_token\""
    } else {
        "Bearer realm=\"contree-mcp\""
    };
    let mut answer = (
        StatusCode::UNAUTHORIZED,
        "send this server's token as `Authorization: Bearer TOKEN`\n",
    )
        .into_response();
    answer.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static(challenge),
    );
    answer
}
