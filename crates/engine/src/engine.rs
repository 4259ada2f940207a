//! What all requests share: records, layers, running operations, open views.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use contree_sandbox::LayerStore;
use rusqlite::{Connection, Transaction};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::blocking::blocking;
use crate::config::LocalConfig;
use crate::data_directory;
use crate::egress::Egress;
use crate::error::ApiError;
use crate::error::EngineError;
use crate::image::squash_queue::SquashQueue;
use crate::image::views::Views;
use crate::import::imports::Imports;
use crate::operation::queue::Queue;
use crate::operation::running::Running;
use crate::rows::files::StoredFile;
use crate::rows::{Rows, layers};
use contree_sqlite::DbError;

/// The engine of one process on one data directory.
pub(crate) struct Engine {
    pub(crate) rows: Rows,
    pub(crate) store: LayerStore,
    /// Names the store, whichever process serves it.
    pub(crate) identity: String,
    /// The machine's boot, by which layers are told that a power loss may have cut.
    pub(crate) boot: String,
    /// Operations of this process that are not over.
    pub(crate) running: Mutex<HashMap<Uuid, Arc<Running>>>,
    /// Commands that run, and those that wait.
    pub(crate) instances: Arc<Queue>,
    /// The socket on which other engines of the store reach this one.
    socket: OnceLock<String>,
    pub(crate) imports: Imports,
    pub(crate) views: Views,
    /// After how many days what nobody used is removed; 0 is never.
    pub(crate) retention_days: u32,
    /// Chains that have become long.
    pub(crate) squash_queue: SquashQueue,
    /// The network of the sandboxes.
    pub(crate) egress: Egress,
    /// A commit that is not synced yet.
    pub(crate) committed: Notify,
    /// An operation that was accepted.
    pub(crate) accepted: Notify,
    /// The engine is being stopped.
    pub(crate) stopping: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Engine {
    /// Opens the data directory, which may be in use by other engines.
    pub(crate) fn open(config: &LocalConfig) -> Result<Self, EngineError> {
        data_directory::prepare(&config.data_dir)?;
        let store = LayerStore::open(&config.data_dir, config.store_options())?;
        let rows = Rows::open(&config.data_dir.join("store.db"))?;
        let identity = rows.identity()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim().to_owned();
        // Before anything is served from them.
        let lost = if boot.is_empty() {
            // Not to be known here, so that it says nothing about what others have recorded.
            0
        } else {
            rows.write(|t| layers::drop_unsynced(t, &boot))?
        };
        if lost > 0 {
            tracing::warn!(
                images = lost,
                "images were not on disk when the machine went down, and are gone"
            );
        }
        let egress = Egress::new(config.egress_settings(), store.id_map().is_single());
        Ok(Self {
            rows,
            store,
            identity,
            boot,
            running: Mutex::default(),
            instances: Queue::new(config.max_concurrency, most_waiting(config.max_pending)),
            socket: OnceLock::new(),
            imports: Imports::new(config),
            views: Views::default(),
            retention_days: config.retention(),
            squash_queue: SquashQueue::default(),
            egress,
            committed: Notify::new(),
            accepted: Notify::new(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Where other engines of the store reach this one, once it is up.
    pub(crate) fn socket(&self) -> Option<&str> {
        self.socket.get().map(String::as_str)
    }

    /// Says where other engines of the store reach this one. Before anything is accepted.
    pub(crate) fn set_socket(&self, socket: &Path) {
        let _ = self.socket.set(socket.to_string_lossy().into_owned());
    }

    /// An operation of this process, if it is not over.
    pub(crate) fn running(&self, operation: Uuid) -> Option<Arc<Running>> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&operation)
            .cloned()
    }

    /// Whether an operation of this process is not over.
    pub(crate) fn is_busy(&self) -> bool {
        !self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Asks all operations of this process to end.
    pub(crate) fn cancel_all(&self, reason: &str) {
        for running in self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            running.cancel(reason);
        }
    }

    /// The log of an operation.
    pub(crate) fn log_path(&self, operation: Uuid) -> PathBuf {
        self.store
            .root()
            .join("events")
            .join(format!("{operation}.jsonl"))
    }

    /// The content of an uploaded file.
    pub(crate) fn file_path(&self, sha256: &str) -> PathBuf {
        self.store.root().join("files").join(sha256)
    }

    /// Whether a file's content is there in full; it may have been cut by a power loss.
    pub(crate) fn has_content(&self, file: &StoredFile) -> bool {
        fs::metadata(self.file_path(&file.sha256))
            .is_ok_and(|found| found.is_file() && found.len() == file.size)
    }

    /// Runs read-only statements: here if the connection is free, since they take microseconds and no other process's
    /// write holds them up; else off the asynchronous threads.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        statements: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let statements = match self.rows.read_now(statements) {
            Ok(done) => return Ok(done?),
            Err(busy) => busy,
        };
        let rows = self.rows.clone();
        blocking(move || Ok(rows.read(statements)?)).await
    }

    /// Runs statements in one write transaction off the asynchronous threads.
    pub(crate) async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        statements: impl FnOnce(&Transaction<'_>) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let rows = self.rows.clone();
        blocking(move || Ok(rows.write(statements)?)).await
    }
}

/// How many commands may wait. Each holds two descriptors, and what runs needs many more.
fn most_waiting(wanted: usize) -> usize {
    let descriptors = contree_sandbox::raise_descriptor_limit();
    usize::try_from(descriptors / 4).map_or(wanted, |fit| fit.min(wanted))
}
