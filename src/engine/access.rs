//! Who may use an engine that listens where others can reach it.
//!
//! A page in a browser on this machine can send requests to loopback. It cannot choose the headers `Host` and `Origin`,
//! so these tell it from a client: a request must name a host that the engine goes by, and its origin, if it has one,
//! must be that host (WHATWG Fetch, section 3.2; RFC 9110, section 7.2).

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use super::error::ApiError;

/// What a request must bring.
pub(super) struct Access {
    /// The digest of the token, so that comparing tells nothing of it, not even its length.
    token: Option<[u8; 32]>,
    /// Further names that the engine goes by, in lower case.
    hosts: Vec<String>,
    /// Whether the host is looked at; on a unix socket it means nothing.
    check_host: bool,
}

/// The address of this machine that a connection was made to; none for a unix socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Here(pub(super) Option<IpAddr>);

impl Access {
    pub(super) fn new(token: Option<&str>, hosts: &[String], check_host: bool) -> Self {
        Self {
            token: token.map(|token| Sha256::digest(token.as_bytes()).into()),
            hosts: hosts
                .iter()
                .map(|name| name.trim().trim_end_matches('.').to_ascii_lowercase())
                .collect(),
            check_host,
        }
    }

    fn check(&self, headers: &HeaderMap, uri: &Uri, here: Here) -> Result<(), ApiError> {
        let host = host(headers, uri);
        if self.check_host {
            let name = host.as_deref().map(name_of);
            if !name.is_some_and(|name| self.goes_by(name, here)) {
                return Err(forbidden(
                    "the request names another host than this engine's; start it with --allow-host NAME to go by that name",
                ));
            }
        }
        if let Some(origin) = headers.get(header::ORIGIN) {
            let same = origin
                .to_str()
                .ok()
                .zip(host.as_deref())
                .is_some_and(|(origin, host)| is_origin(origin, host));
            if !same {
                return Err(forbidden("pages of other origins may not use this engine"));
            }
        }
        // What has no origin, as an image in a page, is told by this (W3C Fetch Metadata).
        if headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "cross-site" || site == "same-site")
        {
            return Err(forbidden("pages of other sites may not use this engine"));
        }
        self.check_token(headers)
    }

    fn goes_by(&self, name: &str, here: Here) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if self.hosts.contains(&name) || name == "localhost" {
            return true;
        }
        let literal = name.trim_start_matches('[').trim_end_matches(']');
        // A page can bring a name to point here, but not an address that is another.
        literal
            .parse()
            .is_ok_and(|address: IpAddr| is_loopback(address) || here.0 == Some(address))
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| bearer(value.as_bytes()));
        let Some(given) = given else {
            return Err(unauthorized(
                "the header `Authorization: Bearer TOKEN` is missing",
            ));
        };
        let given: [u8; 32] = Sha256::digest(given).into();
        let differ = std::hint::black_box(token)
            .iter()
            .zip(std::hint::black_box(&given))
            .fold(0, |differ, (one, other)| differ | (one ^ other));
        if differ == 0 {
            Ok(())
        } else {
            Err(unauthorized("this token is not the engine's"))
        }
    }
}

/// Lets a request through, or answers it.
pub(super) async fn check(
    State(access): State<Arc<Access>>,
    ConnectInfo(here): ConnectInfo<Here>,
    request: Request,
    next: Next,
) -> Response {
    match access.check(request.headers(), request.uri(), here) {
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
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback() || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

/// Host and port that a request is for; none if it says several.
fn host(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    if let Some(authority) = uri.authority() {
        return Some(authority.as_str().to_owned());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?.trim();
    (hosts.next().is_none() && !host.is_empty()).then(|| host.to_owned())
}

/// The host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        _ => host,
    }
}

/// Whether a page of `origin` came from `host` itself.
fn is_origin(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let plain = |text: &str| {
        text.strip_suffix(default)
            .unwrap_or(text)
            .to_ascii_lowercase()
    };
    plain(authority) == plain(host)
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(access: &Access, headers: &[(&str, &str)], here: &str) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                header::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        let here = Here(here.parse().ok());
        match access.check(&map, &Uri::from_static("/v1/whoami"), here) {
            Ok(()) => 200,
            Err(error) => error.into_response().status().as_u16(),
        }
    }

    #[test]
    fn the_host_must_be_this_one() {
        let access = Access::new(None, &["Engine.Example".to_owned()], true);
        for (host, status) in [
            ("localhost", 200),
            ("LOCALHOST:8080", 200),
            ("localhost.:8080", 200),
            ("127.0.0.1:8080", 200),
            ("127.8.9.1", 200),
            ("[::1]:8080", 200),
            ("[::1]", 200),
            ("[::ffff:127.0.0.1]:1", 200),
            ("10.1.2.3:8080", 200),
            ("10.1.2.4:8080", 403),
            ("engine.example:8080", 200),
            ("ENGINE.example.", 200),
            ("other.example", 403),
            ("localhost.other.example", 403),
            ("127.0.0.1.other.example", 403),
            ("127.0.0.1@other.example", 403),
            ("0.0.0.0:8080", 403),
            ("[fe80::1]", 403),
        ] {
            assert_eq!(
                verdict(&access, &[("host", host)], "10.1.2.3"),
                status,
                "{host}"
            );
        }
        assert_eq!(verdict(&access, &[], "127.0.0.1"), 403);
        let twice = [("host", "localhost"), ("host", "other.example")];
        assert_eq!(verdict(&access, &twice, "127.0.0.1"), 403);
    }

    #[test]
    fn an_origin_must_be_the_host() {
        let access = Access::new(None, &["engine.example".to_owned()], true);
        for (host, origin, status) in [
            ("localhost:8080", "http://localhost:8080", 200),
            ("localhost:8080", "http://LocalHost:8080", 200),
            ("localhost:8080", "http://localhost:3000", 403),
            ("localhost:8080", "http://127.0.0.1:8080", 403),
            ("localhost:8080", "https://other.example", 403),
            ("localhost:8080", "null", 403),
            ("localhost:8080", "", 403),
            ("engine.example", "https://engine.example", 200),
            ("engine.example", "https://engine.example:443", 200),
            ("engine.example", "http://engine.example:443", 403),
            ("engine.example", "file://engine.example", 403),
        ] {
            let headers = [("host", host), ("origin", origin)];
            assert_eq!(
                verdict(&access, &headers, "127.0.0.1"),
                status,
                "{host} {origin}"
            );
        }
        let image = [("host", "localhost"), ("sec-fetch-site", "cross-site")];
        assert_eq!(verdict(&access, &image, "127.0.0.1"), 403);
        let typed = [("host", "localhost"), ("sec-fetch-site", "none")];
        assert_eq!(verdict(&access, &typed, "127.0.0.1"), 200);
    }

    #[test]
    fn a_token_must_be_the_one() {
        let access = Access::new(Some("s3cret"), &[], false);
        for (value, status) in [
            ("Bearer s3cret", 200),
            ("bearer  s3cret ", 200),
            ("Bearer s3cre", 401),
            ("Bearer s3crets", 401),
            ("Bearer", 401),
            ("Bearer ", 401),
            ("Basic s3cret", 401),
            ("s3cret", 401),
        ] {
            assert_eq!(
                verdict(&access, &[("authorization", value)], ""),
                status,
                "{value}"
            );
        }
        assert_eq!(verdict(&access, &[], ""), 401);
    }
}
