//! Messages between pid 1 and the watcher of the writable layer.

use serde::{Deserialize, Serialize};

/// Messages between pid 1 and the watcher of the writable layer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WatcherMessage {
    /// From pid 1: the sandbox is set up. `device` is the overlay's device. `extra_bytes` and
    /// `extra_inodes` are the part of the layer that does not count. The notification descriptor
    /// for fallocate comes with the message, if there is one.
    Ready {
        device: u64,
        extra_bytes: u64,
        extra_inodes: u64,
    },
    /// To pid 1: stop all processes and confirm it.
    Stop { request: u32 },
    /// From pid 1: all processes are stopped, as the request with this number asked.
    Stopped { request: u32 },
    /// To pid 1: let the processes continue.
    Continue,
}
