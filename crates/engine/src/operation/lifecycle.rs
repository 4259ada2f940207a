//! The life cycle of every kind of operation: accepted, queued, executed, recorded.
//!
//! A route calls [`accept`] and passes the operation's work to [`carry_out`]. The work
//!
//! - calls [`OperationTask::begin`] when it starts;
//! - appends its events to the log;
//! - ends early when [`RunningOperation::cancel`] was called;
//! - returns its [`WorkEnding`], with a closure that records the result image and the ending in one
//!   transaction.

use std::sync::{Arc, PoisonError};

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use contree_error_codes::ErrorCode;
use contree_sandbox::RunDir;
use serde_json::Value;
use uuid::Uuid;

use crate::api::types::InstanceResult;
use crate::blocking::blocking;
use crate::descriptors::DescriptorReservation;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::completion::{self, Completion};
use crate::operation::events::EventLog;
use crate::operation::queue::{Queue, RunPermit, Ticket};
use crate::operation::running::RunningOperation;
use crate::operation::running::STOPPED;
use crate::rows::images;
use crate::rows::operations::{self, OperationEnding, Status};

/// The field of a request whose client leaves the run to the engine.
const DETACHED: &str = "x-detached";

/// An accepted operation: it is recorded and has a place in the queue.
pub(crate) struct QueuedOperation {
    task: OperationTask,
    ticket: Ticket,
    /// The descriptors of an operation that starts at once.
    descriptors: Option<DescriptorReservation>,
}

impl QueuedOperation {
    #[cfg(test)]
    pub(crate) fn set_created_at(&mut self, created_at: DateTime<Utc>) {
        self.task.created_at = created_at;
    }
}

/// An operation that is executed.
#[derive(Clone)]
pub(crate) struct OperationTask {
    pub(crate) operation: Uuid,
    /// The time of its acceptance.
    created_at: DateTime<Utc>,
    /// The operation's directory. This process locks it until the operation is over, so other
    /// engines know that its owner is alive. It is removed at the end.
    pub(crate) run: Arc<RunDir>,
    pub(crate) running: Arc<RunningOperation>,
}

/// Makes the result of an operation and records it together with its ending.
///
/// It runs on a thread that may block, and only if the operation was not cancelled. Later
/// cancellations are refused. A failure makes the operation FAILED.
pub(crate) type CommitWork =
    Box<dyn FnOnce(&Engine, &OperationEnding) -> Result<OperationEnding, ApiError> + Send>;

/// The end of an operation's work, before it is recorded.
pub(crate) struct WorkEnding {
    pub(crate) status: Status,
    pub(crate) error: Option<String>,
    /// The code of `error`.
    pub(crate) code: Option<ErrorCode>,
    pub(crate) outcome: Option<InstanceResult>,
    /// Commits the result, if there is one.
    pub(crate) commit: Option<CommitWork>,
}

impl WorkEnding {
    /// An ending with only a status.
    pub(crate) fn of(status: Status) -> Self {
        Self {
            status,
            error: None,
            code: None,
            outcome: None,
            commit: None,
        }
    }

    pub(crate) fn failed(code: ErrorCode, error: impl Into<String>) -> Self {
        Self {
            error: Some(error.into()),
            code: Some(code),
            ..Self::of(Status::Failed)
        }
    }

    /// The ending of an operation that an error of the engine ended.
    pub(crate) fn failed_by(error: &ApiError) -> Self {
        Self::failed(error.code(), error.message())
    }

    /// The ending of a cancelled operation. The reason is added when the ending is recorded.
    pub(crate) fn cancelled() -> Self {
        Self::of(Status::Cancelled)
    }
}

impl OperationTask {
    /// Records that the work begins, and lets clients follow it.
    pub(crate) async fn begin(&self, engine: &Arc<Engine>) -> Result<(), ApiError> {
        self.record_executing(engine).await?;
        self.running.begin(None);
        Ok(())
    }

    /// Records that the work begins. [`RunningOperation::begin`] then lets clients follow it and
    /// use its sandbox.
    pub(crate) async fn record_executing(&self, engine: &Arc<Engine>) -> Result<(), ApiError> {
        let operation = self.operation;
        engine
            .write(move |t| operations::set_status(t, operation, Status::Executing))
            .await
    }
}

/// Accepts an operation. Answers show `request`, so it has no secrets. `client` is the name that
/// the requesting program gives itself. Blocks. 429 if too many operations wait, or if there are
/// too few descriptors.
///
/// The run directory and its lock exist before the record does, so no other engine takes the
/// operation for orphaned.
pub(crate) fn accept(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    operation: Uuid,
    kind: &str,
    image: Option<Uuid>,
    request: &Value,
    client: Option<&str>,
) -> Result<QueuedOperation, ApiError> {
    if engine.stopping.is_cancelled() {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::EngineStopping,
            "the engine is stopping",
        ));
    }
    let is_detached = request.get(DETACHED).and_then(Value::as_bool);
    let is_detached = is_detached.unwrap_or(false);
    let ticket = queue.enter()?;
    let descriptors = DescriptorReservation::new()?;
    let withdraw = || {
        let _ = engine.store.remove_run(&operation.to_string());
        let _ = std::fs::remove_file(engine.log_path(operation));
    };
    let run = Arc::new(engine.store.create_run(&operation.to_string())?);
    let log = EventLog::create(&engine.log_path(operation)).inspect_err(|_| withdraw())?;
    let running = Arc::new(RunningOperation::new(log, is_detached));
    let status = if ticket.is_granted() {
        Status::Assigned
    } else {
        Status::Pending
    };
    let created_at = Utc::now();
    let recorded = engine.rows.write(|t| {
        // In the transaction that records the operation, because its record keeps the image.
        if let Some(image) = image
            && images::by_uuid(t, image)?.is_none()
        {
            return Ok(false);
        }
        operations::insert(
            t,
            &operations::NewOperation {
                uuid: operation,
                kind,
                status,
                image,
                request,
                owner_socket: engine.socket(),
                client,
                created_at,
            },
        )
        .map(|()| true)
    });
    let recorded = recorded.inspect_err(|_| withdraw())?;
    if !recorded {
        withdraw();
        return Err(ApiError::bad(
            "the image was removed while the operation was accepted; use another image",
        )
        .with_code(ErrorCode::ImageNotFound));
    }
    engine
        .running
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(operation, Arc::clone(&running));
    engine.accepted.notify_one();
    // If the engine began to stop before the insertion, it did not cancel this operation.
    if engine.stopping.is_cancelled() {
        running.cancel(STOPPED);
    }
    Ok(QueuedOperation {
        task: OperationTask {
            operation,
            created_at,
            run,
            running,
        },
        // An operation that waits reserves its descriptors when its turn comes.
        descriptors: ticket.is_granted().then_some(descriptors),
        ticket,
    })
}

/// Waits in the queue, executes the operation's work and records its ending. It never fails: an
/// error becomes the operation's error.
pub(crate) async fn carry_out<F: Future<Output = WorkEnding> + Send>(
    engine: Arc<Engine>,
    queued: QueuedOperation,
    work: impl FnOnce(Arc<Engine>, OperationTask) -> F + Send,
) {
    let QueuedOperation {
        task,
        ticket,
        descriptors,
    } = queued;
    let waited = !ticket.is_granted();
    let permit = tokio::select! {
        permit = ticket.permit() => permit,
        () = task.running.cancel.cancelled() => None,
    };
    let work_ending = match &permit {
        // A cancelled operation never begins, even if it gets its permit at the same time.
        Some(_) if !task.running.cancel.is_cancelled() => {
            task.running.assign();
            let record_assigned = async {
                if waited {
                    let operation = task.operation;
                    let set = engine
                        .write(move |t| operations::set_status(t, operation, Status::Assigned));
                    if let Err(error) = set.await {
                        tracing::warn!(%operation, error = error.message(), "cannot record that an operation is ASSIGNED");
                    }
                }
            };
            // The work makes its own reservation.
            drop(descriptors);
            let work = work(Arc::clone(&engine), task.clone());
            let ((), work_ending) = tokio::join!(record_assigned, work);
            work_ending
        }
        _ => WorkEnding::cancelled(),
    };
    settle(&engine, task, work_ending, permit).await;
}

/// Commits the result, records the ending, completes the log and removes the run directory.
async fn settle(
    engine: &Arc<Engine>,
    task: OperationTask,
    work_ending: WorkEnding,
    permit: Option<RunPermit>,
) {
    let OperationTask {
        operation,
        created_at,
        run,
        running,
    } = task;
    let WorkEnding {
        status,
        error,
        code,
        outcome,
        mut commit,
    } = work_ending;
    let mut ending = OperationEnding {
        status,
        error,
        code,
        result_image: None,
        outcome,
        image_size: None,
        ended_at: created_at + running.age(),
    };
    let unexpected = OperationEnding {
        status: Status::Failed,
        result_image: None,
        ..ending.clone()
    };
    let completion = {
        let engine = Arc::clone(engine);
        let running = Arc::clone(&running);
        let run = Arc::clone(&run);
        blocking(move || {
            // Later cancellations are refused; earlier ones are honored.
            if let Some(early_end) = running.refuse_early_end() {
                ending.status = early_end.status;
                ending.error = Some(early_end.reason);
                ending.code = Some(early_end.code);
                commit = None;
            }
            let mut recorded = false;
            if let Some(commit) = commit {
                match commit(&engine, &ending) {
                    Ok(committed) => {
                        ending = committed;
                        recorded = true;
                    }
                    Err(error) => {
                        ending.status = Status::Failed;
                        ending.error = Some(error.message().to_owned());
                        ending.code = Some(error.code());
                    }
                }
            }
            if !recorded {
                let written = engine
                    .rows
                    .write(|t| operations::end(t, operation, &ending));
                if let Err(error) = written {
                    tracing::warn!(%operation, %error, "cannot record the ending of an operation; the engine tries again");
                    // The log must not promise a result that the record may never have.
                    if ending.status == Status::Success {
                        ending.status = Status::Failed;
                        ending.error = Some(format!(
                            "the operation's ending could not be recorded: {error}"
                        ));
                        ending.code = Some(error.code());
                    }
                    engine
                        .unrecorded
                        .add(operation, ending.clone(), Some(Arc::clone(&run)));
                    engine.cleanup.notify_one();
                }
            }
            engine.sync_with_records(engine.log_path(operation));
            // The ending is valid even if the record cannot be read back.
            Ok(completion::recorded(&engine.rows, &engine.unrecorded, operation)
                .inspect_err(|error| tracing::warn!(%operation, %error, "cannot read an operation's ending back"))
                .ok()
                .flatten()
                .unwrap_or_else(|| Completion::new(created_at, &ending)))
        })
        .await
    };
    let completion = match completion {
        Ok(completion) => completion,
        Err(error) => {
            let ending = OperationEnding {
                error: Some(error.message().to_owned()),
                code: Some(error.code()),
                ..unexpected
            };
            let completion = Completion::new(created_at, &ending);
            engine
                .unrecorded
                .add(operation, ending, Some(Arc::clone(&run)));
            engine.cleanup.notify_one();
            completion
        }
    };
    completion.append_to(&running.log);
    // Requests that wait for the operation's start now find that it is over.
    running.begin(None);
    drop(permit);
    engine
        .running
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&operation);
    let removing = Arc::clone(engine);
    let removal = blocking(move || {
        if removing.unrecorded.contains(operation) {
            // The lock stays until the ending is recorded. The rest makes room on the disk.
            removing.store.empty_run(&run)?;
        } else {
            removing.store.remove_run(&operation.to_string())?;
        }
        drop(run);
        Ok(())
    });
    if let Err(error) = removal.await {
        tracing::warn!(%operation, error = error.message(), "cannot remove a run directory; the engine tries again");
        engine.cleanup.notify_one();
    }
}
