//! What has become of an operation that a call started, whoever asks and whenever: also after the server that started it
//! has ended.

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::operation::failed;
use super::results::{Operation, Run};
use super::{Answer, Context, ToolError};
use crate::{OperationStatus, types};

/// An operation as seen by one who waits for the answer of its call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OperationSnapshot {
    /// How far it is.
    pub state: OperationState,
    /// When it was started (RFC 3339).
    pub created_at: String,
    /// When that last changed, as far as is known (RFC 3339).
    pub updated_at: String,
}

impl OperationSnapshot {
    /// What is known from elsewhere.
    #[must_use]
    pub fn new(state: OperationState, created_at: String, updated_at: String) -> Self {
        Self {
            state,
            created_at,
            updated_at,
        }
    }
}

/// How far an operation is.
#[derive(Clone, Debug)]
pub enum OperationState {
    /// It has not ended; the text says how far it is.
    Working(String),
    /// The call's answer.
    Ended(Result<Answer, ToolError>),
    /// It was stopped; the text says why, if that is known.
    Cancelled(Option<String>),
}

/// Asks the backend.
///
/// # Errors
/// When there is no such operation, or the backend cannot be asked.
pub async fn operation_snapshot(
    operation: Uuid,
    cx: &Context,
) -> Result<OperationSnapshot, ToolError> {
    let client = cx.client().await?;
    let record = client.get_operation_status().operation_id(operation);
    let record: types::OperationResponse = record.send().await?.into_inner();
    let now = Utc::now();
    let created = record.created_at.as_deref().and_then(parsed).unwrap_or(now);
    let operation = Operation::from(record);
    let ended = operation
        .duration
        .and_then(|seconds| created.checked_add_signed(milliseconds(seconds)?));
    let state = match OperationStatus::from(operation.status.as_str()) {
        OperationStatus::Failed => OperationState::Ended(Err(failed(&operation))),
        OperationStatus::Cancelled => OperationState::Cancelled(operation.error),
        OperationStatus::Success => OperationState::Ended(Answer::of(Run::over(operation))),
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

/// Asks the backend to stop an operation. One that is over stays as it is.
///
/// # Errors
/// When there is no such operation, or the backend cannot be asked.
pub async fn stop_operation(operation: Uuid, cx: &Context) -> Result<(), ToolError> {
    cx.client().await?.cancel(operation).await?;
    Ok(())
}

/// What tells the backend of the session from others: a short digest of its identity.
///
/// # Errors
/// When there is no backend.
pub async fn fingerprint(cx: &Context) -> Result<String, ToolError> {
    let identity = cx.client().await?.backend().identity();
    let digest = Sha256::digest(identity.as_bytes());
    Ok(digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// A time as the protocol writes it.
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
