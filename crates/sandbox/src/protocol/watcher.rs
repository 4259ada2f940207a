//! What pid 1 and the watcher of the writable layer say to each other.

use serde::{Deserialize, Serialize};

/// What pid 1 and the watcher of its writable layer say to each other.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WatcherMessage {
    /// From pid 1, when the sandbox is set up: the overlay's device. With the descriptor that fallocate is answered through, if there is one.
    Ready { device: u64 },
    /// To pid 1: stop all processes, and say so.
    Stop,
    /// From pid 1.
    Stopped,
    /// To pid 1: let them go on.
    Continue,
}
