//! The state that all imports of an engine share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use contree_registry::HttpClients;
use contree_sandbox::UnpackLimits;

use crate::config::LocalConfig;
use crate::limits;
use crate::operation::queue::Queue;

/// The state that all imports of an engine share.
pub(crate) struct Imports {
    /// Whether requests may import from paths of this machine.
    pub(crate) allow_local: bool,
    /// Running and waiting imports.
    pub(crate) queue: Arc<Queue>,
    pub(super) limits: UnpackLimits,
    pub(crate) http: HttpClients,
    /// A lock for each image that is being imported, so that no image is unpacked twice at once.
    in_progress: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Imports {
    pub(crate) fn new(config: &LocalConfig) -> Self {
        Self {
            allow_local: config.local_imports,
            queue: Queue::new(
                config.max_imports,
                config.max_pending.min(limits::MAX_IMPORTS_WAITING),
            ),
            limits: UnpackLimits {
                entries: config.import_entries,
                bytes: config.import_bytes,
            },
            http: HttpClients::default(),
            in_progress: Mutex::default(),
        }
    }

    /// Returns the lock of an image.
    pub(super) fn image_lock(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut in_progress = self
            .in_progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        in_progress.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = in_progress.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        in_progress.insert(key.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
