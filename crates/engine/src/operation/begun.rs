//! Whether an operation has begun, which is what following it and reaching into it need.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::events::POLL;
use crate::operation::lookup;
use crate::operation::running::Stage;
use crate::rows::operations::{Operation, Status};

/// How long a request waits for an operation's turn before it is answered 425.
const TURN: Duration = Duration::from_secs(1);

/// How long it waits while the operation is being prepared, which takes milliseconds unless the machine is very busy.
const PREPARED: Duration = Duration::from_secs(20);

/// Waits until an operation has begun or is over, and gives it as it stands then. 425 if that takes long.
pub(crate) async fn wait(
    engine: &Arc<Engine>,
    operation: Operation,
) -> Result<Operation, ApiError> {
    let uuid = operation.uuid;
    if let Some(running) = engine.running(uuid) {
        let mut stage = running.stage();
        for (wanted, patience) in [(Stage::Assigned, TURN), (Stage::Begun, PREPARED)] {
            let reached = stage.wait_for(|stage| *stage >= wanted);
            if tokio::time::timeout(patience, reached).await.is_err() {
                return Err(too_early(&operation));
            }
        }
        return lookup::find(engine, uuid).await;
    }
    let asked = Instant::now();
    let mut operation = operation;
    loop {
        if operation.status.is_terminal() || operation.status == Status::Executing {
            return Ok(operation);
        }
        let patience = match operation.status {
            Status::Pending => TURN,
            _ => PREPARED,
        };
        if asked.elapsed() >= patience {
            return Err(too_early(&operation));
        }
        tokio::time::sleep(POLL).await;
        operation = lookup::find(engine, uuid).await?;
    }
}

fn too_early(operation: &Operation) -> ApiError {
    ApiError::too_early(format!(
        "the operation {} has not begun yet: it is {}",
        operation.uuid,
        operation.status.as_str()
    ))
}
