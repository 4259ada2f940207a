//! Operations: following and cancelling what runs.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use uuid::Uuid;

use crate::tools::operation::{cancel, ended};
use crate::tools::results::{CancelOperation, Operation, WaitOperations};
use crate::tools::{Context, Handlers, OperationsTools, ToolError, params};
use crate::{Client, Error};

/// The longest that is waited: 136 years.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);
/// How many operations can be waited for at once. Each takes a connection to the backend.
const MOST: usize = 256;
/// How much output an answer has in all; operations beyond are without theirs.
const OUTPUT: usize = 16 * 1024 * 1024;

impl OperationsTools for Handlers {
    async fn wait_operations(
        &self,
        arguments: params::WaitOperations,
        cx: &Context,
    ) -> Result<WaitOperations, ToolError> {
        let params::WaitOperations {
            operation_ids,
            timeout,
            mode,
        } = arguments;
        let client = cx.client().await?;
        let any = match mode {
            params::WaitOperationsMode::Any => true,
            params::WaitOperationsMode::All => false,
        };
        // Longer than a process lives is for ever.
        let time = Duration::try_from_secs_f64(timeout).map_or(FOR_EVER, |time| time.min(FOR_EVER));
        let mut waiting = OperationWait::new(&operation_ids);
        if waiting.pending.len() > MOST {
            return Err(ToolError::invalid(format!(
                "`operation_ids` has {} operations; {MOST} can be waited for at once",
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
        let cancelled = cx.client().await?.cancel(operation).await?;
        Ok(CancelOperation {
            cancelled,
            operation_id: operation.to_string(),
        })
    }
}

/// No id was good, so that there is nothing to answer but why.
fn none_followed(errors: &BTreeMap<String, String>) -> ToolError {
    let reasons: Vec<String> = errors
        .iter()
        .map(|(id, error)| format!("`{id}`: {error}"))
        .collect();
    ToolError::invalid(reasons.join("\n"))
        .with_hint("`operation_ids` takes the ids that `run` with wait=false answers; `list_operations()` shows all")
}

struct OperationWait {
    /// What has not ended yet, by its id.
    pending: BTreeMap<String, Uuid>,
    answer: WaitOperations,
    /// How much output the answer may still take, in bytes.
    room: usize,
}

impl OperationWait {
    fn new(ids: &[String]) -> Self {
        let mut waiting = Self {
            pending: BTreeMap::new(),
            answer: WaitOperations::default(),
            room: OUTPUT,
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

    /// Until all have ended, or the first, or the time is over.
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
            .map(|(id, uuid)| async move { (id, ended(client, uuid, time, None).await) })
            .collect();
        let total = running.len();
        loop {
            let (id, ended) = tokio::select! {
                biased;
                () = cx.cancelled() => return Err(ToolError::cancelled("cancelled; the operations go on")),
                next = running.next() => match next {
                    Some(next) => next,
                    None => return Ok(()),
                },
                // A wait that is a little late must not hold up the others' results.
                () = tokio::time::sleep_until(until + Duration::from_secs(1)) => return Ok(()),
            };
            match ended {
                Ok(operation) => {
                    self.pending.remove(&id);
                    self.answer.completed.push(id.clone());
                    self.take(id, operation.into());
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
                "{} of {total} operations are over",
                total - self.pending.len()
            ));
        }
    }

    /// Takes a result into the answer, without its output if there is too much already.
    fn take(&mut self, id: String, mut operation: Operation) {
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

    /// The first has won: the others are cancelled.
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
                    let operation = Operation::from(operation);
                    // One may have come to its own end meanwhile.
                    if operation.status == "CANCELLED" {
                        self.answer.cancelled.push(id.clone());
                    } else {
                        self.answer.completed.push(id.clone());
                    }
                    self.take(id, operation);
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
