//! Opens SQLite databases: permissions, write-ahead log, busy time-out and migrations.
//!
//! All processes open a database in the same way. Readers never block a writer, a writer waits for
//! another one instead of failing, and each migration is applied exactly once.

#![forbid(unsafe_code)]

mod lock;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

/// How long a connection waits for another process's write before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long opening a database waits for another process that is opening it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

pub use lock::lock_file;

/// An error of opening or using a database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The file or its lock cannot be created or opened.
    #[error("cannot open the database {path}: {source}")]
    Open {
        /// The database file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A newer release has written the file.
    #[error(
        "the database {path} has schema {found}, but this release supports schemas up to {known}; use a newer release"
    )]
    TooNew {
        /// The database file.
        path: PathBuf,
        /// The schema number in the file.
        found: usize,
        /// The newest schema of this release.
        known: usize,
    },
    /// The file is not a database, or it is damaged.
    #[error(
        "the database {path} cannot be read ({source}); restore it from a backup, or move its directory away to start with an empty one"
    )]
    Broken {
        /// The database file.
        path: PathBuf,
        /// The error of SQLite.
        source: rusqlite::Error,
    },
    /// The disk is full.
    #[error("no space is left on the disk of {path}; free some, then try again")]
    Full {
        /// The database file.
        path: PathBuf,
    },
    /// SQLite failed to run a statement.
    #[error("the database cannot run a statement: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl DatabaseError {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> contree_error_codes::ErrorCode {
        use contree_error_codes::ErrorCode;
        match self {
            Self::Open { source, .. } => {
                ErrorCode::of_io(source).unwrap_or(ErrorCode::DataDirectoryUnusable)
            }
            Self::TooNew { .. } => ErrorCode::DataDirectoryNewer,
            Self::Broken { .. } => ErrorCode::RecordsDamaged,
            Self::Full { .. } => ErrorCode::DiskFull,
            Self::Sqlite(_) => ErrorCode::EngineFailed,
        }
    }
}

/// Opens the database at `path` and applies the `migrations` that it lacks, in order. Creates a
/// missing file with mode 0600.
///
/// `PRAGMA user_version` holds the number of applied migrations. A `.lock` file next to the
/// database lets one process at a time open it, because switching a new file to the write-ahead log
/// ignores the busy time-out.
pub fn open(path: &Path, migrations: &[&str]) -> Result<Connection, DatabaseError> {
    let failed = |source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    };
    let _lock = lock(&path.with_extension("lock")).map_err(failed)?;
    open_private(path).map_err(failed)?;
    connect(path, migrations).map_err(|error| classify(path, error))
}

fn connect(path: &Path, migrations: &[&str]) -> Result<Connection, DatabaseError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // After a power loss, a transaction that was not yet synced is either complete or missing.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // In KiB. Statements touch single rows, and the kernel caches the file's pages anyway.
    connection.pragma_update(None, "cache_size", -512)?;
    migrate(&mut connection, path, migrations)?;
    Ok(connection)
}

/// Maps SQLite's error codes to the variants that name the database and the remedy.
#[must_use]
pub fn classify(path: &Path, error: DatabaseError) -> DatabaseError {
    let DatabaseError::Sqlite(source) = error else {
        return error;
    };
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            DatabaseError::Broken { path, source }
        }
        Some(ErrorCode::DiskFull) => DatabaseError::Full { path },
        _ => DatabaseError::Sqlite(source),
    }
}

fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[&str],
) -> Result<(), DatabaseError> {
    let applied = |c: &Connection| -> Result<usize, rusqlite::Error> {
        c.pragma_query_value(None, "user_version", |row| row.get(0))
    };
    // A database that is up to date is not written to, so that it can be opened on a full disk.
    if applied(connection)? == migrations.len() && !migrations.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = applied(&transaction)?;
    if found > migrations.len() {
        return Err(DatabaseError::TooNew {
            path: path.to_owned(),
            found,
            known: migrations.len(),
        });
    }
    for migration in &migrations[found..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", migrations.len())?;
    transaction.commit()?;
    Ok(())
}

/// Takes an exclusive advisory lock on `path`, held until the file is dropped.
fn lock(path: &Path) -> std::io::Result<File> {
    let file = open_private(path)?;
    lock_file(&file, path, LOCK_TIMEOUT)?;
    Ok(file)
}

/// Opens or creates a file that only its owner may read.
fn open_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE a (x INTEGER);";
    const SECOND: &str = "ALTER TABLE a ADD COLUMN y INTEGER;";

    #[test]
    fn migrations_are_applied_once_and_in_order() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("t.db");
        drop(open(&path, &[FIRST]).expect("first schema"));
        let connection = open(&path, &[FIRST, SECOND]).expect("second schema");
        connection
            .execute("INSERT INTO a (x, y) VALUES (1, 2)", [])
            .expect("both columns");
    }

    #[test]
    fn a_database_that_is_up_to_date_is_opened_without_a_write() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("t.db");
        let writer = open(&path, &[FIRST]).expect("open");
        // A write of another process. Opening would wait for it if it wrote too.
        writer
            .execute_batch("BEGIN IMMEDIATE; INSERT INTO a (x) VALUES (1)")
            .expect("write");
        let (sender, opened) = std::sync::mpsc::channel();
        let reader = path.clone();
        std::thread::spawn(move || sender.send(open(&reader, &[FIRST]).map(drop)));
        let opened = opened.recv_timeout(BUSY_TIMEOUT / 2);
        opened.expect("no wait for the writer").expect("open");
        writer.execute_batch("COMMIT").expect("commit");
    }

    #[test]
    fn a_newer_schema_is_an_error_and_the_file_is_unchanged() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("t.db");
        drop(open(&path, &[FIRST, SECOND]).expect("two"));
        assert!(matches!(
            open(&path, &[FIRST]),
            Err(DatabaseError::TooNew {
                found: 2,
                known: 1,
                ..
            })
        ));
        open(&path, &[FIRST, SECOND]).expect("still there");
    }

    #[test]
    fn a_file_that_is_not_a_database_is_named_and_unchanged() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("t.db");
        let text = "this is a text, and long enough to be read as a header".repeat(20);
        std::fs::write(&path, &text).expect("write");
        let error = open(&path, &[FIRST]).expect_err("no database");
        assert!(error.to_string().contains("t.db"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
    }

    #[test]
    fn concurrent_openers_of_a_new_file_all_succeed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("t.db");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let connection = open(&path, &[FIRST]).expect("open");
                    for x in 0..20 {
                        connection
                            .execute("INSERT INTO a (x) VALUES (?1)", [x])
                            .expect("insert");
                    }
                });
            }
        });
        let rows: i64 = open(&path, &[FIRST])
            .expect("open")
            .query_row("SELECT count(*) FROM a", [], |row| row.get(0))
            .expect("count");
        assert_eq!(rows, 160);
    }

    #[test]
    fn only_the_owner_may_read_a_database() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("t.db");
        drop(open(&path, &[FIRST]).expect("open"));
        let mode = std::fs::metadata(&path)
            .expect("metadata")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
