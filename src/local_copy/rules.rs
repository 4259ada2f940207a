//! Rules of a caller for writing local files, and its receiver of progress messages.

use std::path::Path;
use std::sync::Arc;

/// Returns why a path must not be written.
type Refuse = Arc<dyn Fn(&Path) -> Option<String> + Send + Sync>;

/// Rules for writing local files, and a receiver of progress messages.
#[derive(Clone)]
pub(crate) struct WriteRules {
    refuse: Refuse,
    progress: Arc<dyn Fn(&str) + Send + Sync>,
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
        }
    }

    /// Why a path must not be written.
    pub(super) fn refusal(&self, path: &Path) -> Option<String> {
        (self.refuse)(path)
    }

    pub(super) fn progress(&self, message: &str) {
        (self.progress)(message);
    }
}

/// Allows everything and reports nothing.
impl Default for WriteRules {
    fn default() -> Self {
        Self {
            refuse: Arc::new(|_| None),
            progress: Arc::new(|_| {}),
        }
    }
}
