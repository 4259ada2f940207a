//! State of an operation that a call started. Any client can ask for it, even after the server that
//! started the operation has ended.

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use ring::digest::{SHA256, digest};
use uuid::Uuid;

use super::operation::failure_of;
use super::output_cut::OutputCut;
use super::results::{Operation, Run};
use super::{Context, ToolAnswer, ToolError};
use crate::{OperationStatus, types};

/// Snapshot of an operation: its state, and the answer of its call if it has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OperationSnapshot {
    /// State, with the answer if the operation has ended.
    pub state: OperationState,
    /// Time of the start (RFC 3339).
    pub created_at: String,
    /// Time of the last known change of state (RFC 3339).
    pub updated_at: String,
}

impl OperationSnapshot {
    /// Creates a snapshot from its parts.
    #[must_use]
    pub fn new(state: OperationState, created_at: String, updated_at: String) -> Self {
        Self {
            state,
            created_at,
            updated_at,
        }
    }
}

/// State of an operation.
#[derive(Clone, Debug)]
pub enum OperationState {
    /// Waiting or running. The text is a status message.
    Working(String),
    /// Ended, with the answer of its call.
    Ended(Result<ToolAnswer, ToolError>),
    /// Cancelled. The text is the reason, if it is known.
    Cancelled(Option<String>),
}

/// Asks the backend for an operation's snapshot.
///
/// # Errors
/// If there is no such operation, or the backend cannot be reached.
pub async fn operation_snapshot(
    operation: Uuid,
    cx: &Context,
) -> Result<OperationSnapshot, ToolError> {
    let client = cx.client().await?;
    let cut = OutputCut::of(cx, operation, None);
    let record = client.get_operation_status().operation_id(operation);
    let record: types::OperationResponse = record.send().await?.into_inner();
    let now = Utc::now();
    let created = record.created_at.as_deref().and_then(parsed).unwrap_or(now);
    let operation = Operation::of_record(record, &cut);
    let ended = operation
        .duration
        .and_then(|seconds| created.checked_add_signed(milliseconds(seconds)?));
    let state = match OperationStatus::from(operation.status.as_str()) {
        OperationStatus::Failed => OperationState::Ended(Err(failure_of(&operation))),
        OperationStatus::Cancelled => OperationState::Cancelled(operation.error),
        OperationStatus::Success => OperationState::Ended(ToolAnswer::of(Run::of_ended(operation))),
        _ => OperationState::Working(operation.status),
    };
    let updated = match state {
        OperationState::Working(_) => now,
        _ => ended.unwrap_or(created),
    };
    Ok(OperationSnapshot {
        state,
        created_at: written(created),
        updated_at: written(updated),
    })
}

/// Asks the backend to cancel an operation. An ended one stays as it is.
///
/// # Errors
/// If there is no such operation, or the backend cannot be reached.
pub async fn stop_operation(operation: Uuid, cx: &Context) -> Result<(), ToolError> {
    cx.client().await?.cancel(operation).await?;
    Ok(())
}

/// Returns a short digest that identifies the session's backend.
///
/// # Errors
/// If there is no backend.
pub async fn fingerprint(cx: &Context) -> Result<String, ToolError> {
    let identity = cx.client().await?.backend().identity();
    let digest = digest(&SHA256, identity.as_bytes());
    Ok(digest.as_ref()[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Returns the current time in RFC 3339, with milliseconds.
#[must_use]
pub fn now() -> String {
    written(Utc::now())
}

fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn parsed(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.with_timezone(&Utc))
}

#[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
fn milliseconds(seconds: f64) -> Option<Duration> {
    let milliseconds = seconds * 1000.0;
    (0.0..1e15)
        .contains(&milliseconds)
        .then(|| Duration::milliseconds(milliseconds as i64))
}
