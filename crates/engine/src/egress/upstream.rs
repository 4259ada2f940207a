//! The machine's own proxy settings, which hold for what the engine dials as well.

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

use super::settings::ProxyVariables;
use super::target::Target;

/// What [`ProxyVariables`] say of the way to a target.
pub(super) struct Upstream(Matcher);

/// What a connection is for: `http_proxy` is for requests that the proxy reads, `https_proxy` for tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Requests,
    Tunnel,
}

/// The proxy to go through. Its password is in no text about it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Via {
    /// Host and port; the host without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// For `Proxy-Authorization`.
    pub(super) authorization: Option<HeaderValue>,
}

/// The machine's proxy is of a kind that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this machine's proxy setting is for a {scheme} proxy, and only http:// ones can be used")]
pub(super) struct UpstreamError {
    scheme: String,
}

impl Upstream {
    pub(super) fn new(machine: &ProxyVariables) -> Self {
        if machine.cgi {
            return Self(Matcher::builder().build());
        }
        Self(
            Matcher::builder()
                .all(machine.first("all_proxy"))
                .http(machine.first("http_proxy"))
                .https(machine.first("https_proxy"))
                .no(machine.first("no_proxy"))
                .build(),
        )
    }

    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self(Matcher::builder().build())
    }

    #[cfg(test)]
    pub(super) fn all(proxy: &str, except: &str) -> Self {
        Self(
            Matcher::builder()
                .all(proxy.to_owned())
                .no(except.to_owned())
                .build(),
        )
    }

    /// The proxy for a target, if the settings have one.
    ///
    /// # Errors
    /// That it is of a kind that cannot be used.
    pub(super) fn via(
        &self,
        target: &Target,
        purpose: Purpose,
    ) -> Result<Option<Via>, UpstreamError> {
        let scheme = match purpose {
            Purpose::Requests => "http",
            Purpose::Tunnel => "https",
        };
        let Ok(uri) = format!("{scheme}://{target}/").parse::<Uri>() else {
            return Ok(None);
        };
        let Some(proxy) = self.0.intercept(&uri) else {
            return Ok(None);
        };
        let uri = proxy.uri();
        if uri.scheme_str() != Some("http") {
            return Err(UpstreamError {
                scheme: uri.scheme_str().unwrap_or("strange").to_owned(),
            });
        }
        let host = uri.host().unwrap_or_default();
        Ok(Some(Via {
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: uri.port_u16().unwrap_or(80),
            authorization: proxy.basic_auth().cloned(),
        }))
    }
}

impl std::fmt::Debug for Via {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for Via {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(upstream: &Upstream, target: &str) -> Result<Option<String>, UpstreamError> {
        let target = Target::parse(target, Some(443)).expect(target);
        upstream
            .via(&target, Purpose::Tunnel)
            .map(|via| via.map(|via| via.to_string()))
    }

    #[test]
    fn settings_are_followed_and_passwords_are_not_shown() {
        let upstream = Upstream::all(
            "http://user:secret@proxy.corp.example:8080",
            "inside.example,10.0.0.0/8",
        );
        assert_eq!(
            via(&upstream, "example.com"),
            Ok(Some("proxy.corp.example:8080".to_owned()))
        );
        assert_eq!(via(&upstream, "a.inside.example"), Ok(None));
        assert_eq!(via(&upstream, "10.1.2.3"), Ok(None));
        let target = Target::parse("example.com", Some(80)).expect("a target");
        let found = upstream
            .via(&target, Purpose::Requests)
            .expect("a proxy")
            .expect("a proxy");
        assert_eq!(
            found.authorization.expect("a header"),
            "Basic dXNlcjpzZWNyZXQ="
        );
        assert_eq!(via(&Upstream::none(), "example.com"), Ok(None));
        assert!(
            via(
                &Upstream::all("socks5://proxy.example:1080", ""),
                "example.com"
            )
            .is_err()
        );
    }
}
