//! Context of a tool call: the session, progress, pages for the user, and cancellation.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{Session, ToolError, Watcher};
use crate::Client;

/// Outcome of showing the user a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageOutcome {
    /// The user opened it.
    Opened,
    /// The user declined.
    Declined,
    /// The client cannot show pages.
    Unsupported,
    /// The client shows it after this call is answered, and then repeats the call.
    CallAgain,
}

/// Shows pages to the user through the client.
pub trait PagePresenter: Send + Sync {
    /// Shows `url` with a sentence about it.
    fn show<'a>(&'a self, message: &'a str, url: &'a str) -> BoxFuture<'a, PageOutcome>;
}

/// Context of a tool call, passed to its handler.
#[derive(Clone)]
pub struct Context {
    session: Arc<Session>,
    watcher: Arc<dyn Watcher>,
    cancelled: CancellationToken,
    pages: Option<Arc<dyn PagePresenter>>,
}

impl Context {
    /// Creates a context of a call that `cancelled` cancels.
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

    /// Sets how pages are shown to the user.
    #[must_use]
    pub fn with_pages(self, pages: Arc<dyn PagePresenter>) -> Self {
        Self {
            pages: Some(pages),
            ..self
        }
    }

    /// Shows the user a page, if the client supports it.
    pub(super) async fn show_page(
        &self,
        message: &str,
        url: &str,
    ) -> Result<PageOutcome, ToolError> {
        match &self.pages {
            Some(pages) => tokio::select! {
                biased;
                () = self.cancelled() => Err(ToolError::cancelled("the call was cancelled")),
                shown = pages.show(message, url) => Ok(shown),
            },
            None => Ok(PageOutcome::Unsupported),
        }
    }

    /// Returns the client of the backend in use.
    ///
    /// # Errors
    /// See [`Session::client`].
    pub async fn client(&self) -> Result<&Client, ToolError> {
        self.session.client().await
    }

    /// Returns the session, which all calls of this process share.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the receiver of progress and output.
    #[must_use]
    pub fn watcher(&self) -> &dyn Watcher {
        &*self.watcher
    }

    /// Resolves when the call is cancelled.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Reports whether the call was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }
    /// Runs `work` until the call is cancelled. Dropping `work` half-way must leave nothing behind.
    pub(super) async fn unless_cancelled<T, E: Into<ToolError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ToolError> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(ToolError::cancelled("the call was cancelled")),
            done = work => done.map_err(Into::into),
        }
    }
}
