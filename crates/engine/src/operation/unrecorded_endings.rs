//! Endings of operations that cannot be recorded yet, because the disk is full.
//!
//! Until they are recorded, this engine answers with them, and keeps the locks of its own
//! operations. So no other engine takes such an operation for orphaned.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contree_sandbox::RunDir;
use uuid::Uuid;

use crate::rows::operations::{Operation, OperationEnding};

/// An ending that is to be recorded.
#[derive(Clone)]
pub(crate) struct UnrecordedEnding {
    pub(crate) ending: OperationEnding,
    /// The locked directory of an operation of this process.
    _run: Option<Arc<RunDir>>,
}

/// All endings that are to be recorded.
#[derive(Default)]
pub(crate) struct UnrecordedEndings(Mutex<HashMap<Uuid, UnrecordedEnding>>);

impl UnrecordedEndings {
    /// Adds an ending. The first ending of an operation counts.
    pub(crate) fn add(&self, operation: Uuid, ending: OperationEnding, run: Option<Arc<RunDir>>) {
        self.lock()
            .entry(operation)
            .or_insert(UnrecordedEnding { ending, _run: run });
    }

    /// All endings.
    pub(crate) fn all(&self) -> Vec<(Uuid, UnrecordedEnding)> {
        let endings = self.lock();
        endings.iter().map(|(uuid, e)| (*uuid, e.clone())).collect()
    }

    /// Returns whether the ending of an operation is to be recorded.
    pub(crate) fn contains(&self, operation: Uuid) -> bool {
        self.lock().contains_key(&operation)
    }

    /// Removes an ending that was recorded. This unlocks the operation's directory.
    pub(crate) fn remove(&self, operation: Uuid) {
        self.lock().remove(&operation);
    }

    /// Completes a record with the ending that is to be recorded, if there is one.
    pub(crate) fn complete(&self, operation: &mut Operation) {
        if operation.status.is_terminal() {
            return;
        }
        if let Some(unrecorded) = self.lock().get(&operation.uuid) {
            operation.end_with(&unrecorded.ending);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, UnrecordedEnding>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
