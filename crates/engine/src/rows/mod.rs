//! The engine's records: images, tags, layers, files and operations in one SQLite file.
//!
//! The functions of the submodules are single statements or short sequences of them: they take a
//! connection and return rows. Callers combine them into transactions.

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

/// The migrations of the schema. A release appends to them and never edits one.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];

/// A shared handle to the engine's database. One connection for each process is enough, because
/// statements take microseconds.
#[derive(Clone)]
pub(super) struct Rows {
    connection: Arc<Mutex<Connection>>,
    path: PathBuf,
    /// The path of SQLite's write-ahead log.
    log: PathBuf,
}

impl Rows {
    /// Opens the database. A new one is created with a new store identity.
    pub(super) fn open(path: &Path) -> Result<Self, DbError> {
        let connection = sqlite::open(path, MIGRATIONS)?;
        connection.execute(
            "INSERT OR IGNORE INTO meta (key, value) VALUES ('store', ?1)",
            [Uuid::new_v4().to_string()],
        )?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            path: path.to_owned(),
            log: path.with_extension("db-wal"),
        })
    }

    /// Makes all committed transactions safe against a power loss. Without it they survive a killed
    /// process, but not a power loss.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        match File::open(&self.log) {
            Ok(log) => log.sync_data(),
            // SQLite has moved the log into the database, which it syncs before it removes the log.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The store's identity. Caches of its content use it as a key.
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

    /// Runs statements on this thread if the connection is free. Otherwise returns them unused.
    pub(super) fn read_now<T, S>(&self, statements: S) -> Result<Result<T, DbError>, S>
    where
        S: FnOnce(&Connection) -> Result<T, DbError>,
    {
        match self.connection.try_lock() {
            Ok(connection) => Ok(statements(&connection).map_err(|error| self.explain(error))),
            Err(_) => Err(statements),
        }
    }

    /// Runs read-only statements on this thread, which must be allowed to block.
    pub(super) fn read<T>(
        &self,
        statements: impl FnOnce(&Connection) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
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
    fn explain(&self, error: DbError) -> DbError {
        sqlite::classify(&self.path, error)
    }

    /// Runs statements in a write transaction and rolls it back.
    pub(super) fn dry_run<T>(
        &self,
        statements: impl FnOnce(&Transaction<'_>) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        self.transact(statements, |transaction| transaction.rollback())
    }

    /// Runs statements in one write transaction on this thread, which must be allowed to block.
    pub(super) fn write<T>(
        &self,
        statements: impl FnOnce(&Transaction<'_>) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        self.transact(statements, |transaction| transaction.commit())
    }

    fn transact<T>(
        &self,
        statements: impl FnOnce(&Transaction<'_>) -> Result<T, DbError>,
        finish: impl FnOnce(Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<T, DbError> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let run = || {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = statements(&transaction)?;
            finish(transaction)?;
            Ok(result)
        };
        run().map_err(|error| self.explain(error))
    }
}

/// Converts a time to its stored form: microseconds since the Unix epoch.
pub(super) fn to_micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// Converts a stored time back. A value outside the calendar becomes the Unix epoch.
pub(super) fn from_micros(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// Parses a UUID column. An invalid UUID, which only a damaged row has, becomes the nil UUID.
fn parse_uuid(text: String) -> Uuid {
    Uuid::parse_str(&text).unwrap_or_default()
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
