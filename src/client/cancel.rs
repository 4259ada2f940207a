//! Cancelling an operation whose handle is dropped.

use std::{fmt, sync::LazyLock};

use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::{background, runs::Run};
use crate::{Client, Error, types};

/// Number of starts and cancellations that run in the background.
static UNSENT: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// A guard of a running operation. Dropping it cancels the operation.
///
/// The guard may be dropped inside a runtime, outside of one, or in one that is shutting down: a
/// thread of its own sends the cancellation. It is repeated like every request that is safe to
/// repeat. A process that ends right after the drop waits for
/// [`CancelOnDrop::all_sent`] first. With an embedded engine that is not needed: its operations end
/// with it.
///
/// [`CancelOnDrop::start`] starts a run with such a guard. Its future may be dropped at any time:
/// if the backend accepts the run after that, the run is cancelled.
///
/// ```no_run
/// # use contree::{Client, Error, types::InstanceSpawnRequest};
/// # async fn example(client: Client, request: InstanceSpawnRequest) -> Result<(), Error> {
/// let (run, guard) = contree::CancelOnDrop::start(&client, request).await?;
/// let outcome = client.outcome(run.operation, |_| {}).await?;
/// guard.disarm();
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping the guard cancels the operation"]
pub struct CancelOnDrop {
    client: Client,
    operation: Uuid,
    is_armed: bool,
}

impl CancelOnDrop {
    /// Creates a guard of an operation that was started.
    pub fn new(client: &Client, operation: Uuid) -> Self {
        Self {
            // The guard must not keep an embedded engine alive.
            client: client.without_guard(),
            operation,
            is_armed: true,
        }
    }

    /// Starts a run and returns it with its guard.
    ///
    /// # Errors
    /// The errors of [`Client::start`].
    pub async fn start(
        client: &Client,
        request: types::InstanceSpawnRequest,
    ) -> Result<(Run, Self), Error> {
        let starting = |client: Client| async move {
            let run = client.start(request).await?;
            Ok((run.operation, run))
        };
        Self::start_with(client, starting).await
    }

    /// Starts an operation with `start`, which returns its id and another value.
    ///
    /// `start` runs to its end even if the future of this function is dropped, because only its
    /// answer has the id of the operation. Then the operation is cancelled.
    ///
    /// # Errors
    /// The errors of `start`.
    pub async fn start_with<T, F>(
        client: &Client,
        start: impl FnOnce(Client) -> F + Send + 'static,
    ) -> Result<(T, Self), Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<(Uuid, T), Error>> + Send + 'static,
    {
        let (sender, started) = oneshot::channel();
        let client = client.without_guard();
        let in_background = InBackground::new();
        let starting = async move {
            let _in_background = in_background;
            // Nothing was sent yet, so there is nothing to cancel.
            if sender.is_closed() {
                return;
            }
            let result = start(client.clone()).await;
            // A guard without a receiver is dropped, here or in the channel.
            let _ = sender.send(result.map(|(id, value)| (value, Self::new(&client, id))));
        };
        background::spawn(starting)?;
        started.await.unwrap_or(Err(Error::Connection(
            "the start of the operation was interrupted".into(),
        )))
    }

    /// The operation.
    pub fn operation(&self) -> Uuid {
        self.operation
    }

    /// Ends the guard, and leaves the operation running.
    pub fn disarm(mut self) -> Uuid {
        self.is_armed = false;
        self.operation
    }

    /// Cancels the operation and waits for the answer. Returns `false` if it had already ended.
    ///
    /// If the future is dropped before the answer, the operation is cancelled as by a drop.
    ///
    /// # Errors
    /// The errors of [`Client::cancel`]. The cancellation is then tried once more in the
    /// background.
    pub async fn cancel(mut self) -> Result<bool, Error> {
        let result = self.client.cancel(self.operation).await;
        if result.as_ref().is_ok() || result.as_ref().is_err_and(Error::is_not_found) {
            self.is_armed = false;
        }
        result
    }

    /// Waits until the cancellations of all guards that were dropped so far in this process are
    /// answered or given up, and the starts whose futures were dropped. Needs no runtime.
    pub async fn all_sent() {
        let mut unsent = UNSENT.subscribe();
        // The sender is static, so this cannot fail.
        let _ = unsent.wait_for(|unsent| *unsent == 0).await;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if !self.is_armed {
            return;
        }
        let (client, operation) = (self.client.clone(), self.operation);
        let in_background = InBackground::new();
        // Without a thread, there is nothing left to do: a drop cannot report an error.
        let _ = background::spawn(async move {
            let _in_background = in_background;
            // The client repeats the request. An operation that has ended needs no cancellation.
            let _ = client.cancel(operation).await;
        });
    }
}

impl fmt::Debug for CancelOnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelOnDrop")
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

/// A request that counts as not sent until this is dropped.
pub(crate) struct InBackground(());

impl InBackground {
    pub(crate) fn new() -> Self {
        UNSENT.send_modify(|unsent| *unsent += 1);
        Self(())
    }
}

impl Drop for InBackground {
    fn drop(&mut self) {
        UNSENT.send_modify(|unsent| *unsent = unsent.saturating_sub(1));
    }
}
