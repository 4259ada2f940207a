//! Importing images: from registries, from layouts and archives on this machine's disk.
//!
//! `request` -> `source` (which image) -> `prepare` (layers that are missing: downloaded and verified, then unpacked by a helper
//! of the sandbox crate inside the user namespace) -> `commit` (one transaction). What is under way lives in the operation's run
//! directory and in layer rows that are not ready, so that whatever ends an import leaves nothing behind.

mod commit;
mod decompress;
mod docker_archive;
mod job;
mod local_file;
mod oci_layout;
mod plan;
mod prepare;
mod progress;
pub(crate) mod source;
mod tasks;
mod verify;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use contree_sandbox::UnpackLimits;

use crate::LocalConfig;
use crate::operation::queue::Queue;
use contree_registry::Http;

pub(super) use job::begin;

/// What all imports of an engine share.
pub(super) struct Imports {
    /// Whether paths of this machine may be imported from.
    pub(super) local: bool,
    /// Imports that are carried out, and those that wait.
    pub(super) queue: Arc<Queue>,
    limits: UnpackLimits,
    http: Http,
    /// Images that are being imported, so that none is unpacked twice at once.
    under_way: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Imports {
    pub(super) fn new(config: &LocalConfig) -> Self {
        Self {
            local: config.local_imports,
            queue: Queue::new(
                config.max_imports,
                config.max_pending.min(crate::limits::IMPORTS_WAITING),
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
    fn lock_of(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
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
