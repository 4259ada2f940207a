//! The clients for servers that a registry names, rather than the user: targets of redirects, and
//! token servers.
//!
//! Without a check, a registry could make this machine send requests to servers that the registry
//! itself cannot reach.

use std::error::Error;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Client;
use url::Url;

use super::address_scope::{AddressScope, ServerHost, server_host};
use super::checking_resolver::RefusedServer;
use super::{HttpClients, RegistryError, RegistryHost};

impl HttpClients {
    /// Returns the client for a URL that a registry in the scope `from` names.
    ///
    /// The client resolves names itself and connects only to addresses to which the registry may
    /// lead. If this machine's own proxy makes the connection, that proxy resolves the name, and
    /// only addresses in the URL can be checked.
    ///
    /// # Errors
    /// Fails if the registry may not lead there.
    pub(super) fn client_for_named_server(
        &self,
        registry: &RegistryHost,
        from: AddressScope,
        url: &Url,
    ) -> Result<Client, RegistryError> {
        let scope = match server_host(url) {
            ServerHost::Address(address) => Some(AddressScope::of(address)),
            ServerHost::ThisMachine => Some(AddressScope::Loopback),
            ServerHost::Name(_) => None,
        };
        if let Some(scope) = scope.filter(|scope| !from.may_lead_to(*scope)) {
            return Err(server_error(
                registry,
                &RefusedServer {
                    host: url.host_str().unwrap_or_default().to_owned(),
                    address: None,
                    scope,
                },
            ));
        }
        if url.scheme() != "https" || scope.is_some() || is_proxied(url) {
            return self.client(url);
        }
        self.checking_client(from, url)
    }
}

/// Returns whether this machine's own proxy makes the connection.
fn is_proxied(url: &Url) -> bool {
    url.as_str()
        .parse()
        .is_ok_and(|uri| Matcher::from_system().intercept(&uri).is_some())
}

/// The error for a registry that leads to a refused server.
fn server_error(registry: &RegistryHost, server: &RefusedServer) -> RegistryError {
    RegistryError::Protocol {
        registry: registry.clone(),
        why: format!("leads to {server}"),
    }
}

/// Looks for a refused server among the causes of an error, and returns the registry's error.
pub(super) fn refused_server_error(
    registry: &RegistryHost,
    error: &(dyn Error + 'static),
) -> Option<RegistryError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(server) = error.downcast_ref::<RefusedServer>() {
            return Some(server_error(registry, server));
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check holds in the client, and not only in the resolver.
    #[tokio::test]
    async fn the_client_reports_a_refused_server() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = Url::parse(&format!("https://localhost:{port}/")).unwrap();
        let http = HttpClients::default();
        let client = http.checking_client(AddressScope::Public, &url).unwrap();
        let error = client.get(url).send().await.unwrap_err();
        let registry = RegistryHost::new("r.example").unwrap();
        let text = refused_server_error(&registry, &error).unwrap().to_string();
        assert!(text.contains("r.example: leads to localhost"), "{text}");
        let accepted = std::future::poll_fn(|context| {
            std::task::Poll::Ready(listener.poll_accept(context).is_ready())
        });
        assert!(!accepted.await, "somebody connected");
    }

    #[test]
    fn addresses_in_urls_are_checked_at_once() {
        let http = HttpClients::default();
        let registry = RegistryHost::new("r.example").unwrap();
        for host in [
            "127.0.0.1",
            "localhost",
            "x.localhost.",
            "2130706433",
            "0x7f.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "10.0.0.1:8443",
            "169.254.169.254",
            "[fd00::2]",
        ] {
            let url = Url::parse(&format!("https://{host}/blob")).unwrap();
            for from in [AddressScope::Public, AddressScope::Link] {
                let refused = http.client_for_named_server(&registry, from, &url);
                // The link leads to itself alone.
                let own = from == AddressScope::Link && host.starts_with("169.254");
                assert!(own || refused.is_err(), "{host}");
            }
        }
    }
}
