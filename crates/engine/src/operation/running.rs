//! An operation of this process that is not over, as others reach it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::operation::events::EventLog;
use crate::rows::operations::Status;
use crate::run::instance::Instance;

/// Why operations are CANCELLED that run when their engine is stopped.
pub(crate) const STOPPED: &str = "the engine that ran this operation was stopped";

/// An operation of this process that is not over.
pub(crate) struct Running {
    pub(crate) log: Arc<EventLog>,
    /// Its end was asked for, by whomever.
    pub(crate) cancel: CancellationToken,
    interruption: Mutex<Interruption>,
    stage: watch::Sender<Stage>,
    instance: OnceLock<Arc<Instance>>,
}

/// How far an operation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Others are before it.
    Waiting,
    /// What it needs is being prepared.
    Assigned,
    /// It does its work, or it is over.
    Begun,
}

/// Whether an operation may still be ended from outside.
enum Interruption {
    Open,
    Requested(Verdict),
    Closed,
}

/// How an operation ends that was ended from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) status: Status,
    pub(crate) reason: String,
}

impl Running {
    pub(crate) fn new(log: EventLog) -> Self {
        Self {
            log: Arc::new(log),
            cancel: CancellationToken::new(),
            interruption: Mutex::new(Interruption::Open),
            stage: watch::Sender::new(Stage::Waiting),
            instance: OnceLock::new(),
        }
    }

    /// Asks for its end as CANCELLED; the first reason counts. False if its result is being recorded already.
    pub(crate) fn cancel(&self, reason: &str) -> bool {
        self.end(Status::Cancelled, reason)
    }

    /// Ends it as FAILED, for instance because it passed a bound; the first reason counts. False if its result is being
    /// recorded already.
    pub(crate) fn fail(&self, reason: &str) -> bool {
        self.end(Status::Failed, reason)
    }

    fn end(&self, status: Status, reason: &str) -> bool {
        let mut interruption = self
            .interruption
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match *interruption {
            Interruption::Open => {
                *interruption = Interruption::Requested(Verdict {
                    status,
                    reason: reason.to_owned(),
                });
            }
            Interruption::Requested(_) => {}
            Interruption::Closed => return false,
        }
        self.cancel.cancel();
        true
    }

    /// From here on it cannot be ended from outside. The verdict, if somebody did so before.
    pub(crate) fn close(&self) -> Option<Verdict> {
        let mut interruption = self
            .interruption
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *interruption, Interruption::Closed) {
            Interruption::Requested(verdict) => Some(verdict),
            Interruption::Open | Interruption::Closed => None,
        }
    }

    /// Says that its turn has come.
    pub(crate) fn assign(&self) {
        self.stage.send_replace(Stage::Assigned);
    }

    /// Says that it does its work now: its events can be followed. An instance is reached from here on.
    pub(crate) fn begin(&self, instance: Option<Arc<Instance>>) {
        if let Some(instance) = instance {
            let _ = self.instance.set(instance);
        }
        self.stage.send_replace(Stage::Begun);
    }

    /// How far it has come; tells of changes.
    pub(crate) fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Its sandbox and the processes in it, if it has or had one.
    pub(crate) fn instance(&self) -> Option<&Arc<Instance>> {
        self.instance.get()
    }
}
