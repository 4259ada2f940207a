//! Checks requests to an engine that other programs can reach: host, origin and token.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use contree_error_codes::ErrorCode;
use contree_http::connections::LocalAddress;
use contree_http::{AllowedHosts, BearerToken, OriginError, RequestOrigin, TokenError};

/// The checks that each request must pass.
pub(crate) struct RequestGuard {
    token: Option<BearerToken>,
    hosts: AllowedHosts,
}

impl RequestGuard {
    /// Allows requests with the token, if one is given, to loopback, to the engine's address and to
    /// `hosts`. `None` allows any host: on a unix socket the Host header means nothing.
    pub(crate) fn new(token: Option<&str>, hosts: Option<&[String]>) -> Self {
        Self {
            token: token.map(BearerToken::new),
            hosts: hosts.map_or_else(AllowedHosts::any, AllowedHosts::new),
        }
    }

    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let local_address = request.extensions().get::<LocalAddress>();
        let judgement = self.hosts.check(&RequestOrigin {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            local_ip: local_address.and_then(|address| address.0),
            is_page: false,
        });
        judgement.map_err(|error| {
        forbidden(match error {
                OriginError::NoHost | OriginError::UnknownHost(_) => {
                    "the request's Host is not a name of this engine; start the engine with --allow-host NAME to allow it"
                }
                OriginError::CrossOrigin(_) => "web pages of other origins and sites may not use this engine",
            })
        })?;
        let Some(token) = &self.token else {
            return Ok(());
        };
        token.check(request.headers()).map_err(|error| {
            unauthorized(match error {
                TokenError::Missing => "the header `Authorization: Bearer TOKEN` is missing",
                TokenError::Wrong => "the token is wrong",
            })
        })
    }
}

/// Passes a request on if all checks pass, and answers it with the error otherwise.
pub(crate) async fn check_request(
    State(guard): State<Arc<RequestGuard>>,
    request: Request,
    next: Next,
) -> Response {
    match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn forbidden(message: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, ErrorCode::OriginRefused, message)
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, ErrorCode::TokenRejected, message)
}

/// Whether an address is a loopback address, including an IPv4 address mapped to IPv6.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback() || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(guard: &RequestGuard, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri("/v1/whoami");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        match guard.check(&request) {
            Ok(()) => 200,
            Err(error) => error.into_response().status().as_u16(),
        }
    }

    #[test]
    fn on_tcp_host_and_origin_are_checked_before_the_token() {
        let hosts = ["engine.example".to_owned()];
        let guard = RequestGuard::new(Some("s3cret"), Some(&hosts));
        let token = ("authorization", "Bearer s3cret");
        for (headers, status) in [
            (vec![("host", "engine.example"), token], 200),
            (vec![("host", "engine.example")], 401),
            (
                vec![
                    ("host", "engine.example"),
                    ("authorization", "Bearer s3cre"),
                ],
                401,
            ),
            (vec![("host", "other.example"), token], 403),
            (vec![token], 403),
            (
                vec![
                    ("host", "localhost:1"),
                    ("origin", "http://localhost:2"),
                    token,
                ],
                403,
            ),
            (
                vec![
                    ("host", "localhost:1"),
                    ("sec-fetch-site", "same-site"),
                    token,
                ],
                403,
            ),
        ] {
            assert_eq!(status_of(&guard, &headers), status, "{headers:?}");
        }
    }

    #[test]
    fn on_a_unix_socket_any_host_is_allowed() {
        let guard = RequestGuard::new(None, None);
        assert_eq!(status_of(&guard, &[("host", "whatever")]), 200);
        let page = [("host", "whatever"), ("origin", "http://other.example")];
        assert_eq!(status_of(&guard, &page), 403);
        let guard = RequestGuard::new(Some("s3cret"), None);
        assert_eq!(status_of(&guard, &[]), 401);
    }
}
