//! Starts, follows and cancels operations, and reports their ends.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use uuid::Uuid;

use super::error_details::names_remedy;
use super::fence::Fence;
use super::invisible::one_line;
use super::results::Operation;
use super::{Context, OutputStream, ToolError};
use crate::events::Payload;
use crate::{Client, Error, OperationStatus, types};

/// How long to wait for the end of a cancelled operation.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for an operation to end and returns its record.
///
/// It reads the operation's events, so that the backend is not polled.
pub(super) async fn ended(
    client: &Client,
    operation: Uuid,
    time: Duration,
    cx: Option<&Context>,
) -> Result<types::OperationResponse, Error> {
    let started = Instant::now();
    let mut events = std::pin::pin!(client.follow(operation, None));
    // If there are no events, or the stream breaks for good, `wait` below polls.
    let read_events = async {
        while let Some(Ok(event)) = events.next().await {
            if let (Some(cx), Payload::Stdout(chunk)) = (cx, &event.payload) {
                cx.watcher().output(OutputStream::Stdout, &chunk.bytes);
            }
        }
    };
    let _ = tokio::time::timeout(time, read_events).await;
    client
        .wait(operation, Some(time.saturating_sub(started.elapsed())))
        .await
}

/// An operation that a call has started. Only its id allows cancelling it.
pub(super) struct StartedOperation<'a> {
    id: Uuid,
    client: &'a Client,
    cx: &'a Context,
}

impl<'a> StartedOperation<'a> {
    /// Starts an operation with the request `start`. `id` returns the operation's id from the
    /// answer.
    ///
    /// `start` always runs to its end: its answer has the id, without which the operation cannot be
    /// cancelled.
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

    /// Follows the operation to its end with `follow`. Without `wait` it is left running and the
    /// result is `None`.
    ///
    /// If the call is cancelled, the operation is cancelled too.
    ///
    /// # Errors
    /// If the call is cancelled, or the operation cannot be followed. In the second case, the error
    /// has the text of `remedy` as a hint.
    pub(super) async fn finish(
        self,
        wait: bool,
        follow: impl Future<Output = Result<Operation, Error>>,
        remedy: impl FnOnce(Uuid) -> String,
    ) -> Result<Option<Operation>, ToolError> {
        let Self { id, client, cx } = self;
        if cx.is_cancelled() {
            return Err(cancelled_error(id, cancel(client, id).await));
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
            None => Err(cancelled_error(id, cancel(client, id).await)),
        }
    }
}

/// Returns a text with the call that waits for an operation.
pub(super) fn waiting_call(operation: Uuid) -> String {
    format!("`wait_operations(operation_ids=[\"{operation}\"])` waits for its end")
}

/// Cancels an operation and waits for its end, so that a cancelled call leaves no sandbox behind.
/// Returns the final status.
pub(super) async fn cancel(client: &Client, operation: Uuid) -> Result<OperationStatus, Error> {
    client.cancel(operation).await?;
    let ended = client.wait(operation, Some(CANCEL_TIMEOUT)).await?;
    ended
        .status
        .ok_or_else(|| Error::Protocol("the backend returned an operation without a status".into()))
}

/// Builds the error of a cancelled call.
fn cancelled_error(operation: Uuid, ended: Result<OperationStatus, Error>) -> ToolError {
    match ended {
        Ok(OperationStatus::Cancelled) => ToolError::cancelled(format!(
            "the call was cancelled and operation {operation} was stopped"
        )),
        Ok(status) => ToolError::cancelled(format!(
            "the call was cancelled, but operation {operation} had already ended with status {}",
            status.as_str()
        ))
        .with_hint(format!(
            "`get_operation(operation_id=\"{operation}\")` has its result"
        )),
        Err(error) => ToolError::cancelled(format!(
            "the call was cancelled, but operation {operation} may still be running: {error}"
        ))
        .with_hint(format!(
            "`cancel_operation(operation_id=\"{operation}\")` tries again; `get_operation` shows its status"
        )),
    }
}

/// Builds the error of an operation with status FAILED, with its output and a hint.
pub(super) fn failed(ended: &Operation) -> ToolError {
    let why = ended
        .error
        .as_deref()
        .unwrap_or("the backend gave no reason");
    let mut message = format!("operation {} FAILED: {}", ended.uuid, one_line(why));
    let fence = Fence::around(&[&ended.stdout, &ended.stderr]);
    for (name, text) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
        if !text.is_empty() {
            message.push('\n');
            message.push_str(fence.block(name, text).trim_end());
        }
    }
    let error = ToolError::operation_failed(message).whole();
    if names_remedy(why) {
        return error;
    }
    if why.contains("Argument list too long") {
        return error.with_hint(
            "a command, an argument or a variable can have at most 128 KiB: pass longer text through `stdin` or `files`",
        );
    }
    error.with_hint("the command could not be started, or its sandbox failed, so there is no exit code: check command, `cwd` and image, then retry")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_a_failed_operation_is_fenced() {
        let ended = Operation {
            error: Some("it broke\nnext: evil()".into()),
            stdout: "one\nnext: evil()".into(),
            ..Operation::default()
        };
        let message = failed(&ended).to_string();
        let lines: Vec<&str> = message.lines().collect();
        assert!(
            lines[0].ends_with(r#"FAILED: "it broke\nnext: evil()""#),
            "{message}"
        );
        let end = lines[1].replace('<', "</");
        assert!(lines[1].starts_with("<stdout-"), "{message}");
        assert_eq!(lines[2..5], ["one", "next: evil()", end.as_str()]);
    }
}
