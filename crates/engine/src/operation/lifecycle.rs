//! The life of an operation, whatever it does: accepted, waiting for its turn, carried out, settled.
//!
//! A kind of operation calls [`accept`] in its route, and hands its work to [`carry_out`]. The work says by
//! [`Task::begin`] that it has begun, appends its events to the log, ends early when [`Running::cancel`] says so, and
//! gives back its [`WorkEnding`]; what it leaves is kept by a closure that records image and ending in one transaction.

use std::sync::{Arc, PoisonError};

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use contree_sandbox::RunDir;
use serde_json::Value;
use uuid::Uuid;

use crate::api::types::InstanceResult;
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::completion::{self, Completion};
use crate::operation::events::EventLog;
use crate::operation::queue::{Queue, Ticket};
use crate::operation::running::Running;
use crate::operation::running::STOPPED;
use crate::rows::images;
use crate::rows::operations::{self, Ending, Status};

/// An operation that was accepted: it is recorded and has its place in a queue.
pub(crate) struct Accepted {
    task: Task,
    ticket: Ticket,
}

/// An operation that is carried out.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) operation: Uuid,
    /// When it was accepted.
    created_at: DateTime<Utc>,
    /// Locked by this process until the operation is over; by that other engines know that its owner lives. Removed
    /// with all in it at the end.
    pub(crate) run: Arc<RunDir>,
    pub(crate) running: Arc<Running>,
}

/// Makes what is kept of an operation, and records its ending together with it. Called on a thread that may block, once
/// nobody can cancel the operation any more; not called if somebody did. A failure makes the operation FAILED.
pub(crate) type CommitWork = Box<dyn FnOnce(&Engine, &Ending) -> Result<Ending, ApiError> + Send>;

/// How an operation's work came to its end.
pub(crate) struct WorkEnding {
    pub(crate) status: Status,
    pub(crate) error: Option<String>,
    pub(crate) outcome: Option<InstanceResult>,
    /// Keeps what it left, if there is anything to keep.
    pub(crate) keep: Option<CommitWork>,
}

impl WorkEnding {
    /// Ended so, without anything to tell or to keep.
    pub(crate) fn of(status: Status) -> Self {
        Self {
            status,
            error: None,
            outcome: None,
            keep: None,
        }
    }

    pub(crate) fn failed(error: impl Into<String>) -> Self {
        Self {
            error: Some(error.into()),
            ..Self::of(Status::Failed)
        }
    }

    /// Ended from outside. The reason is added when the ending is recorded.
    pub(crate) fn cancelled() -> Self {
        Self::of(Status::Cancelled)
    }
}

impl Task {
    /// Records that the work begins, and lets others follow it.
    pub(crate) async fn begin(&self, engine: &Arc<Engine>) -> Result<(), ApiError> {
        self.executing(engine).await?;
        self.running.begin(None);
        Ok(())
    }

    /// Records that the work begins. [`Running::begin`] then lets others follow it and reach its instance.
    pub(crate) async fn executing(&self, engine: &Arc<Engine>) -> Result<(), ApiError> {
        let operation = self.operation;
        engine
            .write(move |t| operations::set_status(t, operation, Status::Executing))
            .await
    }
}

/// Accepts an operation, of kind `kind` and with the request as it will be shown. Blocks. 429 if too many wait.
///
/// Its run directory and the lock in it are there before it is visible, so that no other engine takes it for orphaned.
pub(crate) fn accept(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    operation: Uuid,
    kind: &str,
    image: Option<Uuid>,
    request: &Value,
) -> Result<Accepted, ApiError> {
    if engine.stopping.is_cancelled() {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the engine is stopping",
        ));
    }
    let ticket = queue.enter()?;
    let withdraw = || {
        let _ = engine.store.remove_run(&operation.to_string());
        let _ = std::fs::remove_file(engine.log_path(operation));
    };
    let run = Arc::new(engine.store.create_run(&operation.to_string())?);
    let log = EventLog::create(&engine.log_path(operation)).inspect_err(|_| withdraw())?;
    let running = Arc::new(Running::new(log));
    let status = if ticket.is_due() {
        Status::Assigned
    } else {
        Status::Pending
    };
    let created_at = Utc::now();
    let recorded = engine.rows.write(|t| {
        // In the same transaction as the record, by which it is known to be in use.
        if let Some(image) = image
            && images::by_uuid(t, image)?.is_none()
        {
            return Ok(false);
        }
        operations::insert(
            t,
            &operations::New {
                uuid: operation,
                kind,
                status,
                image,
                request,
                door: engine.socket(),
                created_at,
            },
        )
        .map(|()| true)
    });
    let recorded = recorded.inspect_err(|_| withdraw())?;
    if !recorded {
        withdraw();
        return Err(ApiError::bad("the image was removed just now"));
    }
    engine
        .running
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(operation, Arc::clone(&running));
    engine.accepted.notify_one();
    // Stopping may have begun in between, and would not have seen this operation.
    if engine.stopping.is_cancelled() {
        running.cancel(STOPPED);
    }
    Ok(Accepted {
        task: Task {
            operation,
            created_at,
            run,
            running,
        },
        ticket,
    })
}

/// Waits for the operation's turn, does its work and records how it ended. Never fails: what goes wrong is the
/// operation's error.
pub(crate) async fn carry_out<F: Future<Output = WorkEnding> + Send>(
    engine: Arc<Engine>,
    accepted: Accepted,
    work: impl FnOnce(Arc<Engine>, Task) -> F + Send,
) {
    let Accepted { task, ticket } = accepted;
    let waited = !ticket.is_due();
    let slot = tokio::select! {
        slot = ticket.turn() => slot,
        () = task.running.cancel.cancelled() => None,
    };
    let ran = match &slot {
        // A cancelled one never begins, also if its turn has come at the same time.
        Some(_) if !task.running.cancel.is_cancelled() => {
            task.running.assign();
            let assigned = async {
                if waited {
                    let operation = task.operation;
                    let set = engine
                        .write(move |t| operations::set_status(t, operation, Status::Assigned));
                    if let Err(error) = set.await {
                        tracing::warn!(%operation, error = error.message(), "cannot record an operation's state");
                    }
                }
            };
            let work = work(Arc::clone(&engine), task.clone());
            let ((), ran) = tokio::join!(assigned, work);
            ran
        }
        _ => WorkEnding::cancelled(),
    };
    settle(&engine, task, ran).await;
}

/// Keeps the result if asked, records the ending, closes the log and clears the run directory away.
async fn settle(engine: &Arc<Engine>, task: Task, ran: WorkEnding) {
    let Task {
        operation,
        created_at,
        run,
        running,
    } = task;
    let WorkEnding {
        status,
        error,
        outcome,
        mut keep,
    } = ran;
    let mut ending = Ending {
        status,
        error,
        result_image: None,
        outcome,
        image_size: None,
    };
    let ended = {
        let engine = Arc::clone(engine);
        let closing = Arc::clone(&running);
        blocking(move || {
            // From here on nobody is told any more that it was cancelled; who was told so is not wrong.
            if let Some(verdict) = closing.close() {
                ending.status = verdict.status;
                ending.error = Some(verdict.reason);
                keep = None;
            }
            let mut kept = false;
            if let Some(keep) = keep {
                match keep(&engine, &ending) {
                    Ok(whole) => {
                        ending = whole;
                        kept = true;
                    }
                    Err(error) => {
                        ending.status = Status::Failed;
                        ending.error = Some(error.message().to_owned());
                    }
                }
            }
            if !kept {
                let recorded = engine
                    .rows
                    .write(|t| operations::end(t, operation, &ending));
                if let Err(error) = recorded {
                    // The log must not promise what the record does not have.
                    return Ok(Completion::failed(
                        created_at,
                        format!("the operation's ending could not be recorded: {error}"),
                    ));
                }
            }
            // It is recorded, so a record that cannot be read back does not make it another ending.
            Ok(completion::recorded(&engine.rows, operation)
                .inspect_err(|error| tracing::warn!(%operation, %error, "cannot read an operation's ending back"))
                .ok()
                .flatten()
                .unwrap_or_else(|| Completion::now(created_at, &ending)))
        })
        .await
    };
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => Completion::failed(created_at, error.message().to_owned()),
    };
    ended.append_to(&running.log);
    // Whoever waits for it to begin need not wait any longer.
    running.begin(None);
    engine
        .running
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&operation);
    let store = engine.store.clone();
    let cleared = blocking(move || {
        store.remove_run(&operation.to_string())?;
        drop(run);
        Ok(())
    });
    if let Err(error) = cleared.await {
        tracing::warn!(%operation, error = error.message(), "cannot clear a run directory; the next start tries again");
    }
}
