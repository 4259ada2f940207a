//! Waiting until an operation has started. Only then can clients follow it and use its sandbox.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::events::POLL;
use crate::operation::lookup;
use crate::operation::running::OperationStage;
use crate::rows::operations::{Operation, Status};

/// How long a request waits while the operation is queued. Then it gets 425.
const QUEUED_WAIT: Duration = Duration::from_secs(1);

/// How long a request waits while the operation is prepared. Unless the machine is very busy,
/// preparing takes milliseconds.
const PREPARING_WAIT: Duration = Duration::from_secs(20);

/// Waits until an operation has started or is over, and returns its newest record. 425 if that
/// takes too long.
pub(crate) async fn wait_until_started(
    engine: &Arc<Engine>,
    operation: Operation,
) -> Result<Operation, ApiError> {
    let uuid = operation.uuid;
    if let Some(running) = engine.running(uuid) {
        let mut stage = running.stage();
        for (awaited, longest) in [
            (OperationStage::Assigned, QUEUED_WAIT),
            (OperationStage::Started, PREPARING_WAIT),
        ] {
            let arrival = stage.wait_for(|stage| *stage >= awaited);
            if tokio::time::timeout(longest, arrival).await.is_err() {
                return Err(too_early(&operation));
            }
        }
        return lookup::find(engine, uuid).await;
    }
    let waiting_since = Instant::now();
    let mut operation = operation;
    loop {
        if operation.status.is_terminal() || operation.status == Status::Executing {
            return Ok(operation);
        }
        let longest = match operation.status {
            Status::Pending => QUEUED_WAIT,
            _ => PREPARING_WAIT,
        };
        if waiting_since.elapsed() >= longest {
            return Err(too_early(&operation));
        }
        tokio::time::sleep(POLL).await;
        operation = lookup::find(engine, uuid).await?;
    }
}

fn too_early(operation: &Operation) -> ApiError {
    ApiError::too_early(format!(
        "the operation {} has not started yet: it is {}",
        operation.uuid,
        operation.status.as_str()
    ))
}
