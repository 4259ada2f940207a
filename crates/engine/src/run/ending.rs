//! The ending of a run, and the ending of its operation that follows from it.

use contree_error_codes::ErrorCode;
use contree_sandbox::SandboxOutcome;

use crate::api::types::InstanceResult;
use crate::error::ApiError;
use crate::operation::lifecycle::{CommitWork, WorkEnding};
use crate::rows::operations::Status;

/// The ending of a run.
pub(crate) enum RunEnding {
    /// The main process ended by itself.
    Exited(SandboxOutcome),
    /// The time-out passed. `None`: the processes were ended by force, so their files may be
    /// inconsistent and are not committed.
    TimedOut(Option<SandboxOutcome>),
    /// The time-out passed, and the processes did not end in time when they were killed.
    Stuck,
    /// A client cancelled the operation.
    Cancelled,
    /// The engine is stopping.
    EngineStopped,
    /// The command wrote more than `max_layer_bytes` allows, or the disk is nearly full.
    TooLarge(ApiError),
    /// The sandbox ended unexpectedly, and the main process with it.
    SandboxLost,
    /// Another task has already closed the sandbox.
    AlreadyClosed,
    /// The sandbox could not be ended cleanly.
    NotFinished(ApiError),
}

impl RunEnding {
    /// Turns the ending of the run into the ending of the operation's work. `commit` makes an image
    /// of a sandbox that ended cleanly.
    pub(crate) fn into_work_ending(
        self,
        outcome: Option<InstanceResult>,
        commit: impl FnOnce(SandboxOutcome) -> Option<CommitWork>,
    ) -> WorkEnding {
        let ending = match self {
            Self::Exited(finished) | Self::TimedOut(Some(finished)) => WorkEnding {
                commit: commit(finished),
                ..WorkEnding::of(Status::Success)
            },
            Self::TimedOut(None) => WorkEnding::of(Status::Success),
            Self::Stuck => WorkEnding::failed(
                ErrorCode::CommandTimedOut,
                "the command exceeded its time-out, and its processes did not end in time when they were killed",
            ),
            // The reason is added when the ending is recorded.
            Self::Cancelled | Self::EngineStopped => WorkEnding::cancelled(),
            Self::TooLarge(error) | Self::NotFinished(error) => WorkEnding::failed_by(&error),
            Self::SandboxLost => WorkEnding::failed(
                ErrorCode::SandboxGone,
                "the sandbox ended unexpectedly: its first process was killed or crashed",
            ),
            Self::AlreadyClosed => WorkEnding::failed(
                ErrorCode::SandboxGone,
                "another part of the engine has already ended the sandbox",
            ),
        };
        WorkEnding { outcome, ..ending }
    }
}
