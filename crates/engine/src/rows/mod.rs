//! The engine's records: images, tags, layers, files and operations in one SQLite file.
//!
//! The functions of the submodules are single statements or short sequences of them: they take a
//! connection and return rows. Callers combine them into transactions.

pub(super) mod clock;
pub(super) mod files;
pub(super) mod images;
pub(super) mod imports;
pub(super) mod layers;
pub(super) mod log;
pub(super) mod operations;
pub(super) mod pushes;
pub(super) mod upkeep;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};
use serde::Serialize;
use tokio::sync::Notify;
use uuid::Uuid;

use self::clock::{Ages, StoreClock};
use contree_sqlite::{self as sqlite, DatabaseError};

/// The migrations of the schema. A release appends to them and never edits one.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("log.sql"),
    include_str!("push.sql"),
    include_str!("codes.sql"),
];

/// A shared handle to the engine's database. One connection for each process is enough, because
/// statements take microseconds.
#[derive(Clone)]
pub(super) struct Rows {
    connection: Arc<Mutex<Connection>>,
    path: PathBuf,
    clock: Arc<StoreClock>,
    changes: Arc<UnsyncedChanges>,
}

/// Transactions that a power loss could still undo.
#[derive(Default)]
struct UnsyncedChanges {
    exist: AtomicBool,
    added: Notify,
}

impl Rows {
    /// Opens the database. A new one is created with a new store identity.
    pub(super) fn open(path: &Path) -> Result<Self, DatabaseError> {
        Self::with_clock(path, StoreClock::of_machine())
    }

    /// Opens the database with another clock than that of this machine.
    pub(super) fn with_clock(path: &Path, clock: StoreClock) -> Result<Self, DatabaseError> {
        let connection = sqlite::open(path, MIGRATIONS)?;
        // A database on a full disk can be opened, so only a new one is written to.
        if Self::meta(&connection, "store")?.is_none() {
            connection.execute(
                "INSERT OR IGNORE INTO meta (key, value) VALUES ('store', ?1)",
                [Uuid::new_v4().to_string()],
            )?;
        }
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            path: path.to_owned(),
            clock: Arc::new(clock),
            changes: Arc::default(),
        })
    }

    /// Makes all committed transactions safe against a power loss. Without it they survive a killed
    /// process, but not a power loss.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        self.changes.exist.store(false, Ordering::Release);
        self.sync_log().inspect_err(|_| {
            self.changes.exist.store(true, Ordering::Release);
        })
    }

    fn sync_log(&self) -> std::io::Result<()> {
        let log = self.path.with_extension("db-wal");
        match File::open(&log) {
            Ok(log) => log.sync_data()?,
            // SQLite has moved the log into the database, which it syncs before it removes the log.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        // The log's name in its directory.
        match log.parent() {
            Some(directory) => File::open(directory)?.sync_data(),
            None => Ok(()),
        }
    }

    /// Returns whether a power loss could undo a transaction of this process.
    pub(super) fn has_unsynced_changes(&self) -> bool {
        self.changes.exist.load(Ordering::Acquire)
    }

    /// Waits for a transaction that a power loss could undo.
    pub(super) async fn changed(&self) {
        self.changes.added.notified().await;
    }

    /// The ages of recorded times, now.
    pub(super) fn ages(&self, connection: &Connection) -> Result<Ages, DatabaseError> {
        Ages::at(connection, &self.clock.read())
    }

    /// The store's identity. Caches of its content use it as a key.
    pub(super) fn identity(&self) -> Result<String, DatabaseError> {
        self.read(|c| {
            Ok(
                c.query_row("SELECT value FROM meta WHERE key = 'store'", [], |row| {
                    row.get(0)
                })?,
            )
        })
    }

    /// A value of the `meta` table.
    pub(super) fn meta(
        connection: &Connection,
        key: &str,
    ) -> Result<Option<String>, DatabaseError> {
        Ok(connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                row.get(0)
            })
            .optional()?)
    }

    /// Sets a value of the `meta` table.
    pub(super) fn set_meta(
        connection: &Connection,
        key: &str,
        value: &str,
    ) -> Result<(), DatabaseError> {
        connection.execute(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [key, value],
        )?;
        Ok(())
    }

    /// Runs statements on this thread if the connection is free. Otherwise returns them unused.
    pub(super) fn read_now<T, S>(&self, statements: S) -> Result<Result<T, DatabaseError>, S>
    where
        S: FnOnce(&Connection) -> Result<T, DatabaseError>,
    {
        match self.connection.try_lock() {
            Ok(connection) => Ok(statements(&connection).map_err(|error| self.explain(error))),
            Err(_) => Err(statements),
        }
    }

    /// Runs read-only statements on this thread, which must be allowed to block.
    pub(super) fn read<T>(
        &self,
        statements: impl FnOnce(&Connection) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        // A poisoned lock is safe to use: rusqlite rolls a transaction back when a panic drops it.
        statements(
            &self
                .connection
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
        .map_err(|error| self.explain(error))
    }

    /// Names the file in an error that concerns all of it, such as damage or a full disk.
    fn explain(&self, error: DatabaseError) -> DatabaseError {
        sqlite::classify(&self.path, error)
    }

    /// Runs read-only statements that all see the same state, on this thread, which must be allowed
    /// to block.
    pub(super) fn read_snapshot<T>(
        &self,
        statements: impl FnOnce(&Transaction<'_>) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        statements(&transaction)
    }

    /// Runs statements in one write transaction on this thread, which must be allowed to block.
    pub(super) fn write<T>(
        &self,
        statements: impl FnOnce(&Transaction<'_>) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let result = self
            .write_unclassified(statements)
            .map_err(|error| self.explain(error))?;
        self.changes.exist.store(true, Ordering::Release);
        self.changes.added.notify_one();
        Ok(result)
    }

    fn write_unclassified<T>(
        &self,
        statements: impl FnOnce(&Transaction<'_>) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let reading = self.clock.read();
        let noting = self.clock.is_due(&reading);
        if noting {
            clock::note(&transaction, &reading)?;
        }
        let result = statements(&transaction)?;
        transaction.commit()?;
        if noting {
            self.clock.set_noted(reading);
        }
        Ok(result)
    }
}

/// Converts a value to the JSON of a column.
fn to_json(value: &impl Serialize) -> Result<String, DatabaseError> {
    let text = serde_json::to_string(value);
    Ok(text.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?)
}

/// Converts a time to its stored form: microseconds since the Unix epoch.
pub(super) fn to_micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// Converts a stored time back. A value outside the calendar becomes the Unix epoch.
pub(super) fn from_micros(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// Parses a UUID column. An invalid UUID, which only a damaged row has, is logged and becomes the
/// nil UUID.
fn parse_uuid(text: String) -> Uuid {
    Uuid::parse_str(&text).unwrap_or_else(|error| {
        tracing::warn!(uuid = %text.escape_debug(), %error, "cannot read the UUID of a record");
        Uuid::nil()
    })
}

/// Runs `work` and returns its result with the log messages of this thread.
#[cfg(test)]
pub(super) fn logged<T>(work: impl FnOnce() -> T) -> (T, String) {
    /// A writer that collects log lines.
    #[derive(Clone, Default)]
    struct LogLines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for LogLines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let lines = LogLines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let result = tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    (result, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_that_is_found_after_opening_names_the_file_and_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        drop(Rows::open(&path).unwrap());
        let rows = Rows::open(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        // The header stays; every later page is overwritten.
        bytes[4096..].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let count = |c: &Connection| {
            Ok(c.query_row("SELECT count(*) FROM operations", [], |row| {
                row.get::<_, i64>(0)
            })?)
        };
        let error = rows.read(count).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert!(error.contains("restore it from a backup"), "{error}");
        let error = rows.write(|t| count(t)).unwrap_err().to_string();
        assert!(error.contains("restore it from a backup"), "{error}");
    }
}
