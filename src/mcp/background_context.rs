//! Context for requests that the server makes on its own.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::tools::{Context, Session, SilentWatcher};

/// Creates a context that reports no progress and is never cancelled.
pub(super) fn background_context(session: &Arc<Session>) -> Context {
    Context::new(
        session.clone(),
        Arc::new(SilentWatcher),
        CancellationToken::new(),
    )
}
