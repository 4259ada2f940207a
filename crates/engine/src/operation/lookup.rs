//! Finding the operation that a request names.

use std::sync::Arc;

use uuid::Uuid;

use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::recover;
use crate::operation::running::RunningOperation;
use crate::rows::operations::{self, Operation};

/// Completes the record of an operation of this process that is over, if its ending could not be
/// recorded yet.
pub(crate) fn add_unrecorded(operation: &mut Operation, running: &RunningOperation) {
    if let Some(ending) = running.unrecorded() {
        operation.end_with(ending);
    }
}

/// Finds an operation, or answers 404. An unfinished operation whose owner is gone becomes FAILED.
pub(crate) async fn find(engine: &Arc<Engine>, uuid: Uuid) -> Result<Operation, ApiError> {
    let shared = Arc::clone(engine);
    let record = blocking(move || {
        let running = shared.running(uuid);
        let mut record = shared.rows.read(|c| operations::by_uuid(c, uuid))?;
        let Some(open) = record.as_mut().filter(|open| !open.status.is_terminal()) else {
            return Ok(record);
        };
        if let Some(running) = running {
            add_unrecorded(open, &running);
            return Ok(record);
        }
        recover::fail_if_orphaned(&shared, uuid)?;
        // It may also have ended by itself since the record was read.
        Ok(shared.rows.read(|c| operations::by_uuid(c, uuid))?)
    })
    .await?;
    record.ok_or_else(|| ApiError::missing(format!("there is no operation {uuid}")))
}
