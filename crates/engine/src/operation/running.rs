//! An unfinished operation of this process: its log, its progress, and ending it from outside.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use contree_error_codes::ErrorCode;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;
use crate::operation::contact::ClientContact;
use crate::operation::events::EventLog;
use crate::rows::operations::Status;
use crate::run::running_sandbox::RunningSandbox;

/// The reason of operations that are CANCELLED because their engine is stopped.
pub(crate) const STOPPED: &str = "the engine that ran this operation was stopped";

/// An unfinished operation of this process.
pub(crate) struct RunningOperation {
    pub(crate) log: Arc<EventLog>,
    /// Cancelled when the operation is to end early.
    pub(crate) cancel: CancellationToken,
    early_end: Mutex<EarlyEndState>,
    stage: watch::Sender<OperationStage>,
    sandbox: OnceLock<Arc<RunningSandbox>>,
    accepted_at: Instant,
    /// The requests of clients about it.
    pub(crate) contact: Arc<ClientContact>,
}

/// The progress of an operation that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OperationStage {
    /// It waits in the queue.
    Queued,
    /// It has left the queue and is prepared.
    Assigned,
    /// It is executed, or it is over.
    Started,
}

/// The state of ending an operation from outside.
enum EarlyEndState {
    /// It can be ended, and it was not.
    Possible,
    /// It was ended from outside.
    Requested(EarlyEnd),
    /// Its result is being recorded, so it can no longer be ended.
    Impossible,
}

/// The status and reason of an operation that was ended from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EarlyEnd {
    pub(crate) status: Status,
    pub(crate) reason: String,
    pub(crate) code: ErrorCode,
}

impl RunningOperation {
    /// `is_left`: its client leaves it to the engine on purpose.
    pub(crate) fn new(log: EventLog, is_left: bool) -> Self {
        Self {
            log: Arc::new(log),
            cancel: CancellationToken::new(),
            early_end: Mutex::new(EarlyEndState::Possible),
            stage: watch::Sender::new(OperationStage::Queued),
            sandbox: OnceLock::new(),
            accepted_at: Instant::now(),
            contact: ClientContact::new(is_left),
        }
    }

    /// The time since it was accepted, whatever happens to the machine's clock.
    pub(crate) fn age(&self) -> Duration {
        self.accepted_at.elapsed()
    }

    /// Ends it as CANCELLED. Only the first reason counts. False if its result is already being
    /// recorded.
    pub(crate) fn cancel(&self, reason: &str) -> bool {
        self.end_early(Status::Cancelled, reason, ErrorCode::Cancelled)
    }

    /// Ends it as FAILED, for instance because it exceeded a limit. Only the first reason counts.
    /// False if its result is already being recorded.
    pub(crate) fn fail(&self, error: &ApiError) -> bool {
        self.end_early(Status::Failed, error.message(), error.code())
    }

    fn end_early(&self, status: Status, reason: &str, code: ErrorCode) -> bool {
        let mut state = self
            .early_end
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match *state {
            EarlyEndState::Possible => {
                *state = EarlyEndState::Requested(EarlyEnd {
                    status,
                    reason: reason.to_owned(),
                    code,
                });
            }
            EarlyEndState::Requested(_) => {}
            EarlyEndState::Impossible => return false,
        }
        self.cancel.cancel();
        true
    }

    /// Refuses to end it from outside from now on. Returns the earlier request to end it, if any.
    pub(crate) fn refuse_early_end(&self) -> Option<EarlyEnd> {
        let mut state = self
            .early_end
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, EarlyEndState::Impossible) {
            EarlyEndState::Requested(early_end) => Some(early_end),
            EarlyEndState::Possible | EarlyEndState::Impossible => None,
        }
    }

    /// Marks it as out of the queue.
    pub(crate) fn assign(&self) {
        self.stage.send_replace(OperationStage::Assigned);
    }

    /// Marks it as started: its events can be followed, and its sandbox, if it has one, can be
    /// used.
    pub(crate) fn begin(&self, sandbox: Option<Arc<RunningSandbox>>) {
        if let Some(sandbox) = sandbox {
            let _ = self.sandbox.set(sandbox);
        }
        self.stage.send_replace(OperationStage::Started);
    }

    /// Subscribes to its progress.
    pub(crate) fn stage(&self) -> watch::Receiver<OperationStage> {
        self.stage.subscribe()
    }

    /// Its sandbox with the processes in it, if one was started.
    pub(crate) fn sandbox(&self) -> Option<&Arc<RunningSandbox>> {
        self.sandbox.get()
    }
}
