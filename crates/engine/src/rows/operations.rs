//! SQL statements about operations: their request, status and ending.

use chrono::{DateTime, Utc};
use contree_error_codes::ErrorCode;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::{from_micros, to_micros};
use crate::api::types::InstanceResult;
use contree_sqlite::DatabaseError;

pub(crate) use crate::api::types::OperationStatus as Status;

/// The kind of an operation that runs a command.
pub(crate) const INSTANCE: &str = "instance";

/// The kind of an operation that pushes an image. Clients that know only the API's kinds do not see
/// it, since a listing has it only on request.
pub(crate) const PUSH: &str = "image_push";

impl Status {
    /// Returns whether the operation is over.
    pub(crate) fn is_terminal(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Cancelled)
    }
}

/// An operation as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Operation {
    pub(crate) uuid: Uuid,
    /// [`INSTANCE`], `image_import` or [`PUSH`].
    pub(crate) kind: String,
    pub(crate) status: Status,
    /// The reason of a failure or cancellation.
    pub(crate) error: Option<String>,
    /// The code of that reason. Records of earlier releases have none.
    pub(crate) code: Option<ErrorCode>,
    /// The image on which it started.
    pub(crate) image: Option<Uuid>,
    /// The image that it made. A run that changed nothing has the image on which it started.
    pub(crate) result_image: Option<Uuid>,
    /// The accepted request, without secrets.
    pub(crate) request: serde_json::Value,
    /// Exit state and resources of the main process, once the operation is over.
    pub(crate) outcome: Option<InstanceResult>,
    /// The size of all layers of the result image, in bytes.
    pub(crate) image_size: Option<u64>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
}

/// The ending of an operation, to record.
#[derive(Clone, Debug)]
pub(crate) struct OperationEnding {
    pub(crate) status: Status,
    pub(crate) error: Option<String>,
    /// The code of `error`.
    pub(crate) code: Option<ErrorCode>,
    pub(crate) result_image: Option<Uuid>,
    pub(crate) outcome: Option<InstanceResult>,
    pub(crate) image_size: Option<u64>,
    /// The time of the end. The caller measures it, so that a clock that is set meanwhile does not
    /// change the duration.
    pub(crate) ended_at: DateTime<Utc>,
}

impl Operation {
    /// The command of a run, with its arguments, or the reference of an import or a push.
    pub(crate) fn requested(&self) -> Option<String> {
        let reference = self.request.pointer("/registry/url");
        if let Some(reference) = reference.and_then(Value::as_str) {
            return Some(reference.to_owned());
        }
        let command = self.request["command"].as_str()?;
        let arguments = self.request["args"].as_array().into_iter().flatten();
        let words = std::iter::once(command).chain(arguments.filter_map(Value::as_str));
        Some(words.collect::<Vec<_>>().join(" "))
    }

    /// Adds an ending that is not recorded yet.
    pub(crate) fn end_with(&mut self, ending: &OperationEnding) {
        self.status = ending.status;
        self.error.clone_from(&ending.error);
        self.code = ending.code;
        self.result_image = ending.result_image;
        self.outcome.clone_from(&ending.outcome);
        self.image_size = ending.image_size;
        self.ended_at = Some(ending.ended_at);
    }
}

/// The filter of a listing of operations.
#[derive(Clone, Debug, Default)]
pub(crate) struct OperationFilter {
    pub(crate) limit: u32,
    pub(crate) offset: u64,
    pub(crate) status: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) since: Option<DateTime<Utc>>,
    pub(crate) until: Option<DateTime<Utc>>,
}

const COLUMNS: &str = "uuid, kind, status, error, image, result_image, request, outcome, image_size, created_at, ended_at, code";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Operation> {
    let uuid = super::parse_uuid(row.get(0)?);
    Ok(Operation {
        uuid,
        kind: row.get(1)?,
        status: parse_status(uuid, &row.get::<_, String>(2)?),
        error: row.get(3)?,
        image: row.get::<_, Option<String>>(4)?.map(super::parse_uuid),
        result_image: row.get::<_, Option<String>>(5)?.map(super::parse_uuid),
        request: parse_json(uuid, "request", &row.get::<_, String>(6)?).unwrap_or_default(),
        outcome: row
            .get::<_, Option<String>>(7)?
            .and_then(|text| parse_json(uuid, "outcome", &text)),
        image_size: row.get(8)?,
        created_at: from_micros(row.get(9)?),
        ended_at: row.get::<_, Option<i64>>(10)?.map(from_micros),
        // A later release may have recorded a code that this one does not have.
        code: row
            .get::<_, Option<String>>(11)?
            .and_then(|code| code.parse().ok()),
    })
}

/// Parses a status. An unknown one is logged and counts as FAILED.
fn parse_status(operation: Uuid, text: &str) -> Status {
    text.parse().unwrap_or_else(|_| {
        tracing::warn!(%operation, status = %text.escape_debug(), "unknown status of an operation; it counts as FAILED");
        Status::Failed
    })
}

/// Parses a JSON column. A value that this release cannot read is logged and ignored.
fn parse_json<T: DeserializeOwned>(operation: Uuid, column: &str, text: &str) -> Option<T> {
    serde_json::from_str(text)
        .inspect_err(
            |error| tracing::warn!(%operation, column, %error, "cannot read a record of an operation"),
        )
        .ok()
}

/// A new operation, to record.
#[derive(Clone, Debug)]
pub(crate) struct NewOperation<'a> {
    pub(crate) uuid: Uuid,
    pub(crate) kind: &'a str,
    /// PENDING if it waits in the queue, else ASSIGNED.
    pub(crate) status: Status,
    pub(crate) image: Option<Uuid>,
    pub(crate) request: &'a serde_json::Value,
    /// The socket of its owner.
    pub(crate) owner_socket: Option<&'a str>,
    /// The program that asked for it, as it names itself.
    pub(crate) client: Option<&'a str>,
    pub(crate) created_at: DateTime<Utc>,
}

/// Records a new operation.
pub(crate) fn insert(c: &Connection, operation: &NewOperation<'_>) -> Result<(), DatabaseError> {
    c.prepare_cached(
        "INSERT INTO operations (uuid, kind, status, image, request, door, created_at, client) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        operation.uuid.to_string(),
        operation.kind,
        operation.status.as_str(),
        operation.image.map(|u| u.to_string()),
        operation.request.to_string(),
        operation.owner_socket,
        to_micros(operation.created_at),
        operation.client
    ])?;
    Ok(())
}

/// Advances the status of an unfinished operation. A status that it already passed is ignored.
pub(crate) fn set_status(c: &Connection, uuid: Uuid, status: Status) -> Result<(), DatabaseError> {
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

/// Finds the socket of an unfinished operation's owner.
pub(crate) fn owner_socket(c: &Connection, uuid: Uuid) -> Result<Option<String>, DatabaseError> {
    let mut statement =
        c.prepare_cached("SELECT door FROM operations WHERE uuid = ?1 AND ended_at IS NULL")?;
    let socket: Option<Option<String>> = statement
        .query_row([uuid.to_string()], |row| row.get(0))
        .optional()?;
    Ok(socket.flatten())
}

/// Ends an unfinished operation. Returns false, and changes nothing, if it is over already.
pub(crate) fn end(
    c: &Connection,
    uuid: Uuid,
    ending: &OperationEnding,
) -> Result<bool, DatabaseError> {
    let outcome = ending.outcome.as_ref().map(super::to_json).transpose()?;
    let changed = c.execute(
        "UPDATE operations SET status = ?2, error = ?3, result_image = ?4, outcome = ?5, image_size = ?6, ended_at = ?7, code = ?8
         WHERE uuid = ?1 AND ended_at IS NULL",
        params![
            uuid.to_string(),
            ending.status.as_str(),
            ending.error,
            ending.result_image.map(|u| u.to_string()),
            outcome,
            ending.image_size,
            to_micros(ending.ended_at),
            ending.code.map(ErrorCode::name)
        ],
    )?;
    Ok(changed > 0)
}

/// Finds an operation by its UUID.
pub(crate) fn by_uuid(c: &Connection, uuid: Uuid) -> Result<Option<Operation>, DatabaseError> {
    let mut statement =
        c.prepare_cached(&format!("SELECT {COLUMNS} FROM operations WHERE uuid = ?1"))?;
    Ok(statement
        .query_row([uuid.to_string()], from_row)
        .optional()?)
}

/// Lists operations, newest first, without their requests.
pub(crate) fn list(
    c: &Connection,
    filter: &OperationFilter,
) -> Result<Vec<Operation>, DatabaseError> {
    // Requests may be large, and a listing does not show them.
    let columns = COLUMNS.replace("request", "'null'");
    let mut statement = c.prepare_cached(&format!(
        "SELECT {columns} FROM operations
         WHERE (?1 IS NULL OR status = ?1) AND (kind = ?2 OR (?2 IS NULL AND kind <> '{PUSH}'))
           AND (?3 IS NULL OR created_at >= ?3) AND (?4 IS NULL OR created_at <= ?4)
         ORDER BY created_at DESC, uuid LIMIT ?5 OFFSET ?6"
    ))?;
    let rows = statement.query_map(
        params![
            filter.status,
            filter.kind,
            filter.since.map(to_micros),
            filter.until.map(to_micros),
            filter.limit,
            filter.offset
        ],
        from_row,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists unfinished operations.
pub(crate) fn unfinished(c: &Connection) -> Result<Vec<Uuid>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "SELECT uuid FROM operations WHERE status IN ('PENDING', 'ASSIGNED', 'EXECUTING')",
    )?;
    let rows = statement.query_map([], |row| row.get(0).map(super::parse_uuid))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Counts the operations of each status.
pub(crate) fn count_by_status(c: &Connection) -> Result<Vec<(String, i64)>, DatabaseError> {
    let mut statement =
        c.prepare_cached("SELECT status, count(*) FROM operations GROUP BY status")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Asks the owner of an unfinished operation to cancel it.
pub(crate) fn request_cancel(
    c: &Connection,
    uuid: Uuid,
    reason: &str,
) -> Result<(), DatabaseError> {
    c.execute(
        "UPDATE operations SET cancel = ?2 WHERE uuid = ?1 AND ended_at IS NULL",
        [&uuid.to_string(), reason],
    )?;
    Ok(())
}

/// Lists unfinished operations that another process has asked to cancel, with the reasons.
pub(crate) fn cancel_requests(c: &Connection) -> Result<Vec<(Uuid, String)>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "SELECT uuid, cancel FROM operations
         WHERE cancel IS NOT NULL AND status IN ('PENDING', 'ASSIGNED', 'EXECUTING')",
    )?;
    let rows = statement.query_map([], |row| Ok((super::parse_uuid(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::super::images::{self, Image};
    use super::super::{Rows, layers, logged};
    use super::*;

    const OPERATION: Uuid = Uuid::from_u128(7);

    /// A database with one operation, after a damaging statement.
    fn damaged(statement: &str) -> (tempfile::TempDir, Rows) {
        let folder = tempfile::tempdir().unwrap();
        let rows = Rows::open(&folder.path().join("store.db")).unwrap();
        rows.write(|t| {
            insert(
                t,
                &NewOperation {
                    uuid: OPERATION,
                    kind: "instance",
                    status: Status::Assigned,
                    image: None,
                    request: &serde_json::json!({"command": "true"}),
                    owner_socket: None,
                    client: None,
                    created_at: Utc::now(),
                },
            )?;
            let layer = layers::reserve(t, None, OPERATION, "boot")?;
            let image = Image {
                uuid: OPERATION,
                layer,
                env: [("A".to_owned(), "1".to_owned())].into(),
                cwd: String::new(),
                operation: None,
                lost: false,
                created_at: Utc::now(),
            };
            images::insert(t, &image)?;
            t.execute(statement, [])?;
            Ok(())
        })
        .unwrap();
        (folder, rows)
    }

    #[test]
    fn an_outcome_that_cannot_be_read_is_logged() {
        let (_folder, rows) = damaged("UPDATE operations SET outcome = '{\"state\":7}'");
        let (operation, text) = logged(|| rows.read(|c| by_uuid(c, OPERATION)));
        let operation = operation.unwrap().unwrap();
        assert_eq!(operation.outcome, None);
        assert_eq!(operation.request["command"], "true");
        assert!(
            text.contains(&OPERATION.to_string()) && text.contains("outcome"),
            "{text}"
        );
    }

    #[test]
    fn an_unknown_status_is_logged() {
        let (_folder, rows) = damaged("UPDATE operations SET status = 'PAUSED'");
        let (operation, text) = logged(|| rows.read(|c| by_uuid(c, OPERATION)));
        assert_eq!(operation.unwrap().unwrap().status, Status::Failed);
        assert!(
            text.contains(&OPERATION.to_string()) && text.contains("PAUSED"),
            "{text}"
        );
    }

    #[test]
    fn an_environment_that_cannot_be_read_is_logged() {
        let (_folder, rows) = damaged("UPDATE images SET env = '[1]'");
        let (image, text) = logged(|| rows.read(|c| images::by_uuid(c, OPERATION)));
        assert!(image.unwrap().unwrap().env.is_empty());
        assert!(
            text.contains(&OPERATION.to_string()) && text.contains("environment"),
            "{text}"
        );
    }

    #[test]
    fn a_uuid_that_cannot_be_read_is_logged() {
        let (_folder, rows) = damaged("UPDATE operations SET image = 'none'");
        let (operation, text) = logged(|| rows.read(|c| by_uuid(c, OPERATION)));
        assert_eq!(operation.unwrap().unwrap().image, Some(Uuid::nil()));
        assert!(text.contains("none"), "{text}");
    }
}
