//! Operations: following, cancelling, and what is told of their ends.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use uuid::Uuid;

use super::error::names_remedy;
use super::results::Operation;
use super::{Context, Stream, ToolError};
use crate::events::Payload;
use crate::{Client, Error, OperationStatus, types};

/// How long a cancelled operation may take to be over before its end is no longer waited for.
const CANCEL: Duration = Duration::from_secs(10);

/// The record of an operation once it is over. Its events tell when, so that nothing is asked in vain.
pub(super) async fn ended(
    client: &Client,
    operation: Uuid,
    time: Duration,
    cx: Option<&Context>,
) -> Result<types::OperationResponse, Error> {
    let begun = Instant::now();
    let mut events = std::pin::pin!(client.follow(operation, None));
    // An operation without events, or a stream that breaks for good, is left to `wait`.
    let over = async {
        while let Some(Ok(event)) = events.next().await {
            if let (Some(cx), Payload::Stdout(chunk)) = (cx, &event.payload) {
                cx.watcher().output(Stream::Stdout, &chunk.bytes);
            }
        }
    };
    let _ = tokio::time::timeout(time, over).await;
    client
        .wait(operation, Some(time.saturating_sub(begun.elapsed())))
        .await
}

/// Cancels and waits until the sandbox is gone, so that a cancelled call leaves nothing behind. Answers how the operation
/// ended, if it did.
pub(super) async fn cancel(client: &Client, operation: Uuid) -> Result<OperationStatus, Error> {
    client.cancel(operation).await?;
    let ended = client.wait(operation, Some(CANCEL)).await?;
    ended
        .status
        .ok_or_else(|| Error::Protocol("an operation without a status".into()))
}

/// What is told of a call that was cancelled.
pub(super) fn stopped(operation: Uuid, ended: Result<OperationStatus, Error>) -> ToolError {
    match ended {
        Ok(OperationStatus::Cancelled) => {
            ToolError::new(format!("cancelled: operation {operation} was stopped"))
        }
        Ok(status) => ToolError::new(format!(
            "cancelled, but operation {operation} had ended before: {}",
            status.as_str()
        ))
        .with_hint(format!(
            "`get_operation(operation_id=\"{operation}\")` has its result"
        )),
        Err(error) => ToolError::new(format!(
            "cancelled, but operation {operation} may still be running: {error}"
        )),
    }
}

pub(super) fn failed(ended: &Operation) -> ToolError {
    let why = ended
        .error
        .as_deref()
        .unwrap_or("the backend gave no reason");
    let mut message = format!("operation {} FAILED: {why}", ended.uuid);
    for (name, text) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
        if !text.is_empty() {
            message.push_str(&format!("\n{name}:\n{}", text.trim_end()));
        }
    }
    let error = ToolError::new(message).whole();
    if names_remedy(why) {
        return error;
    }
    if why.contains("Argument list too long") {
        return error.with_hint(
            "the system takes at most 128 KiB for a command, an argument or a variable: give more through `stdin` or `files`",
        );
    }
    error.with_hint("the command could not be run, or its sandbox broke; a command that fails by itself has an exit code")
}
