//! What all calls of one process share: the backend, what is offered, what is remembered and what was left running.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{LocalAccess, ToolError, ToolSelection};
use crate::Client;
use crate::store::Store;
use contree_registry::HttpClients;

/// How long a cancelled operation may take to end before it is left to the backend.
const CANCEL: Duration = Duration::from_secs(10);

/// The name of the embedded engine.
const LOCAL: &str = "local";

/// Which backend a session uses, and what a user should know about it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BackendInfo {
    /// `cloud` or `local`.
    pub name: &'static str,
    /// Why this one.
    pub why: String,
    /// What else is to be said: ignored variables, limits of the backend.
    pub notes: Vec<String>,
    /// Whether operations end with this process.
    pub ends_with_process: bool,
}

/// Makes the client at its first use.
pub type Connect = Box<dyn Fn() -> BoxFuture<'static, Result<Client, ToolError>> + Send + Sync>;

/// What all calls of one process share.
pub struct Session {
    info: BackendInfo,
    connect: Connect,
    selection: ToolSelection,
    client: OnceCell<Client>,
    started: Mutex<BTreeSet<Uuid>>,
    store: Store,
    local: LocalAccess,
    registries: HttpClients,
    desktop: bool,
}

impl Session {
    /// A session that connects when a tool first needs to.
    #[must_use]
    pub fn new(info: BackendInfo, connect: Connect) -> Self {
        Self {
            info,
            connect,
            selection: ToolSelection::default(),
            client: OnceCell::new(),
            started: Mutex::default(),
            store: Store::in_memory(),
            local: LocalAccess::everything(),
            registries: HttpClients::default(),
            desktop: false,
        }
    }

    /// Remembers in this directory, which is made when it is first needed; without one, for as long as the process lives.
    #[must_use]
    pub fn with_state_directory(self, directory: std::path::PathBuf) -> Self {
        Self {
            store: Store::at(directory),
            ..self
        }
    }

    /// Bounds which files of this machine tools may touch; everything but credentials unless set.
    #[must_use]
    pub fn with_local_access(self, local: LocalAccess) -> Self {
        Self { local, ..self }
    }

    /// The user sits at this machine, so that a page can be opened in a browser here.
    #[must_use]
    pub fn with_desktop(self, desktop: bool) -> Self {
        Self { desktop, ..self }
    }

    /// What is remembered between calls.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Which files of this machine tools may touch.
    pub(crate) fn local(&self) -> &LocalAccess {
        &self.local
    }

    /// Connections to registries.
    pub(crate) fn registries(&self) -> &HttpClients {
        &self.registries
    }

    /// Whether a page can be opened in a browser here.
    pub(crate) fn has_desktop(&self) -> bool {
        self.desktop
    }

    /// Whether the embedded engine is the backend.
    pub(crate) fn is_local(&self) -> bool {
        self.info.name == LOCAL
    }

    /// Offers only a part of the tools.
    #[must_use]
    pub fn with_selection(self, selection: ToolSelection) -> Self {
        Self { selection, ..self }
    }

    /// Which tools are offered.
    #[must_use]
    pub fn selection(&self) -> &ToolSelection {
        &self.selection
    }

    /// The backend in use.
    #[must_use]
    pub fn info(&self) -> &BackendInfo {
        &self.info
    }

    /// The client, connected at the first call. A failure is not kept: the next call tries again.
    ///
    /// # Errors
    /// When the configuration is incomplete or the embedded engine cannot start; the text says what to do.
    pub async fn client(&self) -> Result<&Client, ToolError> {
        self.client.get_or_try_init(|| (self.connect)()).await
    }

    /// Adds to an error what only the session knows: where the backend is that cannot be reached, and that the embedded
    /// engine speaks for itself.
    #[must_use]
    pub fn explain(&self, error: ToolError) -> ToolError {
        if self.is_local() {
            return error.in_own_words();
        }
        match self.client.get() {
            Some(client) if error.is_unreachable() => error.and_hint(format_args!(
                "The backend is at {}: check the URL and the network.",
                client.backend().url()
            )),
            _ => error,
        }
    }

    /// Remembers an operation that nobody waits for, if it would end with this process.
    pub fn leave_running(&self, operation: Uuid) {
        if self.info.ends_with_process {
            self.lock().insert(operation);
        }
    }

    /// The operations left running that have not ended yet.
    pub async fn still_running(&self) -> Vec<Uuid> {
        let Some(client) = self.client.get() else {
            return Vec::new();
        };
        let left: Vec<Uuid> = self.lock().iter().copied().collect();
        let mut running = Vec::new();
        for operation in left {
            match client.wait(operation, Some(Duration::ZERO)).await {
                Ok(_) => {
                    self.lock().remove(&operation);
                }
                Err(_) => running.push(operation),
            }
        }
        running
    }

    /// Waits until the operations left running have ended, however they end.
    pub async fn wait_for_left(&self) {
        let Some(client) = self.client.get() else {
            return;
        };
        let left: Vec<Uuid> = self.lock().iter().copied().collect();
        for operation in left {
            if let Err(error) = client.wait(operation, None).await {
                tracing::warn!("cannot follow operation {operation} to its end: {error}");
            }
            self.lock().remove(&operation);
        }
    }

    /// Cancels the operations left running and waits a bounded time for their end.
    pub async fn cancel_left(&self) {
        let Some(client) = self.client.get() else {
            return;
        };
        let left: Vec<Uuid> = std::mem::take(&mut *self.lock()).into_iter().collect();
        let all = left.into_iter().map(|operation| async move {
            match client.cancel(operation).await {
                Ok(true) => drop(client.wait(operation, Some(CANCEL)).await),
                Ok(false) => {}
                Err(error) => tracing::warn!("cannot cancel operation {operation}: {error}"),
            }
        });
        futures_util::future::join_all(all).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<Uuid>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
