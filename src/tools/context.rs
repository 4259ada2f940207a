//! What a tool call has besides its arguments: the session, somewhere to show progress and pages, and cancellation.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{Session, ToolError, Watcher};
use crate::Client;

/// What became of a page that the user is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageOutcome {
    /// The user has it open.
    Opened,
    /// The user does not want to.
    Declined,
    /// The client has no means to show pages.
    Unsupported,
    /// The client shows it once the call is answered, and then calls again.
    CallAgain,
}

/// How the client shows the user a page.
pub trait Pages: Send + Sync {
    /// Shows `url` with a sentence about it.
    fn show<'a>(&'a self, message: &'a str, url: &'a str) -> BoxFuture<'a, PageOutcome>;
}

/// What a handler is given besides its arguments.
#[derive(Clone)]
pub struct Context {
    session: Arc<Session>,
    watcher: Arc<dyn Watcher>,
    cancelled: CancellationToken,
    pages: Option<Arc<dyn Pages>>,
}

impl Context {
    /// A context whose call is cancelled through `cancelled`.
    #[must_use]
    pub fn new(
        session: Arc<Session>,
        watcher: Arc<dyn Watcher>,
        cancelled: CancellationToken,
    ) -> Self {
        Self {
            session,
            watcher,
            cancelled,
            pages: None,
        }
    }

    /// Shows pages through the client.
    #[must_use]
    pub fn with_pages(self, pages: Arc<dyn Pages>) -> Self {
        Self {
            pages: Some(pages),
            ..self
        }
    }

    /// Shows the user a page, if the client can.
    pub(super) async fn show_page(
        &self,
        message: &str,
        url: &str,
    ) -> Result<PageOutcome, ToolError> {
        match &self.pages {
            Some(pages) => tokio::select! {
                biased;
                () = self.cancelled() => Err(ToolError::cancelled("cancelled")),
                shown = pages.show(message, url) => Ok(shown),
            },
            None => Ok(PageOutcome::Unsupported),
        }
    }

    /// The client of the backend in use.
    ///
    /// # Errors
    /// See [`Session::client`].
    pub async fn client(&self) -> Result<&Client, ToolError> {
        self.session.client().await
    }

    /// What this process shares between calls.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Where to show what happens meanwhile.
    #[must_use]
    pub fn watcher(&self) -> &dyn Watcher {
        &*self.watcher
    }

    /// Resolves when the caller no longer wants the answer.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Whether the caller no longer wants the answer.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }
    /// Does something that leaves nothing behind when it is dropped, unless the caller no longer wants the answer.
    pub(super) async fn unless_cancelled<T, E: Into<ToolError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ToolError> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(ToolError::cancelled("cancelled")),
            done = work => done.map_err(Into::into),
        }
    }
}
