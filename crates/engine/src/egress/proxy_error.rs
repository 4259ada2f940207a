//! Error responses of the proxy itself.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::ext::ReasonPhrase;

use super::target::Target;

/// The longest reason in a status line, in bytes.
const MAX_REASON_BYTES: usize = 300;

/// The body of a response to a sandbox.
pub(super) type ProxyBody = BoxBody<Bytes, hyper::Error>;

/// An error response of the proxy itself.
pub(super) struct ProxyError {
    status: StatusCode,
    reason: String,
}

impl ProxyError {
    pub(super) fn new(status: StatusCode, why: &str) -> Self {
        Self {
            status,
            reason: why.to_owned(),
        }
    }

    pub(super) fn denied(why: &impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            &format!("Forbidden by sandbox policy: {why}"),
        )
    }

    pub(super) fn malformed() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "the request is malformed")
    }

    pub(super) fn failed(target: &Target, error: &hyper::Error) -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            &format!("the connection to {target} failed: {error}"),
        )
    }

    pub(super) fn timed_out(target: &Target) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            &format!("{target} does not answer"),
        )
    }

    pub(super) fn response(&self) -> Response<ProxyBody> {
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
        line.truncate(MAX_REASON_BYTES);
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
