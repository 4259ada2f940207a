//! The engine's records: images, tags, layers, files and operations in one SQLite file.
//!
//! The functions of the submodules are statements, nothing more: they take a connection and return rows. What has to be
//! atomic is put into one transaction by the caller.

pub(super) mod files;
pub(super) mod images;
pub(super) mod imports;
pub(super) mod layers;
pub(super) mod operations;
pub(super) mod upkeep;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};
use uuid::Uuid;

use contree_sqlite::{self as sqlite, DbError};

/// The schema's history; a release appends, it never edits.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];

/// A shared handle to the engine's database. One connection a process: statements take microseconds.
#[derive(Clone)]
pub(super) struct Rows {
    connection: Arc<Mutex<Connection>>,
    /// SQLite's write-ahead log, beside the database.
    log: PathBuf,
}

impl Rows {
    /// Opens the database, and makes it with a fresh store identity if it is new.
    pub(super) fn open(path: &Path) -> Result<Self, DbError> {
        let connection = sqlite::open(path, MIGRATIONS)?;
        connection.execute(
            "INSERT OR IGNORE INTO meta (key, value) VALUES ('store', ?1)",
            [Uuid::new_v4().to_string()],
        )?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            log: path.with_extension("db-wal"),
        })
    }

    /// Makes what was written safe against a power loss. Transactions alone are not: they survive a killed process.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        match File::open(&self.log) {
            Ok(log) => log.sync_data(),
            // Moved into the database, which SQLite syncs before it removes the log.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The store's identity, by which caches of its content are keyed.
    pub(super) fn identity(&self) -> Result<String, DbError> {
        self.read(|c| {
            Ok(
                c.query_row("SELECT value FROM meta WHERE key = 'store'", [], |row| {
                    row.get(0)
                })?,
            )
        })
    }

    /// A value of the `meta` table.
    pub(super) fn meta(connection: &Connection, key: &str) -> Result<Option<String>, DbError> {
        Ok(connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                row.get(0)
            })
            .optional()?)
    }

    /// Sets a value of the `meta` table.
    pub(super) fn set_meta(connection: &Connection, key: &str, value: &str) -> Result<(), DbError> {
        connection.execute(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [key, value],
        )?;
        Ok(())
    }

    /// Runs statements on this thread if nobody else uses the connection; else gives them back.
    pub(super) fn read_now<T, S>(&self, statements: S) -> Result<Result<T, DbError>, S>
    where
        S: FnOnce(&Connection) -> Result<T, DbError>,
    {
        match self.connection.try_lock() {
            Ok(connection) => Ok(statements(&connection)),
            Err(_) => Err(statements),
        }
    }

    /// Runs statements on this thread. Only for threads that may block.
    pub(super) fn read<T>(
        &self,
        statements: impl FnOnce(&Connection) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        // A panic while the lock was held left no half-done transaction: rusqlite rolls back on drop.
        statements(
            &self
                .connection
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Runs statements as [`Rows::write`] does, and undoes what they did.
    pub(super) fn rehearse<T>(
        &self,
        statements: impl FnOnce(&Transaction<'_>) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = statements(&transaction)?;
        transaction.rollback()?;
        Ok(done)
    }

    /// Runs statements in one write transaction on this thread. Only for threads that may block.
    pub(super) fn write<T>(
        &self,
        statements: impl FnOnce(&Transaction<'_>) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = statements(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

/// A moment as it is stored: microseconds since the Unix epoch.
pub(super) fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// The moment that [`micros`] stored; a value outside the calendar reads as the epoch.
pub(super) fn moment(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// Reads a UUID column. What is no UUID is a broken row and reads as the nil UUID, which names nothing.
fn uuid(text: String) -> Uuid {
    Uuid::parse_str(&text).unwrap_or_default()
}
