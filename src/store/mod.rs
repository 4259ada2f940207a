//! State that tools keep between calls, in one SQLite file.
//!
//! Only its owner can read the file. All servers of a state directory share it.
//!
//! The file is opened at first use. If it cannot be opened, or a newer release wrote it, a database
//! in memory replaces it until the process ends. A corrupt file is renamed and a new one started.
//! Both cases are reported as notes, not as errors.
//!
//! The submodules hold the SQL statements and the types of their rows.

pub(crate) mod build_steps;
pub(crate) mod contents;
pub(crate) mod credentials;
mod error;
pub(crate) mod hashes;
pub(crate) mod last_runs;
pub(crate) mod lineage;
pub(crate) mod placements;
pub(crate) mod sessions;
pub(crate) mod states;
pub(crate) mod uploads;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use contree_sqlite::{self as sqlite, DatabaseError};

pub(crate) use error::StoreError;

/// Schema migrations, oldest first. A release appends one and never edits earlier ones.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("placements.sql"),
    include_str!("sessions.sql"),
    include_str!("build_steps.sql"),
    include_str!("removals.sql"),
    include_str!("last_runs.sql"),
];
/// How long to wait for another process that sets a corrupt file aside.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// The remedy for a directory that cannot be used.
const STATE_DIRECTORY_REMEDY: &str =
    "; set CONTREE_STATE_DIR to another directory, which you can write";
/// Name of the database file.
const FILE: &str = "store.db";

/// A shared handle to the store. Clones use the same connection.
#[derive(Clone, Debug)]
pub(crate) struct Store(Arc<StoreState>);

#[derive(Debug)]
struct StoreState {
    /// `None` for a store in memory.
    directory: Option<PathBuf>,
    connection: Mutex<Option<Connection>>,
    notes: Mutex<Vec<String>>,
    /// The reason why a store with a directory is in memory.
    in_memory_because: Mutex<Option<String>>,
}

impl Store {
    /// Creates a store in a directory. Directory and database are created at first use.
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self::of(Some(directory))
    }

    /// Creates a store in memory, which ends with the process.
    pub(crate) fn in_memory() -> Self {
        Self::of(None)
    }

    fn of(directory: Option<PathBuf>) -> Self {
        Self(Arc::new(StoreState {
            directory,
            connection: Mutex::default(),
            notes: Mutex::default(),
            in_memory_because: Mutex::default(),
        }))
    }

    /// Problems to report to the user: the store could not be opened, or was set aside.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.0.notes().clone()
    }

    /// Runs statements that only read.
    ///
    /// # Errors
    /// If SQLite fails.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        statements: impl FnOnce(&Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.with(|connection| statements(connection)).await
    }

    /// Runs statements in one transaction that writes.
    ///
    /// # Errors
    /// If SQLite fails. Then nothing is written.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        statements: impl FnOnce(&Transaction<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.with(|connection| {
            // A transaction that starts as a reader and then writes fails at once with SQLITE_BUSY
            // instead of waiting for the other writer.
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = statements(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
        .await
    }

    /// Runs statements like [`write`](Self::write), for records that must outlive the process: ids
    /// that a caller uses later, and credentials.
    ///
    /// # Errors
    /// If SQLite fails, or if the file could not be opened. Then nothing is written.
    pub(crate) async fn write_durably<T: Send + 'static>(
        &self,
        statements: impl FnOnce(&Transaction<'_>) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if let Some(why) = self.replaced_because().await? {
            return Err(StoreError::InMemory { why });
        }
        self.write(statements).await
    }

    /// Runs statements like [`read`](Self::read), for records that an earlier process has stored.
    ///
    /// # Errors
    /// If SQLite fails, or if the file could not be opened. The record may then exist.
    pub(crate) async fn read_durably<T: Send + 'static>(
        &self,
        statements: impl FnOnce(&Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if let Some(why) = self.replaced_because().await? {
            return Err(StoreError::Unreadable { why });
        }
        self.read(statements).await
    }

    /// The reason why a store in memory replaces the file. The first use opens the file.
    async fn replaced_because(&self) -> Result<Option<String>, StoreError> {
        self.with(|_| Ok(())).await?;
        let reason = self.0.in_memory_because.lock();
        Ok(reason.unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn with<T: Send + 'static>(
        &self,
        statements: impl FnOnce(&mut Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        let result = contree_tasks::blocking(move || inner.run(statements))
            .await
            .map_err(|error| DatabaseError::Open {
                path: PathBuf::from(FILE),
                source: std::io::Error::other(error.to_string()),
            })?;
        Ok(result?)
    }
}

impl StoreState {
    fn notes(&self) -> MutexGuard<'_, Vec<String>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, note: String) {
        tracing::warn!("{note}");
        self.notes().push(note);
    }

    fn run<T>(
        &self,
        statements: impl FnOnce(&mut Connection) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let mut slot = self.lock_open()?;
        let Some(connection) = slot.as_mut() else {
            unreachable!("`lock_open` has put a connection there");
        };
        let result = statements(connection);
        if let Err(error) = &result {
            self.close_if_broken(&mut slot, error);
        }
        result
    }

    /// Locks the connection, which is open then.
    fn lock_open(&self) -> Result<MutexGuard<'_, Option<Connection>>, DatabaseError> {
        // A panic under the lock leaves no open transaction: rusqlite rolls back on drop.
        let mut slot = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(self.open()?);
        }
        Ok(slot)
    }

    /// Closes a broken database. The next call opens a new one.
    fn close_if_broken(&self, slot: &mut Option<Connection>, error: &DatabaseError) {
        let DatabaseError::Sqlite(error) = error else {
            return;
        };
        if is_broken(error) {
            *slot = None;
            if let Some(directory) = &self.directory {
                self.set_aside(&directory.join(FILE), &error.to_string());
            }
        }
    }

    fn open(&self) -> Result<Connection, DatabaseError> {
        let Some(directory) = &self.directory else {
            return in_memory();
        };
        let path = directory.join(FILE);
        let opened = private_directory(directory)
            .map_err(|source| DatabaseError::Open {
                path: directory.clone(),
                source,
            })
            .and_then(|()| sqlite::open(&path, MIGRATIONS));
        let error = match opened {
            Ok(connection) => return Ok(connection),
            Err(DatabaseError::Broken { source, .. }) => {
                self.set_aside(&path, &source.to_string());
                match sqlite::open(&path, MIGRATIONS) {
                    Ok(connection) => return Ok(connection),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let remedy = match &error {
            DatabaseError::Open { .. } | DatabaseError::Sqlite(_) => STATE_DIRECTORY_REMEDY,
            _ => "",
        };
        let why = format!("{error}{remedy}");
        *self
            .in_memory_because
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
        self.note(format!(
            "{why}; until the server restarts, tools keep their state in memory only"
        ));
        in_memory()
    }

    /// Renames a corrupt database, so that a new one can be created.
    fn set_aside(&self, path: &Path, why: &str) {
        // Another server may have replaced the file already. A sound file is left in place.
        let Ok(lock) = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.with_extension("aside"))
        else {
            return;
        };
        let locked = sqlite::lock_file(&lock, &path.with_extension("aside"), LOCK_TIMEOUT);
        if locked.is_err() || (sqlite::open(path, MIGRATIONS).is_ok() && is_sound(path)) {
            return;
        }
        let aside = path.with_extension(format!("broken-{}", now() / 1000));
        if std::fs::rename(path, &aside).is_err() {
            return;
        }
        for suffix in ["-wal", "-shm"] {
            let name = |path: &Path| {
                let mut name = path.as_os_str().to_owned();
                name.push(suffix);
                PathBuf::from(name)
            };
            let _ = std::fs::rename(name(path), name(&aside));
        }
        self.note(format!(
            "the store {} cannot be read ({why}); it was moved to {}, and a new store was started",
            path.display(),
            aside.display()
        ));
    }
}

fn in_memory() -> Result<Connection, DatabaseError> {
    let connection = Connection::open_in_memory()?;
    for migration in MIGRATIONS {
        connection.execute_batch(migration)?;
    }
    Ok(connection)
}

fn is_broken(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    )
}

fn is_sound(path: &Path) -> bool {
    let checked = Connection::open(path)
        .and_then(|c| c.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)));
    checked.is_ok_and(|answer| answer == "ok")
}

/// Creates the directory with mode 0700. An existing one gets that mode too, unless it is shared
/// (sticky bit).
fn private_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        const STICKY: u32 = 0o1000;
        builder.mode(0o700).create(path)?;
        let mode = std::fs::metadata(path)?.permissions().mode();
        if mode & 0o077 != 0 && mode & STICKY == 0 {
            // Failure is acceptable: another user may own the directory, and the database file
            // itself is private.
            let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700));
        }
        Ok(())
    }
    #[cfg(not(unix))]
    builder.create(path)
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
