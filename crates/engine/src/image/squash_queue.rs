//! The queue of the squash task, with room for one layer.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// The layer whose chain is squashed next. A newer request replaces an older one. A chain that is
/// still due is requested again by the next commit.
#[derive(Default)]
pub(crate) struct SquashQueue {
    layer: Mutex<Option<u64>>,
    requested: Notify,
}

impl SquashQueue {
    /// Requests a squash of a layer's chain in the background.
    pub(crate) fn request(&self, layer: u64) {
        *self.layer.lock().unwrap_or_else(PoisonError::into_inner) = Some(layer);
        self.requested.notify_one();
    }

    /// Takes the requested layer, if any.
    pub(crate) fn take(&self) -> Option<u64> {
        self.layer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Waits for a request.
    pub(crate) async fn requested(&self) {
        self.requested.notified().await;
    }
}
