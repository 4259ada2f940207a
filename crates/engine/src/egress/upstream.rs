//! This machine's own proxies, which the engine uses for outgoing connections of sandboxes as well.

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

use super::settings::ProxyVariables;
use super::target::Target;

/// Chooses the machine's proxy for a target by [`ProxyVariables`].
pub(super) struct Upstream(Matcher);

/// The use of a connection: `http_proxy` applies to requests that the proxy reads, `https_proxy` to
/// tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionPurpose {
    Requests,
    Tunnel,
}

/// A proxy of the machine. Its `Debug` and `Display` forms omit the password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct UpstreamProxy {
    /// The host name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<HeaderValue>,
}

/// The error for a proxy of an unsupported scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this machine's proxy setting names a {scheme} proxy; only http:// proxies are supported")]
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

    /// Returns the proxy for a target, if the settings name one.
    ///
    /// # Errors
    /// Fails if the proxy's scheme is not supported.
    pub(super) fn proxy_for(
        &self,
        target: &Target,
        purpose: ConnectionPurpose,
    ) -> Result<Option<UpstreamProxy>, UpstreamError> {
        let scheme = match purpose {
            ConnectionPurpose::Requests => "http",
            ConnectionPurpose::Tunnel => "https",
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
                scheme: uri.scheme_str().unwrap_or("unknown").to_owned(),
            });
        }
        let host = uri.host().unwrap_or_default();
        Ok(Some(UpstreamProxy {
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: uri.port_u16().unwrap_or(80),
            authorization: proxy.basic_auth().cloned(),
        }))
    }
}

impl std::fmt::Debug for UpstreamProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for UpstreamProxy {
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
            .proxy_for(&target, ConnectionPurpose::Tunnel)
            .map(|via| via.map(|via| via.to_string()))
    }

    #[test]
    fn proxies_are_chosen_by_the_settings_and_passwords_are_hidden() {
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
        let proxy = upstream
            .proxy_for(&target, ConnectionPurpose::Requests)
            .expect("a proxy")
            .expect("a proxy");
        assert_eq!(
            proxy.authorization.expect("a header"),
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
