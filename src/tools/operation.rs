//! Starts, follows and cancels operations, and reports their ends.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use contree_error_codes::ErrorCode;
use tokio::time::Instant;
use uuid::Uuid;

use super::error_details::names_remedy;
use super::fence::Fence;
use super::invisible::one_line;
use super::operation_end::read_events;
use super::results::Operation;
use super::{Context, OutputStream, ToolError};
use crate::events::Payload;
use crate::{Client, Error, OperationKind, OperationStatus, types};

/// How long to wait for the end of a cancelled operation.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// How far the clocks of this machine and of the backend may differ in a search by time.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// Waits for an operation to end and returns its record.
///
/// It reads the operation's events, so that the backend is not polled.
pub(super) async fn wait_for_end(
    client: &Client,
    operation: Uuid,
    time: Duration,
    cx: Option<&Context>,
) -> Result<types::OperationResponse, Error> {
    let started = Instant::now();
    read_events(client, operation, time, |event| {
        if let (Some(cx), Payload::Stdout(chunk)) = (cx, &event.payload) {
            cx.watcher().output(OutputStream::Stdout, &chunk.bytes);
        }
    })
    .await;
    // If there are no events, or the stream breaks for good, this polls.
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
    pub(super) async fn start<T>(
        client: &'a Client,
        cx: &'a Context,
        start: impl Future<Output = Result<T, Error>>,
        id: impl FnOnce(&T) -> Uuid,
    ) -> Result<(Self, T), Error> {
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

/// The start of an operation whose answer may be lost.
pub(super) struct OperationStart {
    kind: OperationKind,
    /// The time from which on the backend may list the operation.
    since: DateTime<Utc>,
}

impl OperationStart {
    /// Notes the time before the request is sent.
    pub(super) fn now(kind: OperationKind) -> Self {
        Self {
            kind,
            since: Utc::now() - CLOCK_DIFFERENCE,
        }
    }

    /// Builds the error of the request. If the operation may run nevertheless, the hint says how to
    /// find it. `properties` are a sentence that says how to recognise it.
    pub(super) fn error_of_start(&self, error: Error, properties: &str) -> ToolError {
        if !may_have_taken_effect(&error) {
            return error.into();
        }
        let error = ToolError::from(error);
        let kind = self.kind.as_str();
        let since = self.since.to_rfc3339_opts(SecondsFormat::Secs, true);
        error.with_hint(format!(
            "The operation may be running, so look before you repeat the call: `list_operations(type=\"{kind}\", \
             since=\"{since}\")` lists those started since this call. {properties} If it is there, follow it with \
             `wait_operations`. If it is not there, repeat the call."
        ))
    }
}

/// Returns whether a request that must not be repeated blindly may have taken effect, although
/// there is no usable answer. An unusable answer is one of success.
pub(super) fn may_have_taken_effect(error: &Error) -> bool {
    error.is_unconfirmed() || matches!(error, Error::Protocol(_))
}

/// Returns a text with the call that waits for an operation.
pub(super) fn waiting_call(operation: Uuid) -> String {
    format!("`wait_operations(operation_ids=[\"{operation}\"])` waits for its end")
}

/// Cancels an operation and waits for its end, so that a cancelled call leaves no sandbox behind.
/// Returns the final status.
pub(super) async fn cancel(client: &Client, operation: Uuid) -> Result<OperationStatus, Error> {
    client.cancel(operation).await?;
    let ended = wait_for_end(client, operation, CANCEL_TIMEOUT, None).await?;
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
pub(super) fn failure_of(ended: &Operation) -> ToolError {
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
    let code = ended.error_code.unwrap_or(ErrorCode::OperationFailed);
    let error = ToolError::operation_failed(message)
        .without_shortening()
        .with_code(code);
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
        let message = failure_of(&ended).to_string();
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
