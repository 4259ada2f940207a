//! How a session ends: who is still at work, and when they are told to stop.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Shared by the transport, which ends the session, and the calls, which notice it.
#[derive(Clone)]
pub(super) struct Ending {
    stop: CancellationToken,
    over: CancellationToken,
    calls: TaskTracker,
}

impl Ending {
    /// `stop` is the process's own: a signal asked it to end.
    pub(super) fn new(stop: CancellationToken) -> Self {
        let calls = TaskTracker::new();
        // A tracker only ever reports being empty once it is closed.
        calls.close();
        Self {
            stop,
            over: CancellationToken::new(),
            calls,
        }
    }

    /// Counts one call for as long as the token lives.
    pub(super) fn call(&self) -> TaskTrackerToken {
        self.calls.token()
    }

    /// Cancels every call in flight and to come.
    pub(super) fn cancel_calls(&self) {
        self.over.cancel();
    }

    /// Resolves when calls are to be cancelled.
    pub(super) async fn cancelled(&self) {
        self.over.cancelled().await;
    }

    /// Resolves when a request is to be given up: its sender no longer wants it, or the session is over.
    pub(super) async fn gives_up(&self, request: &CancellationToken) {
        tokio::select! {
            () = request.cancelled() => {}
            () = self.cancelled() => {}
        }
    }

    /// Whether calls are to be cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Resolves when the process is to stop.
    pub(super) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Resolves when no call is in flight.
    pub(super) async fn idle(&self) {
        self.calls.wait().await;
    }
}
