//! Building the clients of a backend.

use std::{any::Any, collections::BTreeSet, fmt, sync::Arc};

use tokio::sync::OnceCell;

use super::http_clients::HttpClients;
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
    pub(super) http: Arc<HttpClients>,
    /// The names of the extensions that the backend has, once it was asked.
    extensions: Arc<OnceCell<BTreeSet<String>>>,
    /// An object that must live as long as the client, such as the embedded engine.
    guard: Option<Arc<dyn Any + Send + Sync>>,
}

impl Client {
    /// Creates a client of `backend`; nothing is sent yet.
    ///
    /// Clones are cheap and share their connections. A client can be used in several Tokio
    /// runtimes: each has its own connections. Outside of a runtime, every call is
    /// [`Error::NoRuntime`]. For a backend on a unix socket or with an `http://` address, no
    /// certificates are loaded.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a token or project that an HTTP header cannot carry;
    /// [`Error::Connection`] if the system's certificates cannot be read.
    pub fn connect(backend: Backend) -> Result<Self, Error> {
        let (http, builder) = HttpClients::new(&backend)?;
        let base = match backend.address() {
            Address::Http(_) => format!("{}/v1", backend.url()),
            Address::Unix(_) => "http://localhost/v1".to_owned(),
        };
        let state = ClientState {
            credentials: backend.credentials()?,
            backend: Arc::new(backend),
            http: Arc::new(http),
            extensions: Arc::default(),
            guard: None,
        };
        // The generated code only builds requests with this client. The hooks send them.
        Ok(Self::new_with_client(&base, builder, state))
    }

    /// The backend this client talks to.
    pub fn backend(&self) -> &Backend {
        &self.inner.backend
    }

    /// A client of the same backend with connections of its own. They work on another runtime.
    pub(crate) fn reconnect(&self) -> Result<Self, Error> {
        let mut fresh = Self::connect(self.backend().clone())?;
        fresh.inner.guard.clone_from(&self.inner.guard);
        Ok(fresh)
    }

    /// Keeps `guard` alive as long as any clone of this client.
    #[allow(dead_code, reason = "used by the embedded engine, which is a feature")]
    pub(crate) fn with_guard(mut self, guard: Arc<dyn Any + Send + Sync>) -> Self {
        self.inner.guard = Some(guard);
        self
    }

    /// A clone of this client that does not keep the guard alive.
    pub(super) fn without_guard(&self) -> Self {
        let mut client = self.clone();
        client.inner.guard = None;
        client
    }
}

impl ClientState {
    /// The names of the extensions that the backend has, once it was asked.
    pub(super) fn extensions(&self) -> &OnceCell<BTreeSet<String>> {
        &self.extensions
    }
}

impl fmt::Debug for ClientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.backend.fmt(f)
    }
}
