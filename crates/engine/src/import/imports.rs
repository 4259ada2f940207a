//! What all imports of an engine share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use contree_registry::Http;
use contree_sandbox::UnpackLimits;

use crate::config::LocalConfig;
use crate::limits;
use crate::operation::queue::Queue;

/// What all imports of an engine share.
pub(crate) struct Imports {
    /// Whether paths of this machine may be imported from.
    pub(crate) local: bool,
    /// Imports that are carried out, and those that wait.
    pub(crate) queue: Arc<Queue>,
    pub(super) limits: UnpackLimits,
    pub(super) http: Http,
    /// Images that are being imported, so that none is unpacked twice at once.
    under_way: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Imports {
    pub(crate) fn new(config: &LocalConfig) -> Self {
        Self {
            local: config.local_imports,
            queue: Queue::new(
                config.max_imports,
                config.max_pending.min(limits::MAX_IMPORTS_WAITING),
            ),
            limits: UnpackLimits {
                entries: config.import_entries,
                bytes: config.import_bytes,
            },
            http: Http::default(),
            under_way: Mutex::default(),
        }
    }

    /// The lock of one image.
    pub(super) fn lock_of(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = under_way.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        under_way.insert(key.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
