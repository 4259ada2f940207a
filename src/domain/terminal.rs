//! The terminals of running processes.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use uuid::Uuid;

use super::{
    exec::Process,
    output::Changes,
    running::{MAIN_PROCESS, Running},
    start::pause_before_start,
};
use crate::{Client, Error};

/// The terminal of a running process that was started with `terminal`.
///
/// Its input is the standard input of the process.
///
/// ```no_run
/// # async fn example(base: contree::Image) -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::AsyncWriteExt as _;
///
/// let run = base.command("bash").terminal(80, 24).stdin_open().discard().spawn().await?;
/// let mut output = run.terminal().output().await?;
/// run.stdin().write_all(b"stty size; exit\n").await?;
/// while let Some(piece) = output.next().await {
///     print!("{}", String::from_utf8_lossy(&piece?));
/// }
/// # Ok(())
/// # }
/// ```
pub struct Terminal {
    client: Client,
    operation: Uuid,
    spid: u64,
}

impl<C: Changes> Running<C> {
    /// The terminal of the command.
    pub fn terminal(&self) -> Terminal {
        Terminal::new(self.client().clone(), self.id(), MAIN_PROCESS)
    }
}

impl Process {
    /// The terminal of the process.
    pub fn terminal(&self) -> Terminal {
        Terminal::new(self.client().clone(), self.operation(), self.id())
    }
}

impl Terminal {
    fn new(client: Client, operation: Uuid, spid: u64) -> Self {
        Self {
            client,
            operation,
            spid,
        }
    }

    /// Shows the terminal: the output of the process, up to its end. It waits for the start of the
    /// run.
    ///
    /// If the reader is slow, the process waits for it. A later call takes the terminal over.
    ///
    /// # Errors
    /// If the backend has no terminals, the process has none, or the run has ended.
    pub async fn output(&self) -> Result<TerminalOutput, Error> {
        loop {
            match self.client.terminal(self.operation, self.spid).await {
                Ok(output) => return Ok(TerminalOutput(output.boxed())),
                Err(error) => pause_before_start(&self.client, self.operation, error).await?,
            }
        }
    }

    /// Changes the size, in characters.
    ///
    /// # Errors
    /// If a number is 0, the process has no terminal, or the run has ended.
    pub async fn resize(&self, columns: u16, rows: u16) -> Result<(), Error> {
        let (operation, spid) = (self.operation, self.spid);
        loop {
            let request = self
                .client
                .set_terminal_size(operation, spid, columns, rows);
            match request.await {
                Ok(()) => return Ok(()),
                Err(error) => pause_before_start(&self.client, operation, error).await?,
            }
        }
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal")
            .field("operation", &self.operation)
            .field("spid", &self.spid)
            .finish_non_exhaustive()
    }
}

/// The output of a terminal as it is written. It ends with the process, or with an error.
pub struct TerminalOutput(BoxStream<'static, Result<Bytes, Error>>);

impl TerminalOutput {
    /// The next output; none at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        self.0.next().await
    }
}

impl Stream for TerminalOutput {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for TerminalOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TerminalOutput").finish_non_exhaustive()
    }
}
