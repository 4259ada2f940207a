//! Finding the operation that a request names.

use std::sync::Arc;

use contree_error_codes::ErrorCode;
use uuid::Uuid;

use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::recover;
use crate::rows::operations::{self, Operation};

/// Finds an operation, or answers 404. An unfinished operation whose owner is gone becomes FAILED.
pub(crate) async fn find(engine: &Arc<Engine>, uuid: Uuid) -> Result<Operation, ApiError> {
    let shared = Arc::clone(engine);
    let record = blocking(move || {
        let record = shared.rows.read(|c| operations::by_uuid(c, uuid))?;
        let mut record = match record {
            Some(open)
                if !open.status.is_terminal() && recover::fail_if_orphaned(&shared, uuid)? =>
            {
                shared.rows.read(|c| operations::by_uuid(c, uuid))?
            }
            record => record,
        };
        if let Some(operation) = &mut record {
            shared.unrecorded.complete(operation);
        }
        Ok(record)
    })
    .await?;
    record.ok_or_else(|| {
        ApiError::missing(
            ErrorCode::OperationNotFound,
            format!("there is no operation {uuid}"),
        )
    })
}
