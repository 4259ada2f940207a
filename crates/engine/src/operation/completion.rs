//! The end of an operation, made from its record, and its completion event in the log.
//!
//! One engine appends the completion event: the operation's owner or, if the owner is gone, the
//! first engine that notices. All others read it from the log.

use std::path::Path;

use chrono::{DateTime, Utc};
use contree_error_codes::ErrorCode;
use uuid::Uuid;

use crate::api::types::EventDataCompletion;
use crate::error::StorageError;
use crate::operation::events::{self, EventLine, EventLog};
use crate::operation::unrecorded_endings::UnrecordedEndings;
use crate::rows::Rows;
use crate::rows::operations::{self, Operation, OperationEnding, Status};

/// The end of an operation.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) status: Status,
    pub(crate) error: Option<String>,
    pub(crate) code: Option<ErrorCode>,
    pub(crate) result_image: Option<Uuid>,
    pub(crate) image_size: Option<u64>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) ended_at: DateTime<Utc>,
}

impl Completion {
    /// Reads the end of an operation from its record. `None` if it is not over.
    pub(crate) fn of(operation: &Operation) -> Option<Self> {
        if !operation.status.is_terminal() {
            return None;
        }
        Some(Self {
            status: operation.status,
            error: operation.error.clone(),
            code: operation.code,
            result_image: operation.result_image,
            image_size: operation.image_size,
            created_at: operation.created_at,
            ended_at: operation.ended_at.unwrap_or(operation.created_at),
        })
    }

    /// The end of an operation whose record cannot be read or written at the moment.
    pub(crate) fn new(created_at: DateTime<Utc>, ending: &OperationEnding) -> Self {
        Self {
            status: ending.status,
            error: ending.error.clone(),
            code: ending.code,
            result_image: ending.result_image,
            image_size: ending.image_size,
            created_at,
            ended_at: ending.ended_at,
        }
    }

    /// The data of the event. The duration comes from the record, so every engine makes the same
    /// event.
    fn data(&self) -> EventDataCompletion {
        let took = self.ended_at - self.created_at;
        EventDataCompletion {
            status: self.status,
            result_image_uuid: self.result_image,
            error: self.error.clone(),
            duration_ms: u64::try_from(took.num_milliseconds()).unwrap_or(0),
            image_size_bytes: self.image_size,
            x_code: self.code.map(|code| code.name().to_owned()),
        }
    }

    /// Appends the event to the log of an operation of this process.
    pub(crate) fn append_to(&self, log: &EventLog) {
        log.complete(self.ended_at, &self.data());
    }

    /// Appends the event to a log whose owner is gone, unless the log has it.
    pub(crate) fn append_abandoned(&self, log: &Path) -> std::io::Result<()> {
        events::complete_abandoned(log, self.ended_at, &self.data())
    }

    /// The event as a line, for a log to which it cannot be appended.
    pub(crate) fn line(&self, id: u64) -> EventLine {
        EventLine::completion(id, self.ended_at, &self.data())
    }
}

/// Reads the end of an operation from the database, or from the endings that are still to be
/// recorded. `None` if it is not over.
pub(crate) fn recorded(
    rows: &Rows,
    unrecorded: &UnrecordedEndings,
    operation: Uuid,
) -> Result<Option<Completion>, StorageError> {
    let mut record = rows.read(|c| operations::by_uuid(c, operation))?;
    if let Some(operation) = &mut record {
        unrecorded.complete(operation);
    }
    Ok(record.as_ref().and_then(Completion::of))
}
