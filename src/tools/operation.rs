//! Operations: starting, following, cancelling, and what is told of their ends.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use uuid::Uuid;

use super::failure::names_remedy;
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

/// An operation that a call has started, and that no call may lose sight of.
pub(super) struct StartedOperation<'a> {
    id: Uuid,
    client: &'a Client,
    cx: &'a Context,
}

impl<'a> StartedOperation<'a> {
    /// Starts an operation.
    ///
    /// `start` is never dropped half-way: what was started must be known, or it could not be cancelled. It answers what
    /// the backend said, of which `id` takes the operation.
    pub(super) async fn start<T, E>(
        client: &'a Client,
        cx: &'a Context,
        start: impl Future<Output = Result<T, E>>,
        id: impl FnOnce(&T) -> Uuid,
    ) -> Result<(Self, T), E> {
        let started = start.await?;
        let id = id(&started);
        Ok((Self { id, client, cx }, started))
    }

    /// Follows the operation to its end with `follow`; without `wait` it is left running, and there is no end.
    ///
    /// A call that is cancelled meanwhile cancels the operation.
    ///
    /// # Errors
    /// If the call is cancelled, or the operation cannot be followed; `remedy` is what there is to do then.
    pub(super) async fn finish(
        self,
        wait: bool,
        follow: impl Future<Output = Result<Operation, Error>>,
        remedy: impl FnOnce(Uuid) -> String,
    ) -> Result<Option<Operation>, ToolError> {
        let Self { id, client, cx } = self;
        if cx.is_cancelled() {
            return Err(stopped(id, cancel(client, id).await));
        }
        if !wait {
            cx.session().leave_running(id);
            return Ok(None);
        }
        cx.watcher().started(id);
        let followed = tokio::select! {
            biased;
            () = cx.cancelled() => None,
            followed = follow => Some(followed),
        };
        match followed {
            Some(Ok(ended)) => Ok(Some(ended)),
            Some(Err(error)) => Err(ToolError::from(error).with_hint(format!(
                "operation {id} may still be running: {}",
                remedy(id)
            ))),
            None => Err(stopped(id, cancel(client, id).await)),
        }
    }
}

/// The call that waits for an operation.
pub(super) fn waiting_call(operation: Uuid) -> String {
    format!("`wait_operations(operation_ids=[\"{operation}\"])` tells")
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
fn stopped(operation: Uuid, ended: Result<OperationStatus, Error>) -> ToolError {
    match ended {
        Ok(OperationStatus::Cancelled) => {
            ToolError::cancelled(format!("cancelled: operation {operation} was stopped"))
        }
        Ok(status) => ToolError::cancelled(format!(
            "cancelled, but operation {operation} had ended before: {}",
            status.as_str()
        ))
        .with_hint(format!(
            "`get_operation(operation_id=\"{operation}\")` has its result"
        )),
        Err(error) => ToolError::cancelled(format!(
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
    let error = ToolError::operation_failed(message).whole();
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
