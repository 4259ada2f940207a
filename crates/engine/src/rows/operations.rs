//! Operations: what was asked for, how it stands, and how it ended.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::{micros, moment};
use crate::api::types::InstanceResult;
use contree_sqlite::DbError;

pub(crate) use crate::api::types::OperationStatus as Status;

impl Status {
    /// Whether nothing will change any more.
    pub(crate) fn is_terminal(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Cancelled)
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Operation {
    pub(crate) uuid: Uuid,
    /// `instance` or `image_import`.
    pub(crate) kind: String,
    pub(crate) status: Status,
    /// Why it failed or was cancelled.
    pub(crate) error: Option<String>,
    /// The image that it started from.
    pub(crate) image: Option<Uuid>,
    /// The image that it made or kept.
    pub(crate) result_image: Option<Uuid>,
    /// The accepted request.
    pub(crate) request: serde_json::Value,
    /// Exit state and resources, once it is over and a process ran.
    pub(crate) outcome: Option<InstanceResult>,
    /// Bytes of the result image, all layers together.
    pub(crate) image_size: Option<u64>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
}

/// How an operation ended.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) status: Status,
    pub(crate) error: Option<String>,
    pub(crate) result_image: Option<Uuid>,
    pub(crate) outcome: Option<InstanceResult>,
    pub(crate) image_size: Option<u64>,
}

/// What a listing is narrowed by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) limit: u32,
    pub(crate) offset: u64,
    pub(crate) status: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) since: Option<DateTime<Utc>>,
    pub(crate) until: Option<DateTime<Utc>>,
}

const COLUMNS: &str = "uuid, kind, status, error, image, result_image, request, outcome, image_size, created_at, ended_at";

fn operation(row: &Row<'_>) -> rusqlite::Result<Operation> {
    Ok(Operation {
        uuid: super::uuid(row.get(0)?),
        kind: row.get(1)?,
        status: row.get::<_, String>(2)?.parse().unwrap_or(Status::Failed),
        error: row.get(3)?,
        image: row.get::<_, Option<String>>(4)?.map(super::uuid),
        result_image: row.get::<_, Option<String>>(5)?.map(super::uuid),
        request: serde_json::from_str(&row.get::<_, String>(6)?).unwrap_or_default(),
        outcome: row
            .get::<_, Option<String>>(7)?
            .and_then(|text| serde_json::from_str(&text).ok()),
        image_size: row.get(8)?,
        created_at: moment(row.get(9)?),
        ended_at: row.get::<_, Option<i64>>(10)?.map(moment),
    })
}

/// An operation to record.
#[derive(Clone, Debug)]
pub(crate) struct New<'a> {
    pub(crate) uuid: Uuid,
    pub(crate) kind: &'a str,
    /// Whether it waits, or has its turn already.
    pub(crate) status: Status,
    pub(crate) image: Option<Uuid>,
    pub(crate) request: &'a serde_json::Value,
    /// The socket of the engine that runs it.
    pub(crate) door: Option<&'a str>,
    pub(crate) created_at: DateTime<Utc>,
}

/// Records a new operation.
pub(crate) fn insert(c: &Connection, new: &New<'_>) -> Result<(), DbError> {
    c.prepare_cached(
        "INSERT INTO operations (uuid, kind, status, image, request, door, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        new.uuid.to_string(),
        new.kind,
        new.status.as_str(),
        new.image.map(|u| u.to_string()),
        new.request.to_string(),
        new.door,
        micros(new.created_at)
    ])?;
    Ok(())
}

/// Moves an open operation on; never back.
pub(crate) fn set_status(c: &Connection, uuid: Uuid, status: Status) -> Result<(), DbError> {
    let before = match status {
        Status::Assigned => "('PENDING')",
        _ => "('PENDING', 'ASSIGNED')",
    };
    c.prepare_cached(&format!(
        "UPDATE operations SET status = ?2 WHERE uuid = ?1 AND ended_at IS NULL AND status IN {before}"
    ))?
    .execute(params![uuid.to_string(), status.as_str()])?;
    Ok(())
}

/// The socket of the engine that runs an open operation, if it has one.
pub(crate) fn door(c: &Connection, uuid: Uuid) -> Result<Option<String>, DbError> {
    let mut statement =
        c.prepare_cached("SELECT door FROM operations WHERE uuid = ?1 AND ended_at IS NULL")?;
    let found: Option<Option<String>> = statement
        .query_row([uuid.to_string()], |row| row.get(0))
        .optional()?;
    Ok(found.flatten())
}

/// Ends an open operation; false if it was over already, and then nothing is changed.
pub(crate) fn end(c: &Connection, uuid: Uuid, ending: &Ending) -> Result<bool, DbError> {
    let outcome = ending
        .outcome
        .as_ref()
        .and_then(|outcome| serde_json::to_string(outcome).ok());
    let changed = c.execute(
        "UPDATE operations SET status = ?2, error = ?3, result_image = ?4, outcome = ?5, image_size = ?6, ended_at = ?7
         WHERE uuid = ?1 AND ended_at IS NULL",
        params![
            uuid.to_string(),
            ending.status.as_str(),
            ending.error,
            ending.result_image.map(|u| u.to_string()),
            outcome,
            ending.image_size,
            micros(Utc::now())
        ],
    )?;
    Ok(changed > 0)
}

/// The operation of a UUID.
pub(crate) fn by_uuid(c: &Connection, uuid: Uuid) -> Result<Option<Operation>, DbError> {
    let mut statement =
        c.prepare_cached(&format!("SELECT {COLUMNS} FROM operations WHERE uuid = ?1"))?;
    Ok(statement
        .query_row([uuid.to_string()], operation)
        .optional()?)
}

/// Lists operations, newest first, without their requests.
pub(crate) fn list(c: &Connection, filter: &Filter) -> Result<Vec<Operation>, DbError> {
    // Requests may be large, and a listing has none of them.
    let columns = COLUMNS.replace("request", "'null'");
    let mut statement = c.prepare_cached(&format!(
        "SELECT {columns} FROM operations
         WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR kind = ?2)
           AND (?3 IS NULL OR created_at >= ?3) AND (?4 IS NULL OR created_at <= ?4)
         ORDER BY created_at DESC, uuid LIMIT ?5 OFFSET ?6"
    ))?;
    let rows = statement.query_map(
        params![
            filter.status,
            filter.kind,
            filter.since.map(micros),
            filter.until.map(micros),
            filter.limit,
            filter.offset
        ],
        operation,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The operations that are not over.
pub(crate) fn open(c: &Connection) -> Result<Vec<Uuid>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT uuid FROM operations WHERE status IN ('PENDING', 'ASSIGNED', 'EXECUTING')",
    )?;
    let rows = statement.query_map([], |row| row.get(0).map(super::uuid))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many operations stand in each state.
pub(crate) fn count(c: &Connection) -> Result<Vec<(String, i64)>, DbError> {
    let mut statement =
        c.prepare_cached("SELECT status, count(*) FROM operations GROUP BY status")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Asks the engine that runs an operation to end it.
pub(crate) fn ask_cancel(c: &Connection, uuid: Uuid, reason: &str) -> Result<(), DbError> {
    c.execute(
        "UPDATE operations SET cancel = ?2 WHERE uuid = ?1 AND ended_at IS NULL",
        [&uuid.to_string(), reason],
    )?;
    Ok(())
}

/// Open operations that somebody asked to end, with the reason given.
pub(crate) fn asked_to_cancel(c: &Connection) -> Result<Vec<(Uuid, String)>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT uuid, cancel FROM operations
         WHERE cancel IS NOT NULL AND status IN ('PENDING', 'ASSIGNED', 'EXECUTING')",
    )?;
    let rows = statement.query_map([], |row| Ok((super::uuid(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
