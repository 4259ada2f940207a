//! Rules of a caller for writing local files, and its receiver of progress messages.

use std::path::Path;
use std::sync::Arc;

/// Returns why a path must not be written.
type Refuse = Arc<dyn Fn(&Path) -> Option<String> + Send + Sync>;
/// Receives the number of bytes of each piece of a file that was written.
type Observe = Arc<dyn Fn(u64) + Send + Sync>;

/// Rules for writing local files, and a receiver of progress messages.
#[derive(Clone)]
pub(crate) struct WriteRules {
    refuse: Refuse,
    progress: Arc<dyn Fn(&str) + Send + Sync>,
    observe: Observe,
}

impl WriteRules {
    /// Rules that refuse a path with a reason.
    #[cfg(feature = "mcp")]
    pub(crate) fn new(
        refuse: impl Fn(&Path) -> Option<String> + Send + Sync + 'static,
        progress: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self {
            refuse: Arc::new(refuse),
            progress: Arc::new(progress),
            ..Self::default()
        }
    }

    /// Rules that allow everything, and report the bytes of written files.
    pub(crate) fn observed(observe: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self {
            observe: Arc::new(observe),
            ..Self::default()
        }
    }

    /// Why a path must not be written.
    pub(super) fn refusal(&self, path: &Path) -> Option<String> {
        (self.refuse)(path)
    }

    pub(super) fn progress(&self, message: &str) {
        (self.progress)(message);
    }

    pub(super) fn written(&self, bytes: u64) {
        (self.observe)(bytes);
    }
}

/// Allows everything and reports nothing.
impl Default for WriteRules {
    fn default() -> Self {
        Self {
            refuse: Arc::new(|_| None),
            progress: Arc::new(|_| {}),
            observe: Arc::new(|_| {}),
        }
    }
}
