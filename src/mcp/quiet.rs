//! The context of what the server itself asks of the backend.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::tools::{Context, Quiet, Session};

/// A context that tells nobody of progress and is never cancelled.
pub(super) fn quiet(session: &Arc<Session>) -> Context {
    Context::new(session.clone(), Arc::new(Quiet), CancellationToken::new())
}
