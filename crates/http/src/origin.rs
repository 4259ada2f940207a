//! Whether a request comes from where it may.
//!
//! A page in a browser on this machine can send requests to loopback. It cannot choose the headers `Host`, `Origin` and `Sec-Fetch-Site`,
//! so these tell it from a client: a request must name a host that the server goes by, and its origin, if it has one, must be that very
//! host with its port (WHATWG Fetch, section 3.2; RFC 9110, section 7.2; W3C Fetch Metadata).

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, Uri, header};

/// The names that a server goes by.
pub struct AllowedHosts {
    /// Besides those of loopback and the address that was reached. `None`: the name means nothing, as on a unix socket.
    listed: Option<Vec<Name>>,
}

/// A name, and a port if only that one is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    host: String,
    port: Option<u16>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginError {
    /// It says no host, or several.
    NoHost,
    /// It is for a host that is not this one.
    Host(String),
    /// It comes from a page of another origin or site.
    Page(String),
}

/// What a request is judged by.
pub struct RequestOrigin<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's target.
    pub uri: &'a Uri,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The address of this machine that the connection was made to, if it has one.
    pub reached: Option<IpAddr>,
    /// Whether what is asked for is for people, so that links of other sites may lead to it.
    pub page: bool,
}

impl AllowedHosts {
    /// Loopback, the address that is reached, and these.
    pub fn new(more: &[String]) -> Self {
        Self {
            listed: Some(more.iter().filter_map(|text| name(text)).collect()),
        }
    }

    /// Whatever a request says.
    pub fn any() -> Self {
        Self { listed: None }
    }

    /// Whether a request may be answered.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn judge(&self, asked: &RequestOrigin<'_>) -> Result<(), OriginError> {
        let host = host(asked.headers, asked.uri);
        if let Some(listed) = &self.listed {
            let host = host.as_ref().ok_or(OriginError::NoHost)?;
            if !goes_by(listed, host, asked.reached) {
                return Err(OriginError::Host(host.host().to_owned()));
            }
        }
        if asked.headers.contains_key(header::ORIGIN) {
            let origin = only(asked.headers, &header::ORIGIN);
            let same = origin
                .zip(host.as_ref())
                .is_some_and(|(origin, host)| is_origin(origin, host.as_str()));
            if !same {
                return Err(OriginError::Page(origin.unwrap_or_default().to_owned()));
            }
        }
        // What has no origin, as an image in a page or a link, is told by this.
        if let Some(site) = asked.headers.get("sec-fetch-site")
            && site != "same-origin"
            && site != "none"
            && !(asked.page && is_visit(asked))
        {
            let site = site.to_str().unwrap_or_default();
            return Err(OriginError::Page(site.to_owned()));
        }
        Ok(())
    }
}

fn goes_by(listed: &[Name], asked: &Authority, reached: Option<IpAddr>) -> bool {
    let host = plain(asked.host());
    if host == "localhost" {
        return true;
    }
    // A page can bring a name to point here, but not an address that is another.
    if let Ok(address) = host.parse::<IpAddr>() {
        let address = address.to_canonical();
        if address.is_loopback() || reached.map(|ip| ip.to_canonical()) == Some(address) {
            return true;
        }
    }
    listed.iter().any(|name| {
        name.host == host && name.port.is_none_or(|only| asked.port_u16() == Some(only))
    })
}

/// Somebody follows a link, and sees the answer in a window of its own.
fn is_visit(asked: &RequestOrigin<'_>) -> bool {
    let says = |name: &'static str, value: &str| {
        asked
            .headers
            .get(name)
            .is_some_and(|found| found.as_bytes() == value.as_bytes())
    };
    asked.method == Method::GET
        && says("sec-fetch-mode", "navigate")
        && says("sec-fetch-dest", "document")
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.trim();
    values.next().is_none().then_some(value)
}

/// Host and port that a request is for; none if it says several.
fn host(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    let host = match uri.authority() {
        Some(authority) => authority.clone(),
        None => Authority::try_from(only(headers, &header::HOST)?).ok()?,
    };
    // Users are not for this header.
    (!host.as_str().contains('@')).then_some(host)
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

/// Without the brackets of IPv6, in lower case, without the dot of the root.
fn plain(host: &str) -> String {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .trim_end_matches('.')
        .to_ascii_lowercase()
}

/// Reads `NAME`, `NAME:PORT` or an address.
fn name(text: &str) -> Option<Name> {
    let text = text.trim();
    if text.parse::<IpAddr>().is_ok() {
        return Some(Name {
            host: plain(text),
            port: None,
        });
    }
    let authority = Authority::try_from(text).ok()?;
    let host = plain(authority.host());
    (!host.is_empty() && !text.contains('@')).then(|| Name {
        host,
        port: authority.port_u16(),
    })
}

/// Whether a server can go by this.
pub fn is_name(text: &str) -> bool {
    name(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(more: &[&str]) -> AllowedHosts {
        let more: Vec<String> = more.iter().map(|name| (*name).to_owned()).collect();
        AllowedHosts::new(&more)
    }

    fn judge(
        names: &AllowedHosts,
        page: bool,
        headers: &[(&str, &str)],
    ) -> Result<(), OriginError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        names.judge(&RequestOrigin {
            method: &Method::GET,
            uri: &Uri::from_static("/v1/whoami"),
            headers: &map,
            reached: Some([10, 1, 2, 3].into()),
            page,
        })
    }

    #[test]
    fn names_of_ours_are_known_in_every_spelling() {
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
            assert_eq!(judge(&names, false, &[("host", host)]), Ok(()), "{host}");
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
            let judged = judge(&names, false, &[("host", host)]);
            assert!(matches!(judged, Err(OriginError::Host(_))), "{host}");
        }
        for host in [
            "",
            "127.0.0.1@other.example",
            "other.example@127.0.0.1",
            "a b",
        ] {
            let judged = judge(&names, false, &[("host", host)]);
            assert_eq!(judged, Err(OriginError::NoHost), "{host}");
        }
        assert_eq!(judge(&names, false, &[]), Err(OriginError::NoHost));
        let twice = [("host", "localhost"), ("host", "other.example")];
        assert_eq!(judge(&names, false, &twice), Err(OriginError::NoHost));
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
                judge(&names, true, &headers).is_ok(),
                same,
                "{host} {origin}"
            );
        }
        let origin = ("origin", "http://localhost");
        let twice = [("host", "localhost"), origin, origin];
        assert!(judge(&names, false, &twice).is_err());
    }

    #[test]
    fn what_other_sites_load_is_refused_and_their_links_lead_to_pages() {
        let names = names(&[]);
        let host = ("host", "localhost");
        for (site, fine) in [
            ("none", true),
            ("same-origin", true),
            ("same-site", false),
            ("cross-site", false),
            ("anything", false),
        ] {
            let headers = [host, ("sec-fetch-site", site)];
            for page in [false, true] {
                assert_eq!(judge(&names, page, &headers).is_ok(), fine, "{site}");
            }
        }
        let visit = |dest| {
            [
                host,
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", dest),
            ]
        };
        assert!(judge(&names, true, &visit("document")).is_ok());
        assert!(judge(&names, true, &visit("iframe")).is_err());
        assert!(judge(&names, false, &visit("document")).is_err());
    }

    #[test]
    fn where_names_mean_nothing_pages_are_refused_all_the_same() {
        let names = AllowedHosts { listed: None };
        assert_eq!(judge(&names, false, &[]), Ok(()));
        assert_eq!(judge(&names, false, &[("host", "whatever")]), Ok(()));
        let page = [("host", "whatever"), ("origin", "http://other.example")];
        assert!(judge(&names, false, &page).is_err());
        assert!(judge(&names, false, &[("origin", "http://localhost")]).is_err());
    }
}
