//! Why an init gives up.

use crate::protocol::failure::Failure;
use crate::protocol::wire::WireError;

/// Why an init gives up.
pub(crate) enum InitError {
    /// A step failed, and the engine is to know.
    Failed(Failure),
    /// There is nobody left to tell.
    Lost,
}

impl From<Failure> for InitError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<WireError> for InitError {
    fn from(_: WireError) -> Self {
        Self::Lost
    }
}
