//! Shutdown of calls: counts calls in flight and cancels them.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// State shared by the transport, which ends the session, and the calls, which react to that.
#[derive(Clone)]
pub(super) struct CallShutdown {
    /// Cancelled when the process is asked to stop.
    stop: CancellationToken,
    /// Cancelled when all calls are.
    over: CancellationToken,
    calls: TaskTracker,
}

impl CallShutdown {
    /// Creates the state of a process without calls. `stop` is cancelled when a signal asks the
    /// process to end.
    pub(super) fn new(stop: CancellationToken) -> Self {
        let calls = TaskTracker::new();
        // `TaskTracker::wait` returns only on a closed tracker.
        calls.close();
        Self {
            stop,
            over: CancellationToken::new(),
            calls,
        }
    }

    /// Counts a call as in flight until the token is dropped.
    pub(super) fn track_call(&self) -> TaskTrackerToken {
        self.calls.token()
    }

    /// Cancels all calls, current and future.
    pub(super) fn cancel_calls(&self) {
        self.over.cancel();
    }

    /// Resolves when calls are cancelled.
    pub(super) async fn cancelled(&self) {
        self.over.cancelled().await;
    }

    /// Resolves when a request is to be abandoned: its client cancelled it, or all calls are
    /// cancelled.
    pub(super) async fn abandoned(&self, request: &CancellationToken) {
        tokio::select! {
            () = request.cancelled() => {}
            () = self.cancelled() => {}
        }
    }

    /// Reports whether calls are cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Resolves when the process is asked to stop.
    pub(super) async fn stop_requested(&self) {
        self.stop.cancelled().await;
    }

    /// Resolves when no call is in flight.
    pub(super) async fn idle(&self) {
        self.calls.wait().await;
    }
}
