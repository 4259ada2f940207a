//! The HTTP clients of one backend: one for each Tokio runtime that uses it.
//!
//! The runtime that opened a connection also drives it. If another runtime took the connection from
//! a shared pool, its request would wait until the first runtime runs again, which it may never
//! do. So each runtime has its own pool.

use std::sync::{Arc, Mutex, PoisonError};

use reqwest::redirect;
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};
use tokio::runtime::{self, Handle};

use crate::{
    Error,
    backend::{Address, Backend},
};

/// Maximum number of idle connections of one runtime to a unix socket.
#[cfg(unix)]
const MAX_IDLE_UNIX_CONNECTIONS: usize = 8;

/// Number of runtimes whose connections are kept. A program seldom has more at once; those of ended
/// runtimes are closed.
const MAX_RUNTIMES: usize = 16;

/// The HTTP clients of one backend.
pub(super) struct HttpClients {
    settings: HttpSettings,
    /// The clients with their runtimes, the most recently used last.
    clients: Mutex<Vec<(runtime::Id, reqwest::Client)>>,
}

impl HttpClients {
    /// Creates the clients of `backend`, and one that only builds requests.
    ///
    /// # Errors
    /// If the system's certificates cannot be read.
    pub(super) fn new(backend: &Backend) -> Result<(Self, reqwest::Client), Error> {
        let settings = HttpSettings::new(backend)?;
        let builder = settings.build().map_err(|error| {
            let why = super::errors::chain(&error.without_url());
            Error::Connection(format!("the HTTP client cannot be built: {why}").into())
        })?;
        let clients = Mutex::default();
        Ok((Self { settings, clients }, builder))
    }

    /// The client of the current runtime; none outside of a runtime.
    pub(super) fn current(&self) -> Option<reqwest::Result<reqwest::Client>> {
        let runtime = Handle::try_current().ok()?.id();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = clients.iter().position(|(id, _)| *id == runtime) {
            // The most recently used one is seldom another one.
            if found + 1 < clients.len() {
                let client = clients.remove(found);
                clients.push(client);
            }
            return clients.last().map(|(_, client)| Ok(client.clone()));
        }
        let client = match self.settings.build() {
            Ok(client) => client,
            Err(error) => return Some(Err(error)),
        };
        if clients.len() == MAX_RUNTIMES {
            clients.remove(0);
        }
        clients.push((runtime, client.clone()));
        Some(Ok(client))
    }
}

/// The settings of a backend's HTTP clients. TLS is set up once for all of them.
struct HttpSettings {
    backend: Backend,
    tls: ClientConfig,
}

impl HttpSettings {
    fn new(backend: &Backend) -> Result<Self, Error> {
        let tls = match backend.address() {
            Address::Http(url) if url.scheme() == "https" => system_certificates(),
            _ => no_certificates(),
        };
        let tls = tls.map_err(|error| {
            Error::Connection(format!(
                "{error}; if certificates are missing, install the system's ca-certificates or set SSL_CERT_FILE"
            ).into())
        })?;
        #[cfg(not(unix))]
        if matches!(backend.address(), Address::Unix(_)) {
            return Err(Error::InvalidArgument(
                "this system has no unix sockets: give the backend's URL as `https://HOST/…`"
                    .into(),
            ));
        }
        Ok(Self {
            backend: backend.clone(),
            tls,
        })
    }

    fn build(&self) -> reqwest::Result<reqwest::Client> {
        // The hooks follow redirects and limit the silence of a backend, so the HTTP library does
        // neither.
        let builder = reqwest::Client::builder()
            .user_agent(user_agent())
            .connect_timeout(self.backend.timeouts().connect)
            .redirect(redirect::Policy::none())
            .tls_backend_preconfigured(self.tls.clone());
        let builder = match self.backend.address() {
            Address::Http(url) if url.scheme() == "https" => builder,
            Address::Http(_) => builder.no_proxy(),
            #[cfg(unix)]
            Address::Unix(path) => builder
                .no_proxy()
                // Connecting is cheap, while an idle connection to an engine in this process costs
                // two descriptors.
                .pool_max_idle_per_host(MAX_IDLE_UNIX_CONNECTIONS)
                .unix_socket(self.backend.socket().unwrap_or(path)),
            #[cfg(not(unix))]
            Address::Unix(_) => builder,
        };
        builder.build()
    }
}

fn user_agent() -> String {
    format!(
        "contree/{} ({}; {})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// The program's cryptography, or else ring. Nothing is installed for the process.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}

/// A TLS configuration with the certificates that the system trusts.
fn system_certificates() -> Result<ClientConfig, rustls::Error> {
    let provider = provider();
    let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(&provider))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec!["http/1.1".into()];
    Ok(config)
}

/// A TLS configuration without certificates. Loading the system's certificates is slow, and fails
/// on a system without any.
fn no_certificates() -> Result<ClientConfig, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runtime_has_a_client_and_few_are_kept() {
        let backend = Backend::new("http://127.0.0.1:1").unwrap();
        let (clients, _) = HttpClients::new(&backend).unwrap();
        assert!(clients.current().is_none(), "there is no runtime");
        let build = || {
            runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
        };
        let first = build();
        let use_in = |runtime: &runtime::Runtime| {
            let _entered = runtime.enter();
            clients.current().unwrap().unwrap();
        };
        use_in(&first);
        for _ in 0..MAX_RUNTIMES * 2 {
            use_in(&build());
            use_in(&first);
        }
        let kept = clients.clients.lock().unwrap();
        assert_eq!(kept.len(), MAX_RUNTIMES);
        assert_eq!(kept.last().unwrap().0, first.handle().id());
    }
}
