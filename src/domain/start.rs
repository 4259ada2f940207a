//! Waiting for the start of a run that is still in the queue.

use std::time::Duration;

use http::StatusCode;
use uuid::Uuid;

use crate::{Client, Error};

/// The pause between two attempts, unless the backend asks for another one.
const PAUSE: Duration = Duration::from_millis(100);

/// Pauses after a request that came before the start of its run, so that it can be sent again.
///
/// # Errors
/// `error`, if it has another reason, or if the run has ended without a start.
pub(super) async fn pause_before_start(
    client: &Client,
    operation: Uuid,
    error: Error,
) -> Result<(), Error> {
    if error.status() != Some(StatusCode::TOO_EARLY) {
        return Err(error);
    }
    let request = client.get_operation_status().operation_id(operation);
    let status = request.send().await?.into_inner().status;
    if status.is_some_and(|status| status.is_terminal()) {
        return Err(error);
    }
    tokio::time::sleep(error.retry_after().unwrap_or(PAUSE)).await;
    Ok(())
}
