//! Checks the Host and Origin of a request.
//!
//! A page in a browser on this machine can send requests to loopback. It cannot choose the headers
//! `Host`, `Origin` and `Sec-Fetch-Site`, so these headers distinguish a page from a client. A
//! request must name an allowed host. If it has an origin, that must be the same host and port
//! (WHATWG Fetch, section 3.2; RFC 9110, section 7.2; W3C Fetch Metadata).

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, Uri, header};

/// The host names that requests to a server may use.
pub struct AllowedHosts {
    /// Names in addition to loopback and the connection's local address. `None`: the host is not
    /// checked, as on a Unix socket.
    listed: Option<Vec<HostName>>,
}

/// A host name, with a port if only that port is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HostName {
    host: String,
    port: Option<u16>,
}

/// The reason why a request is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginError {
    /// It has no host, or several.
    NoHost,
    /// Its host is not allowed.
    UnknownHost(String),
    /// It comes from a page of another origin or site.
    CrossOrigin(String),
}

/// The parts of a request that are checked.
pub struct RequestOrigin<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's target.
    pub uri: &'a Uri,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The local address of the connection, or `None` for a Unix socket.
    pub local_ip: Option<IpAddr>,
    /// Whether the answer is a page for people. Other sites may link to pages.
    pub is_page: bool,
}

impl AllowedHosts {
    /// Allows loopback, the connection's local address, and these names.
    pub fn new(additional: &[String]) -> Self {
        Self {
            listed: Some(
                additional
                    .iter()
                    .filter_map(|text| parse_name(text))
                    .collect(),
            ),
        }
    }

    /// Allows every host.
    pub fn any() -> Self {
        Self { listed: None }
    }

    /// Checks the host and origin of a request.
    ///
    /// # Errors
    /// Returns the reason why the request is rejected.
    pub fn check(&self, request: &RequestOrigin<'_>) -> Result<(), OriginError> {
        let host = request_host(request.headers, request.uri);
        if let Some(listed) = &self.listed {
            let host = host.as_ref().ok_or(OriginError::NoHost)?;
            if !is_allowed(listed, host, request.local_ip) {
                return Err(OriginError::UnknownHost(host.host().to_owned()));
            }
        }
        if request.headers.contains_key(header::ORIGIN) {
            let origin = single_value(request.headers, &header::ORIGIN);
            let same = origin
                .zip(host.as_ref())
                .is_some_and(|(origin, host)| is_same_origin(origin, host.as_str()));
            if !same {
                return Err(OriginError::CrossOrigin(
                    origin.unwrap_or_default().to_owned(),
                ));
            }
        }
        // Requests without an origin, such as those for images of a page, have this header.
        if let Some(site) = request.headers.get("sec-fetch-site")
            && site != "same-origin"
            && site != "none"
            && !(request.is_page && is_navigation(request))
        {
            let site = site.to_str().unwrap_or_default();
            return Err(OriginError::CrossOrigin(site.to_owned()));
        }
        Ok(())
    }
}

/// Returns whether requests to the server may name this host.
fn is_allowed(listed: &[HostName], requested: &Authority, local_ip: Option<IpAddr>) -> bool {
    let host = normalize(requested.host());
    if host == "localhost" {
        return true;
    }
    // A page can make its own name resolve to this machine, but it cannot redirect an address.
    if let Ok(address) = host.parse::<IpAddr>() {
        let address = address.to_canonical();
        if address.is_loopback() || local_ip.map(|ip| ip.to_canonical()) == Some(address) {
            return true;
        }
    }
    listed.iter().any(|name| {
        name.host == host
            && name
                .port
                .is_none_or(|only| requested.port_u16() == Some(only))
    })
}

/// Returns whether the answer becomes a page of its own, as when the user follows a link.
fn is_navigation(request: &RequestOrigin<'_>) -> bool {
    let has = |name: &'static str, value: &str| {
        request
            .headers
            .get(name)
            .is_some_and(|found| found.as_bytes() == value.as_bytes())
    };
    request.method == Method::GET
        && has("sec-fetch-mode", "navigate")
        && has("sec-fetch-dest", "document")
}

/// The value of a header that occurs exactly once.
fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.trim();
    values.next().is_none().then_some(value)
}

/// The host and port of a request, or `None` if it has no host or several.
fn request_host(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    let host = match uri.authority() {
        Some(authority) => authority.clone(),
        None => Authority::try_from(single_value(headers, &header::HOST)?).ok()?,
    };
    // A valid `Host` header has no user information.
    (!host.as_str().contains('@')).then_some(host)
}

/// Returns whether `origin` is the origin of `host`.
fn is_same_origin(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let without_default_port = |text: &str| {
        text.strip_suffix(default)
            .unwrap_or(text)
            .to_ascii_lowercase()
    };
    without_default_port(authority) == without_default_port(host)
}

/// Normalises a host: lower case, without the brackets of IPv6 and without a trailing dot.
fn normalize(host: &str) -> String {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .trim_end_matches('.')
        .to_ascii_lowercase()
}

/// Parses `NAME`, `NAME:PORT` or an address.
fn parse_name(text: &str) -> Option<HostName> {
    let text = text.trim();
    if text.parse::<IpAddr>().is_ok() {
        return Some(HostName {
            host: normalize(text),
            port: None,
        });
    }
    let authority = Authority::try_from(text).ok()?;
    let host = normalize(authority.host());
    (!host.is_empty() && !text.contains('@')).then(|| HostName {
        host,
        port: authority.port_u16(),
    })
}

/// Returns whether a text is a valid entry for [`AllowedHosts::new`].
pub fn is_host_name(text: &str) -> bool {
    parse_name(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(additional: &[&str]) -> AllowedHosts {
        let additional: Vec<String> = additional.iter().map(|name| (*name).to_owned()).collect();
        AllowedHosts::new(&additional)
    }

    fn check(
        names: &AllowedHosts,
        is_page: bool,
        headers: &[(&str, &str)],
    ) -> Result<(), OriginError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        names.check(&RequestOrigin {
            method: &Method::GET,
            uri: &Uri::from_static("/v1/whoami"),
            headers: &map,
            local_ip: Some([10, 1, 2, 3].into()),
            is_page,
        })
    }

    #[test]
    fn allowed_hosts_match_in_every_spelling() {
        let names = names(&["Engine.Example", "proxied.example:8443", "192.0.2.9"]);
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.:8080",
            "127.0.0.1:8080",
            "127.8.9.1",
            "[::1]:8080",
            "[::1]",
            "[::ffff:127.0.0.1]:1",
            "10.1.2.3:8080",
            "[::ffff:10.1.2.3]",
            "engine.example:8080",
            "ENGINE.example.",
            "proxied.example:8443",
            "192.0.2.9:80",
        ] {
            assert_eq!(check(&names, false, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "10.1.2.4:8080",
            "other.example",
            "localhost.other.example",
            "127.0.0.1.other.example",
            "0.0.0.0:8080",
            "[fe80::1]",
            "proxied.example",
            "proxied.example:80",
        ] {
            let result = check(&names, false, &[("host", host)]);
            assert!(matches!(result, Err(OriginError::UnknownHost(_))), "{host}");
        }
        for host in [
            "",
            "127.0.0.1@other.example",
            "other.example@127.0.0.1",
            "a b",
        ] {
            let result = check(&names, false, &[("host", host)]);
            assert_eq!(result, Err(OriginError::NoHost), "{host}");
        }
        assert_eq!(check(&names, false, &[]), Err(OriginError::NoHost));
        let twice = [("host", "localhost"), ("host", "other.example")];
        assert_eq!(check(&names, false, &twice), Err(OriginError::NoHost));
    }

    #[test]
    fn an_origin_must_be_the_host() {
        let names = names(&["engine.example"]);
        for (host, origin, same) in [
            ("localhost:8080", "http://localhost:8080", true),
            ("localhost:8080", "http://LocalHost:8080", true),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("localhost:8080", "http://localhost:3000", false),
            ("localhost:8080", "http://localhost", false),
            ("localhost:8080", "http://127.0.0.1:8080", false),
            ("localhost:8080", "https://other.example", false),
            ("localhost:8080", "https://engine.example", false),
            ("localhost:8080", "null", false),
            ("localhost:8080", "", false),
            ("engine.example", "https://engine.example", true),
            ("engine.example", "https://engine.example:443", true),
            ("engine.example:443", "https://engine.example", true),
            ("engine.example", "http://engine.example:443", false),
            ("engine.example", "file://engine.example", false),
        ] {
            let headers = [("host", host), ("origin", origin)];
            assert_eq!(
                check(&names, true, &headers).is_ok(),
                same,
                "{host} {origin}"
            );
        }
        let origin = ("origin", "http://localhost");
        let twice = [("host", "localhost"), origin, origin];
        assert!(check(&names, false, &twice).is_err());
    }

    #[test]
    fn other_sites_may_link_to_pages_and_load_nothing() {
        let names = names(&[]);
        let host = ("host", "localhost");
        for (site, allowed) in [
            ("none", true),
            ("same-origin", true),
            ("same-site", false),
            ("cross-site", false),
            ("anything", false),
        ] {
            let headers = [host, ("sec-fetch-site", site)];
            for page in [false, true] {
                assert_eq!(check(&names, page, &headers).is_ok(), allowed, "{site}");
            }
        }
        let navigation = |dest| {
            [
                host,
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", dest),
            ]
        };
        assert!(check(&names, true, &navigation("document")).is_ok());
        assert!(check(&names, true, &navigation("iframe")).is_err());
        assert!(check(&names, false, &navigation("document")).is_err());
    }

    #[test]
    fn pages_are_rejected_even_if_every_host_is_allowed() {
        let names = AllowedHosts { listed: None };
        assert_eq!(check(&names, false, &[]), Ok(()));
        assert_eq!(check(&names, false, &[("host", "whatever")]), Ok(()));
        let page = [("host", "whatever"), ("origin", "http://other.example")];
        assert!(check(&names, false, &page).is_err());
        assert!(check(&names, false, &[("origin", "http://localhost")]).is_err());
    }
}
