//! Statements about uploaded files. The same content is stored once and has one UUID.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::{from_micros, to_micros};
use contree_sqlite::DatabaseError;

/// An uploaded file. Its content is in `files/<sha256>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredFile {
    pub(crate) uuid: Uuid,
    /// The digest in lower-case hexadecimal.
    pub(crate) sha256: String,
    pub(crate) size: u64,
    pub(crate) created_at: DateTime<Utc>,
    /// The time of the newest upload of this content.
    pub(crate) updated_at: DateTime<Utc>,
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<StoredFile> {
    Ok(StoredFile {
        uuid: super::parse_uuid(row.get(0)?),
        sha256: row.get(1)?,
        size: row.get(2)?,
        created_at: from_micros(row.get(3)?),
        updated_at: from_micros(row.get(4)?),
    })
}

const COLUMNS: &str = "uuid, sha256, size, created_at, updated_at";

/// Records an upload. Content that is recorded already keeps its UUID.
pub(crate) fn record(c: &Connection, sha256: &str, size: u64) -> Result<StoredFile, DatabaseError> {
    let mut statement = c.prepare_cached(&format!(
        "INSERT INTO files ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?4)
         ON CONFLICT (sha256) DO UPDATE SET updated_at = excluded.updated_at RETURNING {COLUMNS}"
    ))?;
    Ok(statement.query_row(
        params![
            Uuid::new_v4().to_string(),
            sha256,
            size,
            to_micros(Utc::now())
        ],
        from_row,
    )?)
}

/// Finds a file by its digest.
pub(crate) fn by_digest(c: &Connection, sha256: &str) -> Result<Option<StoredFile>, DatabaseError> {
    let mut statement =
        c.prepare_cached(&format!("SELECT {COLUMNS} FROM files WHERE sha256 = ?1"))?;
    Ok(statement.query_row([sha256], from_row).optional()?)
}

/// Finds a file by its UUID.
pub(crate) fn by_uuid(c: &Connection, uuid: Uuid) -> Result<Option<StoredFile>, DatabaseError> {
    let mut statement =
        c.prepare_cached(&format!("SELECT {COLUMNS} FROM files WHERE uuid = ?1"))?;
    Ok(statement
        .query_row([uuid.to_string()], from_row)
        .optional()?)
}

/// Lists files, newest first.
pub(crate) fn list(
    c: &Connection,
    limit: u32,
    offset: u64,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
) -> Result<Vec<StoredFile>, DatabaseError> {
    let mut statement = c.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM files
         WHERE (?1 IS NULL OR created_at >= ?1) AND (?2 IS NULL OR created_at <= ?2)
         ORDER BY created_at DESC, uuid LIMIT ?3 OFFSET ?4"
    ))?;
    let rows = statement.query_map(
        params![since.map(to_micros), until.map(to_micros), limit, offset],
        from_row,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}
