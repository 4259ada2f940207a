//! How an operation ended, as its record has it and its log tells it.
//!
//! The completion event is written once: by the engine that ran the operation or,
//! where that engine is gone, by the first one that notices. Everybody else reads it from the log.

use std::path::Path;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::api::types::EventDataCompletion;
use crate::error::StorageError;
use crate::operation::events::{self, EventLine, EventLog};
use crate::rows::Rows;
use crate::rows::operations::{self, Ending, Operation, Status};

/// The end of an operation.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) status: Status,
    pub(crate) error: Option<String>,
    pub(crate) result_image: Option<Uuid>,
    pub(crate) image_size: Option<u64>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) ended_at: DateTime<Utc>,
}

impl Completion {
    /// The end of an operation as its record has it. `None` if it is not over.
    pub(crate) fn of(operation: &Operation) -> Option<Self> {
        if !operation.status.is_terminal() {
            return None;
        }
        Some(Self {
            status: operation.status,
            error: operation.error.clone(),
            result_image: operation.result_image,
            image_size: operation.image_size,
            created_at: operation.created_at,
            ended_at: operation.ended_at.unwrap_or(operation.created_at),
        })
    }

    /// The end of an operation whose record cannot be read just now.
    pub(crate) fn now(created_at: DateTime<Utc>, ending: &Ending) -> Self {
        Self {
            status: ending.status,
            error: ending.error.clone(),
            result_image: ending.result_image,
            image_size: ending.image_size,
            created_at,
            ended_at: Utc::now(),
        }
    }

    /// A failure that is not recorded.
    pub(crate) fn failed(created_at: DateTime<Utc>, error: String) -> Self {
        Self {
            status: Status::Failed,
            error: Some(error),
            result_image: None,
            image_size: None,
            created_at,
            ended_at: Utc::now(),
        }
    }

    /// The data of the event. Its duration is the record's, so whoever makes the event makes the same one.
    fn data(&self) -> EventDataCompletion {
        let took = self.ended_at - self.created_at;
        EventDataCompletion {
            status: self.status,
            result_image_uuid: self.result_image,
            error: self.error.clone(),
            duration_ms: u64::try_from(took.num_milliseconds()).unwrap_or(0),
            image_size_bytes: self.image_size,
        }
    }

    /// Appends it to the log of an operation of this process.
    pub(crate) fn append_to(&self, log: &EventLog) {
        log.complete(self.ended_at, &self.data());
    }

    /// Appends it to a log that nobody writes to any more, unless it is there.
    pub(crate) fn append_abandoned(&self, log: &Path) -> std::io::Result<()> {
        events::complete_abandoned(log, self.ended_at, &self.data())
    }

    /// The event that a log lacks which takes no line any more.
    pub(crate) fn line(&self, id: u64) -> EventLine {
        EventLine::completion(id, self.ended_at, &self.data())
    }
}

/// The end of an operation, as its record has it now. `None` if it is not over.
pub(crate) fn recorded(rows: &Rows, operation: Uuid) -> Result<Option<Completion>, StorageError> {
    let found = rows.read(|c| operations::by_uuid(c, operation))?;
    Ok(found.as_ref().and_then(Completion::of))
}
