//! Finding the operation that a request names.

use std::sync::Arc;

use uuid::Uuid;

use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::recover;
use crate::rows::operations::{self, Operation};

/// An operation, or 404. One whose engine is gone is FAILED from now on.
pub(crate) async fn find(engine: &Arc<Engine>, uuid: Uuid) -> Result<Operation, ApiError> {
    let shared = Arc::clone(engine);
    let found = blocking(move || {
        let found = shared.rows.read(|c| operations::by_uuid(c, uuid))?;
        match found {
            Some(open)
                if !open.status.is_terminal() && recover::fail_if_orphaned(&shared, uuid)? =>
            {
                Ok(shared.rows.read(|c| operations::by_uuid(c, uuid))?)
            }
            found => Ok(found),
        }
    })
    .await?;
    found.ok_or_else(|| ApiError::missing(format!("there is no operation {uuid}")))
}
