//! The error that ends an init.

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
    fn from(_: WireError) -> Self {
        Self::Lost
    }
}
