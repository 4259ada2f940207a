//! Context for requests that the server makes on its own.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::tools::{Context, Quiet, Session};

/// Creates a context that reports no progress and is never cancelled.
pub(super) fn quiet(session: &Arc<Session>) -> Context {
    Context::new(session.clone(), Arc::new(Quiet), CancellationToken::new())
}
