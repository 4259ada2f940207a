//! Who may use an engine that listens where others can reach it.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use contree_http::connections::LocalAddress;
use contree_http::{AllowedHosts, BearerToken, OriginError, RequestOrigin, TokenError};

/// What a request must bring.
pub(crate) struct Access {
    token: Option<BearerToken>,
    names: AllowedHosts,
}

impl Access {
    /// `names`: those that the engine goes by besides loopback and its address; `None` on a unix socket, where they mean nothing.
    pub(crate) fn new(token: Option<&str>, names: Option<&[String]>) -> Self {
        Self {
            token: token.map(BearerToken::new),
            names: names.map_or_else(AllowedHosts::any, AllowedHosts::new),
        }
    }

    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let reached = request.extensions().get::<LocalAddress>();
        let judged = self.names.check(&RequestOrigin {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            local_ip: reached.and_then(|reached| reached.0),
            is_page: false,
        });
        judged.map_err(|stranger| {
            forbidden(match stranger {
                OriginError::NoHost | OriginError::UnknownHost(_) => {
                    "the request names another host than this engine's; start it with --allow-host NAME to go by that name"
                }
                OriginError::CrossOrigin(_) => "pages of other origins and sites may not use this engine",
            })
        })?;
        let Some(token) = &self.token else {
            return Ok(());
        };
        token.check(request.headers()).map_err(|error| {
            unauthorized(match error {
                TokenError::Missing => "the header `Authorization: Bearer TOKEN` is missing",
                TokenError::Wrong => "this token is not the engine's",
            })
        })
    }
}

/// Lets a request through, or answers it.
pub(crate) async fn check(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    match access.check(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn forbidden(message: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, message)
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, message)
}

/// Whether an address is one of loopback, also as an IPv4 address in an IPv6 one.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback() || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(access: &Access, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri("/v1/whoami");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        match access.check(&request) {
            Ok(()) => 200,
            Err(error) => error.into_response().status().as_u16(),
        }
    }

    #[test]
    fn on_tcp_host_and_page_count_before_the_token() {
        let names = ["engine.example".to_owned()];
        let access = Access::new(Some("s3cret"), Some(&names));
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
            assert_eq!(verdict(&access, &headers), status, "{headers:?}");
        }
    }

    #[test]
    fn on_a_unix_socket_the_host_means_nothing() {
        let access = Access::new(None, None);
        assert_eq!(verdict(&access, &[("host", "whatever")]), 200);
        let page = [("host", "whatever"), ("origin", "http://other.example")];
        assert_eq!(verdict(&access, &page), 403);
        let access = Access::new(Some("s3cret"), None);
        assert_eq!(verdict(&access, &[]), 401);
    }
}
