//! State that all calls of a process share: the backend, offered tools, store and unattended
//! operations.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::disk_usage::DiskUsageReader;
use super::operation_end::read_events;
use super::{LocalAccess, ToolError, ToolSelection};
use crate::store::Store;
use crate::{Client, OutputPosition};
use contree_registry::HttpClients;

/// How long to wait for the end of a cancelled operation.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// The most runs with a noted output limit, and the most processes with a noted position.
const MAX_NOTES: usize = 10_000;

/// Name of the embedded engine as a backend.
const LOCAL_BACKEND: &str = "local";

/// The backend of a session, with facts for its user.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BackendInfo {
    /// `cloud` or `local`.
    pub name: &'static str,
    /// Reason for the choice of this backend.
    pub why: String,
    /// Notes for the user: ignored variables, limits of the backend.
    pub notes: Vec<String>,
    /// Whether operations end with this process.
    pub ends_with_process: bool,
}

/// Creates the client at its first use.
pub type ClientFactory =
    Box<dyn Fn() -> BoxFuture<'static, Result<Client, ToolError>> + Send + Sync>;

/// State that all calls of a process share.
pub struct Session {
    info: BackendInfo,
    connect: ClientFactory,
    selection: ToolSelection,
    client: OnceCell<Client>,
    /// Operations that no call waits for and that would end with this process.
    unattended: Mutex<BTreeSet<Uuid>>,
    /// The bytes of output to show of each run that this process has started.
    output_limits: Mutex<NewestValues<Uuid, u64>>,
    /// The end of the output that was shown of each running process.
    output_positions: Mutex<NewestValues<(Uuid, u64), OutputPosition>>,
    store: Store,
    local_access: LocalAccess,
    registry_clients: HttpClients,
    desktop: bool,
    /// Measures the disk usage of the embedded engine.
    disk_usage: Option<DiskUsageReader>,
}

/// Values of the newest keys.
struct NewestValues<K, V> {
    values: HashMap<K, V>,
    /// The keys, oldest first.
    keys: VecDeque<K>,
}

impl<K, V> Default for NewestValues<K, V> {
    fn default() -> Self {
        Self {
            values: HashMap::new(),
            keys: VecDeque::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, V: Copy> NewestValues<K, V> {
    fn insert(&mut self, key: K, value: V) {
        if self.values.insert(key, value).is_none() {
            self.keys.push_back(key);
        }
        if self.keys.len() > MAX_NOTES
            && let Some(oldest) = self.keys.pop_front()
        {
            self.values.remove(&oldest);
        }
    }

    fn get(&self, key: &K) -> Option<V> {
        self.values.get(key).copied()
    }
}

impl Session {
    /// Creates a session. It connects when a tool first needs the backend.
    #[must_use]
    pub fn new(info: BackendInfo, connect: ClientFactory) -> Self {
        Self {
            info,
            connect,
            selection: ToolSelection::default(),
            client: OnceCell::new(),
            unattended: Mutex::default(),
            output_limits: Mutex::default(),
            output_positions: Mutex::default(),
            store: Store::in_memory(),
            local_access: LocalAccess::everything(),
            registry_clients: HttpClients::default(),
            desktop: false,
            disk_usage: None,
        }
    }

    /// Keeps state in this directory, which is created at first use. Without one, state ends with
    /// the process.
    #[must_use]
    pub fn with_state_directory(self, directory: std::path::PathBuf) -> Self {
        Self {
            store: Store::at(directory),
            ..self
        }
    }

    /// Restricts which local files tools may access. The default is everything but credentials.
    #[must_use]
    pub fn with_local_access(self, local: LocalAccess) -> Self {
        Self {
            local_access: local,
            ..self
        }
    }

    /// Sets whether the user sits at this machine, so that a browser can be opened here.
    #[must_use]
    pub fn with_desktop(self, desktop: bool) -> Self {
        Self { desktop, ..self }
    }

    /// Sets the function that measures the disk usage of the embedded engine.
    #[cfg(all(feature = "engine", target_os = "linux"))]
    #[must_use]
    pub(crate) fn with_disk_usage(self, reader: DiskUsageReader) -> Self {
        Self {
            disk_usage: Some(reader),
            ..self
        }
    }

    /// Returns the function that measures the disk usage of the embedded engine.
    pub(crate) fn disk_usage(&self) -> Option<DiskUsageReader> {
        self.disk_usage.as_ref().map(Arc::clone)
    }

    /// Returns the state store.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the rules for access to local files.
    pub(crate) fn local_access(&self) -> &LocalAccess {
        &self.local_access
    }

    /// Returns the HTTP client for registries.
    pub(crate) fn registry_clients(&self) -> &HttpClients {
        &self.registry_clients
    }

    /// Reports whether a browser can be opened on this machine.
    pub(crate) fn has_desktop(&self) -> bool {
        self.desktop
    }

    /// Reports whether the embedded engine is the backend.
    pub(crate) fn is_local(&self) -> bool {
        self.info.name == LOCAL_BACKEND
    }

    /// Restricts the offered tools.
    #[must_use]
    pub fn with_selection(self, selection: ToolSelection) -> Self {
        Self { selection, ..self }
    }

    /// Returns the offered tools.
    #[must_use]
    pub fn selection(&self) -> &ToolSelection {
        &self.selection
    }

    /// Returns facts about the backend in use.
    #[must_use]
    pub fn info(&self) -> &BackendInfo {
        &self.info
    }

    /// Returns the client, connected at the first call. A failure is not cached: the next call
    /// retries.
    ///
    /// # Errors
    /// If the configuration is incomplete or the embedded engine cannot start. The message says
    /// what to do.
    pub async fn client(&self) -> Result<&Client, ToolError> {
        self.client.get_or_try_init(|| (self.connect)()).await
    }

    /// Completes an error: adds the URL of an unreachable backend, and removes HTTP statuses of the
    /// embedded engine.
    #[must_use]
    pub fn explain(&self, error: ToolError) -> ToolError {
        if self.is_local() {
            return error.without_status();
        }
        match self.client.get() {
            Some(client) if error.is_unreachable() => error.and_hint(format_args!(
                "The backend is at {}: check the URL and the network.",
                client.backend().url()
            )),
            _ => error,
        }
    }

    /// Adds an operation that no call waits for, if it would end with this process.
    pub fn leave_running(&self, operation: Uuid) {
        if self.info.ends_with_process {
            self.unattended().insert(operation);
        }
    }

    /// Notes the number of bytes of each stream to show of a run.
    pub(crate) fn set_output_limit(&self, operation: Uuid, limit: u64) {
        self.output_limits().insert(operation, limit);
    }

    /// Returns the noted number of bytes. `None` for operations of other processes, and for one
    /// that many newer ones have followed.
    pub(crate) fn output_limit(&self, operation: Uuid) -> Option<u64> {
        self.output_limits().get(&operation)
    }

    /// Returns the end of the output that was shown of a process. At first it is 0.
    pub(crate) fn output_position(&self, operation: Uuid, process: u64) -> OutputPosition {
        let positions = self.output_positions();
        positions.get(&(operation, process)).unwrap_or_default()
    }

    /// Notes the end of the output that was shown of a process.
    pub(crate) fn set_output_position(
        &self,
        operation: Uuid,
        process: u64,
        position: OutputPosition,
    ) {
        self.output_positions()
            .insert((operation, process), position);
    }

    fn output_positions(
        &self,
    ) -> std::sync::MutexGuard<'_, NewestValues<(Uuid, u64), OutputPosition>> {
        self.output_positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn output_limits(&self) -> std::sync::MutexGuard<'_, NewestValues<Uuid, u64>> {
        self.output_limits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the unattended operations that still run.
    pub async fn still_running(&self) -> Vec<Uuid> {
        let Some(client) = self.client.get() else {
            return Vec::new();
        };
        let unattended: Vec<Uuid> = self.unattended().iter().copied().collect();
        let mut running = Vec::new();
        for operation in unattended {
            match client.wait(operation, Some(Duration::ZERO)).await {
                Ok(_) => {
                    self.unattended().remove(&operation);
                }
                Err(_) => running.push(operation),
            }
        }
        running
    }

    /// Waits for all unattended operations to end, with whatever status.
    pub async fn wait_for_unattended(&self) {
        let Some(client) = self.client.get() else {
            return;
        };
        let unattended: Vec<Uuid> = self.unattended().iter().copied().collect();
        for operation in unattended {
            read_events(client, operation, Duration::MAX, |_| {}).await;
            if let Err(error) = client.wait(operation, None).await {
                tracing::warn!("cannot wait for the end of operation {operation}: {error}");
            }
            self.unattended().remove(&operation);
        }
    }

    /// Cancels the unattended operations and waits up to 10 seconds for each to end.
    pub async fn cancel_unattended(&self) {
        let Some(client) = self.client.get() else {
            return;
        };
        let unattended: Vec<Uuid> = std::mem::take(&mut *self.unattended())
            .into_iter()
            .collect();
        let cancellations = unattended.into_iter().map(|operation| async move {
            match client.cancel(operation).await {
                Ok(true) => {
                    read_events(client, operation, CANCEL_TIMEOUT, |_| {}).await;
                    let _ = client.wait(operation, Some(CANCEL_TIMEOUT)).await;
                }
                Ok(false) => {}
                Err(error) => tracing::warn!("cannot cancel operation {operation}: {error}"),
            }
        });
        futures_util::future::join_all(cancellations).await;
    }

    fn unattended(&self) -> std::sync::MutexGuard<'_, BTreeSet<Uuid>> {
        self.unattended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_the_newest_keys_are_known() {
        let mut limits = NewestValues::default();
        for number in 0..=MAX_NOTES as u128 {
            limits.insert(Uuid::from_u128(number), 1);
            limits.insert(Uuid::from_u128(number), 2);
        }
        assert_eq!(limits.values.len(), MAX_NOTES);
        assert_eq!(limits.keys.len(), MAX_NOTES);
        assert_eq!(limits.get(&Uuid::from_u128(0)), None);
        assert_eq!(limits.get(&Uuid::from_u128(1)), Some(2));
    }
}
