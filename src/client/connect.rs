//! Building the HTTP client of a backend.

use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::redirect;
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};

use crate::{
    Error,
    api::Client,
    backend::{Address, Backend, Credentials},
};

/// The state that all clones of a [`Client`] share.
#[derive(Clone)]
pub(crate) struct ClientState {
    pub(super) backend: Arc<Backend>,
    pub(super) credentials: Credentials,
    /// The HTTP client for uploads. It has no idle timeout, since a server sends nothing while it
    /// receives.
    uploads: Arc<OnceLock<reqwest::Client>>,
    /// An object that must live as long as the client, such as the embedded engine.
    guard: Option<Arc<dyn Any + Send + Sync>>,
}

/// Maximum number of idle connections kept to a unix socket.
#[cfg(unix)]
const MAX_IDLE_UNIX_CONNECTIONS: usize = 8;

impl Client {
    /// Creates a client of `backend`; nothing is sent yet.
    ///
    /// Clones are cheap and share their connections. For a backend on a unix socket or with an
    /// `http://` address, no certificates are loaded.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a token or project that an HTTP header cannot carry;
    /// [`Error::Connection`] if the system's certificates cannot be read.
    pub fn connect(backend: Backend) -> Result<Self, Error> {
        let http = build_http_client(&backend, Some(backend.timeouts().idle))?;
        let base = match backend.address() {
            Address::Http(_) => format!("{}/v1", backend.url()),
            Address::Unix(_) => "http://localhost/v1".to_owned(),
        };
        let state = ClientState {
            credentials: backend.credentials()?,
            backend: Arc::new(backend),
            uploads: Arc::default(),
            guard: None,
        };
        Ok(Self::new_with_client(&base, http, state))
    }

    /// The backend this client talks to.
    pub fn backend(&self) -> &Backend {
        &self.inner.backend
    }

    /// Keeps `guard` alive as long as any clone of this client.
    #[allow(dead_code, reason = "used by the embedded engine, which is a feature")]
    pub(crate) fn with_guard(mut self, guard: Arc<dyn Any + Send + Sync>) -> Self {
        self.inner.guard = Some(guard);
        self
    }
}

impl ClientState {
    /// The HTTP client for uploads, built at the first upload.
    pub(super) fn upload_client(&self, fallback: &reqwest::Client) -> reqwest::Client {
        self.uploads
            .get_or_init(|| {
                build_http_client(&self.backend, None).unwrap_or_else(|_| fallback.clone())
            })
            .clone()
    }
}

impl fmt::Debug for ClientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.backend.fmt(f)
    }
}

fn build_http_client(backend: &Backend, idle: Option<Duration>) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(user_agent())
        .connect_timeout(backend.timeouts().connect)
        .redirect(redirects_within_origin());
    if let Some(idle) = idle {
        builder = builder.read_timeout(idle);
    }
    builder = match backend.address() {
        Address::Http(url) if url.scheme() == "https" => {
            install_provider();
            builder
        }
        // Neither a proxy nor TLS is needed here. Without this configuration, rustls would load the
        // system's certificates: that is slow, and fails on a system without any.
        Address::Http(_) => builder
            .no_proxy()
            .tls_backend_preconfigured(tls_without_certificates()?),
        #[cfg(unix)]
        Address::Unix(path) => builder
            .no_proxy()
            .tls_backend_preconfigured(tls_without_certificates()?)
            // Connecting is cheap, while an idle connection to an engine in this process costs two
            // descriptors.
            .pool_max_idle_per_host(MAX_IDLE_UNIX_CONNECTIONS)
            .unix_socket(backend.socket().unwrap_or(path)),
        #[cfg(not(unix))]
        Address::Unix(_) => {
            return Err(Error::InvalidArgument(
                "this system has no unix sockets: give the backend's URL as `https://HOST/…`"
                    .into(),
            ));
        }
    };
    builder.build().map_err(|error| {
        let why = super::errors::chain(&error.without_url());
        Error::Connection(format!(
            "{why}; if certificates are missing, install the system's ca-certificates or set SSL_CERT_FILE"
        ))
    })
}

fn user_agent() -> String {
    format!(
        "contree/{} ({}; {})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// Follows redirects within one origin only: for another origin, reqwest drops `Authorization` but
/// not `Project`.
fn redirects_within_origin() -> redirect::Policy {
    const LIMIT: usize = 5;
    redirect::Policy::custom(|attempt| {
        let stays = attempt
            .previous()
            .last()
            .is_some_and(|previous| previous.origin() == attempt.url().origin());
        if stays && attempt.previous().len() <= LIMIT {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}

/// Installs a cryptography provider unless the program has already chosen one.
fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // It fails only if another thread installed one first, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

fn tls_without_certificates() -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Connection(error.to_string()))?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}
