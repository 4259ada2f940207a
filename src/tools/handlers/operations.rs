//! Handlers for operations: waiting and cancelling.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use uuid::Uuid;

use crate::tools::operation::{cancel, wait_for_end};
use crate::tools::output_cut::OutputCut;
use crate::tools::results::{CancelOperation, GetOperation, Operation, Publish, WaitOperations};
use crate::tools::{Context, Handlers, OperationsTools, ToolError, params};
use crate::{Client, Error, OperationKind, OperationStatus, types};

/// Longest wait, 136 years. A larger timeout counts as this one.
const MAX_WAIT: Duration = Duration::from_secs(u32::MAX as u64);
/// Maximum number of operations in one wait. Each takes a connection to the backend.
const MAX_OPERATIONS: usize = 256;
/// The main process of a run.
const MAIN_PROCESS: u64 = 1;
/// Maximum number of running operations whose output so far is shown.
const MAX_SHOWN_RUNNING: usize = 16;
/// Bytes of output in one answer. Further operations are returned without their output.
const MAX_OUTPUT_BYTES: usize = 16 * 1024 * 1024;

impl OperationsTools for Handlers {
    async fn get_operation(
        &self,
        arguments: params::GetOperation,
        cx: &Context,
    ) -> Result<GetOperation, ToolError> {
        let params::GetOperation {
            operation_id,
            truncate_output_at,
            tail,
            offset,
        } = arguments;
        let cut = OutputCut::of(cx, operation_id, truncate_output_at);
        let cut = match (tail, offset) {
            (Some(_), Some(_)) => {
                return Err(ToolError::invalid(
                    "`tail` and `offset` exclude each other; give one of them",
                ));
            }
            (Some(tail), None) => cut.with_tail(tail),
            (None, Some(offset)) => cut.with_offset(offset),
            (None, None) => cut,
        };
        let client = cx.client().await?;
        operation_so_far(client, operation_id, &cut, tail).await
    }

    async fn wait_operations(
        &self,
        arguments: params::WaitOperations,
        cx: &Context,
    ) -> Result<WaitOperations, ToolError> {
        let params::WaitOperations {
            operation_ids,
            timeout,
            mode,
            tail,
        } = arguments;
        let client = cx.client().await?;
        let any = match mode {
            params::WaitOperationsMode::Any => true,
            params::WaitOperationsMode::All => false,
        };
        let time = Duration::try_from_secs_f64(timeout).map_or(MAX_WAIT, |time| time.min(MAX_WAIT));
        let mut waiting = OperationWait::new(&operation_ids);
        if waiting.pending.len() > MAX_OPERATIONS {
            return Err(ToolError::invalid(format!(
                "`operation_ids` has {} operations; wait for at most {MAX_OPERATIONS} at once",
                waiting.pending.len()
            )));
        }
        waiting.follow(client, any, time, cx).await?;
        if any && !waiting.answer.completed.is_empty() {
            waiting.cancel_rest(client, cx).await;
        }
        let mut answer = waiting.answer;
        if answer.results.is_empty() && waiting.pending.is_empty() && !answer.errors.is_empty() {
            return Err(none_followed(&answer.errors));
        }
        for (id, uuid) in waiting.pending.iter().take(MAX_SHOWN_RUNNING) {
            if tail == 0 {
                break;
            }
            let cut = OutputCut::of(cx, *uuid, None).with_tail(tail);
            // Output that cannot be read now is in the next answer.
            if let Ok(operation) = operation_so_far(client, *uuid, &cut, Some(tail)).await
                && !(operation.stdout.is_empty() && operation.stderr.is_empty())
            {
                answer.running.insert(id.clone(), operation);
            }
        }
        answer.pending = waiting.pending.into_keys().collect();
        answer.timed_out = !answer.pending.is_empty();
        if answer.timed_out {
            let ids = serde_json::to_string(&answer.pending).unwrap_or_default();
            let mode = if any { ", mode=\"any\"" } else { "" };
            answer.next = Some(format!("wait_operations(operation_ids={ids}{mode})"));
        }
        Ok(answer)
    }

    async fn cancel_operation(
        &self,
        arguments: params::CancelOperation,
        cx: &Context,
    ) -> Result<CancelOperation, ToolError> {
        let params::CancelOperation { operation_id } = arguments;
        let operation = operation_id;
        let cancelled = cx.client().await?.cancel(operation).await;
        let cancelled = cancelled.map_err(|error| {
            ToolError::from(error).safe_to_repeat("The operation may be cancelled nevertheless.")
        })?;
        Ok(CancelOperation {
            cancelled,
            operation_id: operation.to_string(),
        })
    }

    async fn publish(
        &self,
        arguments: params::Publish,
        cx: &Context,
    ) -> Result<Publish, ToolError> {
        let params::Publish {
            operation_id,
            port,
            host_port,
        } = arguments;
        let number = |name: &str, value: u64| {
            u16::try_from(value).map_err(|_| {
                ToolError::invalid(format!("`{name}` must be at most 65535, not {value}"))
            })
        };
        let port = number("port", port)?;
        let host_port = host_port
            .map(|host_port| number("host_port", host_port))
            .transpose()?;
        let client = cx.client().await?;
        let published = client.publish(operation_id, port, host_port).await;
        let published = published.map_err(|error| {
            ToolError::from(error).safe_to_repeat("The port may be published nevertheless.")
        })?;
        Ok(published.into())
    }
}

/// Returns an operation with its output so far. With `tail`, the last bytes of a running command
/// are the newest ones, even if its record lacks them.
async fn operation_so_far(
    client: &Client,
    operation: Uuid,
    cut: &OutputCut,
    tail: Option<u64>,
) -> Result<Operation, ToolError> {
    let record = client.get_operation_status().operation_id(operation);
    let record = record.inflight(1u64).send().await?.into_inner();
    let runs = record.status == Some(OperationStatus::Executing)
        && record.kind == Some(OperationKind::Instance);
    let mut answer = Operation::of_record(record, cut);
    if let Some(tail) = tail
        && runs
        && client.has_extension("output").await?
    {
        let live = client.read_output_tail(operation, MAIN_PROCESS, tail).await;
        // If the command has ended meanwhile, the record has its output.
        if let Ok(live) = live {
            answer.set_live_tail(&live);
        }
    }
    Ok(answer)
}

/// Builds the error if none of the given ids could be followed.
fn none_followed(errors: &BTreeMap<String, String>) -> ToolError {
    let reasons: Vec<String> = errors
        .iter()
        .map(|(id, error)| format!("`{id}`: {error}"))
        .collect();
    ToolError::invalid(reasons.join("\n"))
        .with_hint("`operation_ids` takes ids that `run` or `import_image` returns with wait=false; `list_operations()` shows all")
}

struct OperationWait {
    /// Operations that have not ended yet, by id.
    pending: BTreeMap<String, Uuid>,
    answer: WaitOperations,
    /// Bytes of output that still fit into the answer.
    room: usize,
}

impl OperationWait {
    fn new(ids: &[String]) -> Self {
        let mut waiting = Self {
            pending: BTreeMap::new(),
            answer: WaitOperations::default(),
            room: MAX_OUTPUT_BYTES,
        };
        for id in ids {
            match id.trim().parse::<Uuid>() {
                Ok(uuid) => drop(waiting.pending.insert(uuid.to_string(), uuid)),
                Err(_) => drop(
                    waiting
                        .answer
                        .errors
                        .insert(id.clone(), "not the UUID of an operation".into()),
                ),
            }
        }
        waiting
    }

    /// Follows the operations until all have ended (with `any`, until one has), or the time is
    /// over.
    async fn follow(
        &mut self,
        client: &Client,
        any: bool,
        time: Duration,
        cx: &Context,
    ) -> Result<(), ToolError> {
        let until = Instant::now() + time;
        let pending = self.pending.clone();
        let mut running: FuturesUnordered<_> = pending
            .into_iter()
            .map(|(id, uuid)| async move { (id, wait_for_end(client, uuid, time, None).await) })
            .collect();
        let total = running.len();
        loop {
            let (id, ended) = tokio::select! {
                biased;
                () = cx.cancelled() => return Err(ToolError::cancelled("the call was cancelled; the operations still run")),
                next = running.next() => match next {
                    Some(next) => next,
                    None => return Ok(()),
                },
                // A second more than the single waits have, so that a late one does not hold up the
                // other results.
                () = tokio::time::sleep_until(until + Duration::from_secs(1)) => return Ok(()),
            };
            match ended {
                Ok(operation) => {
                    self.pending.remove(&id);
                    self.answer.completed.push(id.clone());
                    self.take(id, operation, cx);
                    if any {
                        return Ok(());
                    }
                }
                Err(Error::WaitTimedOut { .. }) => {}
                Err(error) => {
                    self.pending.remove(&id);
                    self.answer
                        .errors
                        .insert(id, cx.session().explain(error.into()).to_string());
                }
            }
            cx.watcher().progress(&format!(
                "{} of {total} operations have ended",
                total - self.pending.len()
            ));
        }
    }

    /// Adds a result to the answer, without its output if there is no room for it.
    fn take(&mut self, id: String, record: types::OperationResponse, cx: &Context) {
        let cut = OutputCut::of(cx, record.uuid.unwrap_or_default(), None);
        let mut operation = Operation::of_record(record, &cut);
        let output = operation.stdout.len() + operation.stderr.len();
        match self.room.checked_sub(output) {
            Some(room) => self.room = room,
            None => {
                operation.stdout = String::new();
                operation.stderr = String::new();
                operation.truncated = true;
                operation.next = Some(format!("get_operation(operation_id={id:?})"));
            }
        }
        self.answer.results.insert(id, operation);
    }

    /// Cancels the operations that have not ended, after the first has.
    async fn cancel_rest(&mut self, client: &Client, cx: &Context) {
        let rest = std::mem::take(&mut self.pending);
        let cancelled = rest.into_iter().map(|(id, uuid)| async move {
            if let Err(error) = cancel(client, uuid).await {
                tracing::warn!("cannot cancel operation {uuid}: {error}");
            }
            let status = client.wait(uuid, Some(Duration::ZERO)).await;
            (id, status)
        });
        for (id, status) in futures_util::future::join_all(cancelled).await {
            match status {
                Ok(operation) => {
                    // An operation may have ended by itself meanwhile.
                    if operation.status == Some(OperationStatus::Cancelled) {
                        self.answer.cancelled.push(id.clone());
                    } else {
                        self.answer.completed.push(id.clone());
                    }
                    self.take(id, operation, cx);
                }
                Err(error) => {
                    self.answer
                        .errors
                        .insert(id, cx.session().explain(error.into()).to_string());
                }
            }
        }
    }
}
