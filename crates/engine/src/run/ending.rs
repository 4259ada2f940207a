//! How a run ends, and what its operation becomes by it.

use contree_sandbox::SandboxOutcome;

use crate::api::types::InstanceResult;
use crate::error::ApiError;
use crate::operation::lifecycle::{CommitWork, WorkEnding};
use crate::rows::operations::Status;

/// How a run ended.
pub(crate) enum RunEnding {
    /// The main process ended by itself.
    Exited(SandboxOutcome),
    /// The time-out passed. `None`: the processes were ended by force, and what they wrote is not to be trusted.
    TimedOut(Option<SandboxOutcome>),
    /// The time-out passed, and the processes did not end when they were killed.
    Stuck,
    /// Somebody asked for its end.
    Cancelled,
    /// The engine that runs it is being stopped.
    EngineStopped,
    /// The command wrote more than it may.
    TooLarge(ApiError),
    /// The sandbox went down, and the main process with it.
    SandboxLost,
    /// The sandbox is not this run's any more.
    Taken,
    /// The sandbox could not be ended in good order.
    Unfinished(ApiError),
}

impl RunEnding {
    /// What the operation becomes. `keep` makes an image of what a sandbox that ended in good order has left.
    pub(crate) fn into_work_ending(
        self,
        outcome: Option<InstanceResult>,
        keep: impl FnOnce(SandboxOutcome) -> Option<CommitWork>,
    ) -> WorkEnding {
        let ran = match self {
            Self::Exited(finished) | Self::TimedOut(Some(finished)) => WorkEnding {
                keep: keep(finished),
                ..WorkEnding::of(Status::Success)
            },
            Self::TimedOut(None) => WorkEnding::of(Status::Success),
            Self::Stuck => WorkEnding::failed(
                "the command ran out of time, and its processes did not end in time when they were killed",
            ),
            // The reason is added when the ending is recorded.
            Self::Cancelled | Self::EngineStopped => WorkEnding::cancelled(),
            Self::TooLarge(error) | Self::Unfinished(error) => WorkEnding::failed(error.message()),
            Self::SandboxLost => WorkEnding::failed(
                "the sandbox ended unexpectedly: its first process was killed or crashed",
            ),
            Self::Taken => WorkEnding::failed("the sandbox was ended by somebody else"),
        };
        WorkEnding { outcome, ..ran }
    }
}
