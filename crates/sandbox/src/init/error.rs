//! The error that ends an init.

use crate::protocol::step::Step;
use crate::protocol::step_failure::StepFailure;
use crate::protocol::wire::WireError;

/// The error that ends an init.
pub(crate) enum InitError {
    /// A step failed, and the init reports it to the engine.
    Failed(StepFailure),
    /// The connection to the engine is lost.
    Lost,
}

impl From<StepFailure> for InitError {
    fn from(failure: StepFailure) -> Self {
        Self::Failed(failure)
    }
}

impl From<WireError> for InitError {
    /// Converts a closed connection into [`InitError::Lost`]. The engine can still hear of any
    /// other failure, such as a file that the kernel does not pass.
    fn from(error: WireError) -> Self {
        match error {
            WireError::Closed => Self::Lost,
            other => Self::Failed(StepFailure {
                step: Step::Talk,
                subject: None,
                cause: other.into(),
            }),
        }
    }
}
