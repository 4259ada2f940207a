//! Runs that have started.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use uuid::Uuid;

use super::{
    cancel::{self, CancelGuard, CancelTarget},
    image::Image,
    output::{Attached, Changes, Keep, Output, output},
    stdin::Stdin,
};
use crate::{
    Client, Error, OperationStatus, OutputPosition, ProcessOutput, events::Event, output::Signal,
    types,
};

/// The main process of a run.
pub(super) const MAIN_PROCESS: u64 = 1;

/// A run that has started.
///
/// Dropping it cancels the run on the backend, unless the run has ended or
/// [`detach`](Self::detach) was called. Dropping the future of one of its methods does not.
///
/// ```no_run
/// # async fn example(base: contree::Image) -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::AsyncWriteExt as _;
///
/// let run = base.exec("cat", ["-n"]).stdin_open().spawn().await?;
/// let mut input = run.stdin();
/// input.write_all(b"hello\n").await?;
/// input.shutdown().await?;
/// assert_eq!(run.wait().await?.stdout.text()?, "     1\thello\n");
/// # Ok(())
/// # }
/// ```
pub struct Running<C: Changes = Keep> {
    client: Client,
    operation: Uuid,
    /// Cancels the run when it is dropped. A run of another handle has none.
    guard: Option<CancelGuard>,
    changes: PhantomData<C>,
}

impl Client {
    /// A handle of a run that another handle or another process started. Dropping it does not
    /// cancel the run.
    pub fn attach(&self, operation: Uuid) -> Running<Attached> {
        Running {
            client: self.clone(),
            operation,
            guard: None,
            changes: PhantomData,
        }
    }
}

impl<C: Changes> Running<C> {
    /// Sends the request. If the caller drops the future meanwhile, the run is cancelled.
    pub(super) async fn start(
        client: Client,
        request: types::InstanceSpawnRequest,
    ) -> Result<Self, Error> {
        let starting = client.clone();
        let start = async move { starting.start(request).await };
        let (run, guard) =
            cancel::start(&client, start, |run| CancelTarget::Operation(run.operation)).await?;
        Ok(Self {
            client,
            operation: run.operation,
            guard: Some(guard),
            changes: PhantomData,
        })
    }

    /// The operation.
    pub fn id(&self) -> Uuid {
        self.operation
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The events of the run, from its beginning to its end.
    ///
    /// Each call returns a stream of its own, which outlives the handle. No event is lost or
    /// repeated when the connection breaks.
    pub fn events(&self) -> Events {
        Events(self.client.follow(self.operation, None).boxed())
    }

    /// The standard input of a command with [`stdin_open`](super::Command::stdin_open).
    pub fn stdin(&self) -> Stdin {
        Stdin::new(self.client.clone(), self.operation, MAIN_PROCESS)
    }

    /// Sends a signal to the command and to those that it has started in its process group.
    ///
    /// # Errors
    /// If the signal is unknown, or the run has ended. [`Error::is_unconfirmed`] if the answer was
    /// lost: the signal is not sent again.
    pub async fn signal<S>(&self, signal: S) -> Result<(), Error>
    where
        S: TryInto<Signal>,
        S::Error: Into<Error>,
    {
        let signal = signal.try_into().map_err(Into::into)?;
        cancel::send_signal(&self.client, self.operation, MAIN_PROCESS, signal).await
    }

    /// The status of the run.
    ///
    /// # Errors
    /// If the backend cannot be reached.
    pub async fn status(&self) -> Result<OperationStatus, Error> {
        let request = self.client.get_operation_status();
        let record = request.operation_id(self.operation).send().await?;
        record.into_inner().status.ok_or_else(|| {
            Error::Protocol(format!("operation {} has no status", self.operation).into())
        })
    }

    /// The output of the command after a position. If there is nothing new, this waits up to
    /// `wait` for new output or the end of the command.
    ///
    /// # Errors
    /// The errors of [`Client::read_output`].
    pub async fn read_output(
        &self,
        after: OutputPosition,
        wait: Duration,
    ) -> Result<ProcessOutput, Error> {
        let (client, operation) = (&self.client, self.operation);
        client
            .read_output(operation, MAIN_PROCESS, after, wait)
            .await
    }

    /// An image of the files of the sandbox as they are now. The processes are paused meanwhile
    /// and then continue; the image has none of them.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the backend cannot do it, and any error if the run is over.
    pub async fn snapshot(&self) -> Result<Image, Error> {
        let made = self.client.snapshot(self.operation).await?;
        Ok(self.client.image(made.image_uuid))
    }

    /// Waits for the end of the run, and returns its output. It may be called several times.
    ///
    /// # Errors
    /// [`Error::Operation`] if the run failed or was cancelled.
    pub async fn wait(&self) -> Result<Output<C::Image>, Error> {
        let outcome = self.client.outcome(self.operation, |_| {}).await?;
        self.release();
        output::<C>(&self.client, outcome)
    }

    /// Cancels the run, and waits until it has ended. The run may have ended by itself before.
    ///
    /// # Errors
    /// If the backend cannot be reached.
    pub async fn cancel(self) -> Result<OperationStatus, Error> {
        self.client.cancel(self.operation).await?;
        let record = self.client.wait(self.operation, None).await?;
        self.release();
        record.status.ok_or_else(|| {
            Error::Protocol(format!("operation {} has no status", self.operation).into())
        })
    }

    /// Leaves the run to the backend, and returns its operation.
    pub fn detach(self) -> Uuid {
        self.release();
        self.operation
    }

    /// Keeps the run when the handle is dropped.
    fn release(&self) {
        if let Some(guard) = &self.guard {
            guard.release();
        }
    }
}

impl<C: Changes> fmt::Debug for Running<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

/// The events of a run as they happen.
///
/// The stream ends after [`Payload::Completion`](crate::events::Payload::Completion), or with an
/// error. Dropping it does not cancel the run.
pub struct Events(BoxStream<'static, Result<Event, Error>>);

impl Events {
    /// The next event; none at the end.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        self.0.next().await
    }
}

impl Stream for Events {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
