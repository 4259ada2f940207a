//! The tasks of one push. All must end before its run directory can be removed.

use std::sync::{Arc, Mutex, PoisonError};

use contree_sandbox::PackTask;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::PushError;

/// The blocking tasks of one push.
#[derive(Clone, Default)]
pub(super) struct PushTasks {
    tasks: TaskTracker,
    stop: CancellationToken,
    packing: Arc<Mutex<Vec<Arc<PackTask>>>>,
}

impl PushTasks {
    /// Runs blocking work, which ends by itself when its packing is stopped.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PushError> + Send + 'static,
    ) -> Result<T, PushError> {
        let work: Box<dyn FnOnce() -> Result<T, PushError> + Send> = Box::new(work);
        self.tasks.spawn_blocking(work).await?
    }

    /// Registers a packing for `stop_all`.
    pub(super) fn register(&self, packing: &Arc<PackTask>) -> Result<(), PushError> {
        self.packing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(packing));
        if self.is_stopped() {
            packing.stop();
            return Err(PushError::Stopped);
        }
        Ok(())
    }

    /// Removes a packing that has ended.
    pub(super) fn forget(&self, packing: &Arc<PackTask>) {
        self.packing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|other| !Arc::ptr_eq(other, packing));
    }

    /// Returns whether the push is being stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Stops all tasks and waits for them.
    pub(super) async fn stop_all(&self) {
        self.stop.cancel();
        for packing in self
            .packing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            packing.stop();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}
