//! Who may ask: the name that a request was sent to, the page that it comes from, and its token.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::HttpOptions;
use super::connections::Reached;

/// The names that reach only this machine.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What requests are compared with.
#[derive(Clone)]
pub(super) struct Guard(Arc<Inner>);

struct Inner {
    hosts: Vec<Allowed>,
    /// The digest of the token: comparing digests tells nothing of the token, however long it takes.
    token: Option<[u8; 32]>,
}

/// A name, and a port if only that one is meant.
#[derive(Debug, PartialEq, Eq)]
struct Allowed {
    host: String,
    port: Option<u16>,
}

impl Guard {
    pub(super) fn new(options: &HttpOptions, address: SocketAddr) -> Self {
        let mut hosts: Vec<Allowed> = LOOPBACK.iter().filter_map(|host| allowed(host)).collect();
        if !address.ip().is_unspecified() {
            hosts.extend(allowed(&address.ip().to_string()));
        }
        hosts.extend(
            options
                .allowed_hosts
                .iter()
                .filter_map(|host| allowed(host)),
        );
        Self(Arc::new(Inner {
            hosts,
            token: options.token.as_ref().map(|token| digest(&token.0)),
        }))
    }

    fn knows(&self, host: &str, port: Option<u16>, reached: Option<IpAddr>) -> bool {
        let host = plain(host);
        // Only names can be made to point here by others; the address that the connection has is ours.
        let own = || {
            let named: Option<IpAddr> = host.parse().ok();
            named.is_some() && named.map(|ip| ip.to_canonical()) == reached
        };
        let listed = self.0.hosts.iter().any(|allowed| {
            allowed.host == host && allowed.port.is_none_or(|only| port == Some(only))
        });
        listed || own()
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.0.token else {
            return true;
        };
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| digest(token.trim()));
        given.is_some_and(|given| equal(&given, expected))
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Looks at every byte, whichever differ.
fn equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let different = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(different) == 0
}

/// Without the brackets of IPv6, in lower case, without the dot of the root.
fn plain(host: &str) -> String {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .trim_end_matches('.')
        .to_ascii_lowercase()
}

fn allowed(text: &str) -> Option<Allowed> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if text.parse::<IpAddr>().is_ok() {
        return Some(Allowed {
            host: plain(text),
            port: None,
        });
    }
    match Authority::try_from(text) {
        Ok(authority) => Some(Allowed {
            host: plain(authority.host()),
            port: authority.port_u16(),
        }),
        Err(_) => None,
    }
}

/// Whether `--http-allow-host` can be this.
#[must_use]
pub fn is_host(text: &str) -> bool {
    allowed(text).is_some_and(|allowed| !allowed.host.is_empty()) && !text.contains('@')
}

/// Refuses requests to a name that is not ours, and from pages that are not.
pub(super) async fn place(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let reached = request
        .extensions()
        .get::<Reached>()
        .map(|reached| reached.0.ip().to_canonical());
    let named = request
        .headers()
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
        .or_else(|| request.uri().authority().map(ToString::to_string));
    let Some(named) = named.and_then(|host| Authority::try_from(host).ok()) else {
        return (StatusCode::BAD_REQUEST, "the Host header is missing\n").into_response();
    };
    if !guard.knows(named.host(), named.port_u16(), reached) {
        tracing::warn!("refused a request to the host `{}`", named.host());
        return (
            StatusCode::FORBIDDEN,
            "this server does not answer to that name; --http-allow-host NAME adds one\n",
        )
            .into_response();
    }
    if let Some(origin) = request.headers().get(header::ORIGIN) {
        let known = origin
            .to_str()
            .ok()
            .and_then(from_page)
            .is_some_and(|page| guard.knows(page.host(), page.port_u16(), reached));
        if !known {
            tracing::warn!("refused a request from a page of {origin:?}");
            return (
                StatusCode::FORBIDDEN,
                "requests from that page are refused\n",
            )
                .into_response();
        }
    }
    next.run(request).await
}

/// The host of an origin: `http://HOST[:PORT]`.
fn from_page(origin: &str) -> Option<Authority> {
    let (scheme, rest) = origin.split_once("://")?;
    let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    web.then(|| Authority::try_from(rest).ok()).flatten()
}

/// Refuses requests without the token.
pub(super) async fn token(State(guard): State<Guard>, request: Request, next: Next) -> Response {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::Token;

    fn guard(hosts: &[&str]) -> Guard {
        let mut options = HttpOptions::new([0, 0, 0, 0].into(), 9452);
        options.allowed_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        options.token = Token::new("0123456789abcdef").ok();
        Guard::new(&options, ([0, 0, 0, 0], 9452).into())
    }

    #[test]
    fn names_of_ours_are_known_in_every_spelling() {
        let guard = guard(&["Box.example", "proxied.example:8443"]);
        let reached = Some(IpAddr::from([192, 0, 2, 7]));
        for (host, port) in [
            ("localhost", Some(9452)),
            ("LOCALHOST.", None),
            ("127.0.0.1", Some(1)),
            ("[::1]", Some(9452)),
            ("box.example", Some(80)),
            ("proxied.example", Some(8443)),
            ("192.0.2.7", Some(9452)),
        ] {
            assert!(guard.knows(host, port, reached), "{host} {port:?}");
        }
        for (host, port) in [
            ("evil.example", Some(9452)),
            ("localhost.evil.example", None),
            ("127.0.0.1.evil.example", None),
            ("proxied.example", Some(80)),
            ("192.0.2.8", Some(9452)),
            ("0.0.0.0", Some(9452)),
            ("", None),
        ] {
            assert!(!guard.knows(host, port, reached), "{host} {port:?}");
        }
    }

    #[test]
    fn only_the_very_token_is_taken() {
        let guard = guard(&[]);
        let given = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            guard.has_token(&headers)
        };
        assert!(given("Bearer 0123456789abcdef"));
        assert!(given("bearer  0123456789abcdef"));
        for wrong in [
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcde",
            "Bearer ",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
        ] {
            assert!(!given(wrong), "{wrong}");
        }
        assert!(!guard.has_token(&HeaderMap::new()));
    }

    #[test]
    fn origins_are_pages_of_the_web() {
        assert_eq!(
            from_page("http://localhost:3000").unwrap().host(),
            "localhost"
        );
        assert_eq!(from_page("https://[::1]:1").unwrap().host(), "[::1]");
        for wrong in ["null", "file://", "chrome-extension://abc", "http://", ""] {
            assert!(from_page(wrong).is_none(), "{wrong}");
        }
    }
}
