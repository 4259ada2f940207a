//! The outcome of a command: its exit status, its output and its use of resources.

mod captured;
mod exit_status;

use std::time::Duration;

use uuid::Uuid;

pub use captured::{Captured, NotUtf8};
pub use exit_status::{ExitStatus, Signal, UnknownSignal};

/// The outcome of a command. `I` is the kept result of its changes: an image, or `()`.
///
/// [`Output`](crate::Output) is the usual name of this type.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunOutput<I> {
    /// The operation that ran the command.
    pub operation: Uuid,
    /// How the command ended.
    pub status: ExitStatus,
    /// The standard output.
    pub stdout: Captured,
    /// The standard error.
    pub stderr: Captured,
    /// The image with the command's changes. It is the image that the command ran on, if the
    /// command changed nothing.
    pub image: I,
    /// How long the operation took.
    pub duration: Duration,
    /// The resources that the command used; none if the backend did not report them.
    pub resources: Option<Resources>,
}

impl<I> RunOutput<I> {
    /// Whether the command exited with status 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Replaces the image.
    pub(crate) fn with_image<J>(self, image: impl FnOnce(I) -> J) -> RunOutput<J> {
        RunOutput {
            operation: self.operation,
            status: self.status,
            stdout: self.stdout,
            stderr: self.stderr,
            image: image(self.image),
            duration: self.duration,
            resources: self.resources,
        }
    }
}

/// The resources that a command used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resources {
    /// Processor time in user mode.
    pub user_time: Duration,
    /// Processor time in the kernel.
    pub system_time: Duration,
    /// The most resident memory of one process, in bytes.
    pub max_memory: u64,
}

/// The parts of a run's output that exist although the run failed or was cancelled.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PartialOutput {
    /// The standard output.
    pub stdout: Captured,
    /// The standard error.
    pub stderr: Captured,
}
