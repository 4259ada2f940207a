//! The state that all requests share: records, layers, running operations, open views.

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
use crate::image::view_cache::ViewCache;
use crate::import::imports::Imports;
use crate::operation::queue::Queue;
use crate::operation::running::RunningOperation;
use crate::operation::silent_owners::SilentOwners;
use crate::operation::unrecorded_endings::UnrecordedEndings;
use crate::ports::Publisher;
use crate::reserve::{ReleasedReserve, Reserve, ReserveUse};
use crate::rows::files::StoredFile;
use crate::rows::{Rows, clock, layers};
use crate::run::live_output::LastOutputs;
use crate::shared_memory::SharedMemory;
use crate::unrecorded_layers;
use contree_sqlite::DatabaseError;

/// The engine of one process on one data directory.
pub(crate) struct Engine {
    pub(crate) rows: Rows,
    pub(crate) store: LayerStore,
    /// The identity of the store, which is the same in every process that serves it.
    pub(crate) identity: String,
    /// The kernel's id of this boot. A layer of an earlier boot that was not synced may be
    /// incomplete.
    pub(crate) boot: String,
    /// The number of layers on disk that have no record.
    pub(crate) unrecorded_layers: usize,
    /// Unfinished operations of this process.
    pub(crate) running: Mutex<HashMap<Uuid, Arc<RunningOperation>>>,
    /// The queue of commands.
    pub(crate) run_queue: Arc<Queue>,
    /// The socket on which other engines of the store send requests to this one.
    socket: OnceLock<String>,
    /// The other engines of the store that did not answer lately.
    pub(crate) silent_owners: SilentOwners,
    pub(crate) imports: Imports,
    pub(crate) views: ViewCache,
    /// Days after which unused images, files and records are removed. 0: never.
    pub(crate) retention_days: u32,
    /// Layers whose chains have become long and are to be squashed.
    pub(crate) squash_queue: SquashQueue,
    /// The newest output of the runs that ended last.
    pub(crate) last_outputs: LastOutputs,
    /// The network of the sandboxes.
    pub(crate) egress: Egress,
    /// The published ports of the sandboxes.
    pub(crate) publisher: Arc<Publisher>,
    /// The size of /dev/shm in sandboxes.
    pub(crate) shared_memory: SharedMemory,
    /// Ended operations of this process whose ending could not be recorded yet.
    pub(crate) unrecorded: UnrecordedEndings,
    /// Files whose content is acknowledged and not yet synced.
    unsynced_files: Mutex<Vec<PathBuf>>,
    /// Notified when a commit has to be synced.
    pub(crate) committed: Notify,
    /// Notified when something could not be recorded or removed, and has to be tried again.
    pub(crate) cleanup: Notify,
    /// Notified when an operation was accepted.
    pub(crate) accepted: Notify,
    /// Cancelled when the engine stops.
    pub(crate) stopping: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// The part of the reserve that was released to open the database. It is made again last, when
    /// the database is closed.
    _reserve: Option<ReleasedReserve>,
}

impl Engine {
    /// Opens the data directory, which may be in use by other engines.
    pub(crate) fn open(config: &LocalConfig) -> Result<Self, EngineError> {
        Self::open_with_reserve(config).map_err(|error| error.while_opening(&config.data_dir))
    }

    /// Opens the data directory. On a full disk, it releases the reserve.
    fn open_with_reserve(config: &LocalConfig) -> Result<Self, EngineError> {
        let reserve = Reserve::of(&config.data_dir);
        let error = match Self::try_open(config) {
            Ok(engine) => {
                reserve.fill();
                return Ok(engine);
            }
            Err(error) => error,
        };
        if !reserve.is_disk_full() {
            return Err(error);
        }
        let released = reserve.release(ReserveUse::Open);
        match Self::try_open(config) {
            Ok(engine) => Ok(Self {
                _reserve: Some(released),
                ..engine
            }),
            // On a full disk, SQLite has several errors for the same cause.
            Err(EngineError::Records(DatabaseError::Sqlite(_))) => Err(DatabaseError::Full {
                path: config.data_dir.join("store.db"),
            }
            .into()),
            Err(error) => Err(error),
        }
    }

    fn try_open(config: &LocalConfig) -> Result<Self, EngineError> {
        data_directory::prepare(&config.data_dir)?;
        let store = LayerStore::open(&config.data_dir, config.store_options())?;
        let rows = Rows::open(&config.data_dir.join("store.db"))?;
        let identity = rows.identity()?;
        let boot = clock::boot_id();
        // Lost images are marked before any layer is served. Without the boot's id, layers of
        // earlier boots cannot be recognized. Nothing is written without need, since the disk may
        // be full.
        let lost =
            if !boot.is_empty() && rows.read(|c| layers::has_unsynced_of_other_boots(c, &boot))? {
                rows.write(|t| layers::mark_lost_images(t, &boot))?
            } else {
                0
            };
        if lost > 0 {
            tracing::warn!(
                images = lost,
                "these images were not yet on disk when the machine lost power, so they are lost"
            );
        }
        let unrecorded_layers = unrecorded_layers::protect(&store, &rows)?;
        let egress = Egress::new(config.egress_settings(), store.id_map().is_single());
        Ok(Self {
            rows,
            store,
            identity,
            boot,
            unrecorded_layers,
            running: Mutex::default(),
            shared_memory: SharedMemory::new(config.shm_size),
            run_queue: Queue::new(config.max_concurrency, max_waiting(config.max_pending)),
            socket: OnceLock::new(),
            silent_owners: SilentOwners::default(),
            imports: Imports::new(config),
            views: ViewCache::default(),
            retention_days: config.retention().unwrap_or(0),
            squash_queue: SquashQueue::default(),
            last_outputs: LastOutputs::default(),
            egress,
            publisher: Arc::new(Publisher::new(config.publish, config.max_concurrency)),
            unrecorded: UnrecordedEndings::default(),
            unsynced_files: Mutex::default(),
            committed: Notify::new(),
            cleanup: Notify::new(),
            accepted: Notify::new(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            _reserve: None,
        })
    }

    /// Gives up the reserve for deleting records and files, if the disk is full. The result makes
    /// it again.
    pub(crate) fn release_reserve(&self) -> Option<ReleasedReserve> {
        let reserve = Reserve::of(self.store.root());
        reserve
            .is_disk_full()
            .then(|| reserve.release(ReserveUse::Upkeep))
    }

    /// Has a file synced together with the records that follow.
    pub(crate) fn sync_with_records(&self, file: PathBuf) {
        self.unsynced_files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(file);
    }

    /// Takes the files that are to be synced together with the records.
    pub(crate) fn take_unsynced_files(&self) -> Vec<PathBuf> {
        std::mem::take(
            &mut *self
                .unsynced_files
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// The socket for other engines of the store, once this engine listens.
    pub(crate) fn socket(&self) -> Option<&str> {
        self.socket.get().map(String::as_str)
    }

    /// Sets the socket for other engines of the store. Called before any operation is accepted.
    pub(crate) fn set_socket(&self, socket: &Path) {
        let _ = self.socket.set(socket.to_string_lossy().into_owned());
    }

    /// An unfinished operation of this process.
    pub(crate) fn running(&self, operation: Uuid) -> Option<Arc<RunningOperation>> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&operation)
            .cloned()
    }

    /// Returns whether this process has an unfinished operation.
    pub(crate) fn is_busy(&self) -> bool {
        !self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Cancels all operations of this process.
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

    /// The path of an operation's event log.
    pub(crate) fn log_path(&self, operation: Uuid) -> PathBuf {
        self.store
            .root()
            .join("events")
            .join(format!("{operation}.jsonl"))
    }

    /// The path of an uploaded file's content.
    pub(crate) fn file_path(&self, sha256: &str) -> PathBuf {
        self.store.root().join("files").join(sha256)
    }

    /// Returns whether a file's content is complete. A power loss may have truncated it.
    pub(crate) fn has_content(&self, file: &StoredFile) -> bool {
        fs::metadata(self.file_path(&file.sha256))
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == file.size)
    }

    /// Runs read-only statements.
    ///
    /// If the connection is free, they run on this thread, because they take microseconds and no
    /// write of another process delays them. Otherwise they run on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        statements: impl FnOnce(&Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let statements = match self.rows.read_now(statements) {
            Ok(result) => return Ok(result?),
            Err(statements) => statements,
        };
        let rows = self.rows.clone();
        blocking(move || Ok(rows.read(statements)?)).await
    }

    /// Runs statements in one write transaction, on a thread that may block.
    pub(crate) async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        statements: impl FnOnce(&Transaction<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let rows = self.rows.clone();
        blocking(move || Ok(rows.write(statements)?)).await
    }
}

/// The number of commands that may wait, at most `wanted`.
///
/// A waiting command holds two file descriptors and a running one many more, so waiting commands
/// get a quarter of the process's limit.
fn max_waiting(wanted: usize) -> usize {
    let descriptors = contree_sandbox::descriptor_limit();
    usize::try_from(descriptors / 4).map_or(wanted, |available| available.min(wanted))
}
