//! Cancels operations and processes whose handles are dropped.
//!
//! A start runs in its own task, which a dropped future does not end. So the answer with the
//! operation's id always arrives, and the operation can be cancelled.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use tokio::runtime::{Builder, Handle};
use uuid::Uuid;

use crate::{Client, Error, client::InBackground, output::Signal};

/// How long a dropped handle waits for its cancellation where no runtime can perform it.
const OUTSIDE_TIMEOUT: Duration = Duration::from_secs(5);

/// The target of a cancellation.
#[derive(Clone, Copy, Debug)]
pub(super) enum CancelTarget {
    Operation(Uuid),
    /// A further process of a run.
    Process(Uuid, u64),
}

/// Cancels its target when it is dropped, unless it was released.
pub(super) struct CancelGuard {
    client: Client,
    target: CancelTarget,
    released: AtomicBool,
}

impl CancelGuard {
    fn new(client: Client, target: CancelTarget) -> Self {
        Self {
            client,
            target,
            released: AtomicBool::new(false),
        }
    }

    /// Drops without a cancellation, since the target has ended or is to continue.
    pub(super) fn release(&self) {
        self.released.store(true, Ordering::Relaxed);
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        if self.released.load(Ordering::Relaxed) {
            return;
        }
        let cancellation = Cancellation {
            client: self.client.clone(),
            target: self.target,
            is_done: false,
            _in_background: InBackground::new(),
        };
        // A runtime that shuts down drops the task, which then cancels by itself.
        if let Ok(runtime) = Handle::try_current() {
            contree_tasks::spawn_on(&runtime, cancellation.perform());
        }
    }
}

/// A cancellation that is not lost with the runtime: if it is dropped before its end, a thread
/// performs it, and the drop waits for that.
struct Cancellation {
    client: Client,
    target: CancelTarget,
    is_done: bool,
    /// The last field, since the client is dropped before it.
    _in_background: InBackground,
}

impl Cancellation {
    async fn perform(mut self) {
        cancel(&self.client, self.target).await;
        self.is_done = true;
    }
}

impl Drop for Cancellation {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let (client, target) = (self.client.clone(), self.target);
        let (ended, end) = mpsc::channel();
        let thread = std::thread::Builder::new().name("contree-cancel".to_owned());
        let started = thread.spawn(move || {
            if let Ok(runtime) = Builder::new_current_thread().enable_all().build() {
                contree_tasks::block_on(&runtime, async {
                    // The connections of the client belong to the other runtime.
                    if let Ok(client) = client.reconnect() {
                        let _ =
                            tokio::time::timeout(OUTSIDE_TIMEOUT, cancel(&client, target)).await;
                    }
                });
            }
            let _ = ended.send(());
        });
        if started.is_ok() {
            let _ = end.recv_timeout(OUTSIDE_TIMEOUT);
        }
    }
}

/// Requests the cancellation. Its errors are lost, since the caller is gone.
async fn cancel(client: &Client, target: CancelTarget) {
    match target {
        CancelTarget::Operation(operation) => drop(client.cancel(operation).await),
        CancelTarget::Process(operation, spid) => {
            drop(send_signal(client, operation, spid, Signal::KILL).await);
        }
    }
}

/// Sends a signal to a process of a run.
pub(super) async fn send_signal(
    client: &Client,
    operation: Uuid,
    spid: u64,
    signal: Signal,
) -> Result<(), Error> {
    let request = client.operation_subprocess_kill();
    let request = request.operation_id(operation).spid(spid);
    request.signal(signal.number().to_string()).send().await?;
    Ok(())
}

/// Starts something that is cancelled if the caller's future is dropped before its end.
///
/// # Errors
/// The errors of `start`. [`Error::InvalidArgument`] outside of a tokio runtime.
pub(super) async fn start<T: Send + 'static>(
    client: &Client,
    start: impl Future<Output = Result<T, Error>> + Send + 'static,
    target: impl FnOnce(&T) -> CancelTarget + Send + 'static,
) -> Result<(T, CancelGuard), Error> {
    let runtime = Handle::try_current().map_err(|_| {
        Error::InvalidArgument(
            "there is no tokio runtime: await requests within one, as in #[tokio::main]".to_owned(),
        )
    })?;
    let client = client.clone();
    let task = contree_tasks::spawn_on(&runtime, async move {
        let started = start.await?;
        let guard = CancelGuard::new(client, target(&started));
        Ok((started, guard))
    });
    task.await.unwrap_or_else(|error| {
        Err(Error::Unconfirmed(
            format!("the runtime ended meanwhile: {error}").into(),
        ))
    })
}
