//! Which chain of layers is to be shortened.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// The layer whose chain is to be shortened next. Who comes while it is being done comes again with the next commit, if it is needed.
#[derive(Default)]
pub(crate) struct SquashQueue {
    layer: Mutex<Option<u64>>,
    asked: Notify,
}

impl SquashQueue {
    /// Asks for the chain of a layer to be shortened in the background.
    pub(crate) fn ask(&self, layer: u64) {
        *self.layer.lock().unwrap_or_else(PoisonError::into_inner) = Some(layer);
        self.asked.notify_one();
    }

    /// Takes the layer that was asked for, if there is one.
    pub(crate) fn take(&self) -> Option<u64> {
        self.layer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Waits until a layer is asked for.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }
}
