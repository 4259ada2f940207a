//! The tasks of one import. All must end before its run directory can be removed.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use contree_sandbox::UnpackTask;
use futures_util::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Downloads and unpacking tasks of one import.
#[derive(Clone, Default)]
pub(super) struct ImportTasks {
    tasks: TaskTracker,
    stop: CancellationToken,
    unpacking: Arc<Mutex<Option<Arc<UnpackTask>>>>,
}

impl ImportTasks {
    /// Spawns a task that `stop_all` cancels at any await point. It then yields `None`.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let stop = self.stop.clone();
        let task = async move { stop.run_until_cancelled_owned(task).await };
        self.tasks.spawn(task.boxed())
    }

    /// Spawns a blocking task. It ends by itself when its unpacking is stopped, or when it finds
    /// that the import is.
    pub(super) fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let work: Box<dyn FnOnce() -> T + Send> = Box::new(work);
        self.tasks.spawn_blocking(work)
    }

    /// Registers an unpacking for `stop_all`. Returns false if the import is already stopped.
    pub(super) fn register(&self, unpacking: &Arc<UnpackTask>) -> bool {
        let mut current = self
            .unpacking
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::clone(unpacking));
        if self.stop.is_cancelled() {
            unpacking.stop();
        }
        !self.stop.is_cancelled()
    }

    /// Returns whether the import is being stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Stops all tasks and waits for them.
    pub(super) async fn stop_all(&self) {
        self.stop.cancel();
        if let Some(unpacking) = self
            .unpacking
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            unpacking.stop();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}
