//! Transport of messages over standard input and output.
//!
//! It replaces rmcp's own stdio transport, for four reasons:
//!
//! - An overlong request is answered instead of dropped.
//! - The end of the input is withheld from rmcp for some seconds while calls run, so that their
//!   progress and answers are written.
//! - Reading stops while the client leaves answers unread.
//! - Notifications before the first request are ignored instead of ending the session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, GetExtensions, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::call_shutdown::CallShutdown;
use super::line_reader::{InputLine, LineReader, MAX_MESSAGE_BYTES};
use super::message::{ParseOutcome, invalid, parse};

/// Maximum number of bytes of unwritten answers before reading stops.
const MAX_BACKLOG_BYTES: usize = 32 * 1024 * 1024;
/// Approximate memory that an unwritten answer takes besides its text.
const BACKLOG_OVERHEAD_BYTES: usize = 1024;

/// How long calls in flight may continue after the end of the input.
const GRACE_PERIOD: Duration = Duration::from_secs(5);
/// How long cancelled calls may take to clean up.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(3);

/// Transport with one message per line.
pub(super) struct LineTransport<R, W> {
    lines: LineReader<R>,
    writer: MessageWriter<W>,
    shutdown: CallShutdown,
    /// The remaining messages of a line that had several.
    queued: VecDeque<Vec<u8>>,
    /// Whether the first request has been read.
    started: bool,
    end_of_input: Option<EndOfInput>,
}

/// Deadlines after the end of the input, or after the process was asked to stop.
struct EndOfInput {
    grace_until: Instant,
    /// When the clean-up of cancelled calls must end; `None` before they are cancelled.
    clean_up_until: Option<Instant>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin + Send + 'static> LineTransport<R, W> {
    pub(super) fn new(read: R, write: W, shutdown: CallShutdown) -> Self {
        Self {
            lines: LineReader::new(read, MAX_MESSAGE_BYTES),
            writer: MessageWriter::new(write),
            shutdown,
            queued: VecDeque::new(),
            started: false,
            end_of_input: None,
        }
    }

    /// Waits for the calls in flight and cancels them after the grace period. Cancel-safe.
    async fn finish(&mut self) {
        let Some(end_of_input) = &mut self.end_of_input else {
            return;
        };
        if end_of_input.clean_up_until.is_none() {
            tokio::select! {
                () = self.shutdown.idle() => return,
                () = self.shutdown.stop_requested() => {}
                () = tokio::time::sleep_until(end_of_input.grace_until) => {}
            }
            self.shutdown.cancel_calls();
        }
        let until = *end_of_input
            .clean_up_until
            .get_or_insert_with(|| Instant::now() + CLEAN_UP_TIMEOUT);
        tokio::select! {
            () = self.shutdown.idle() => {}
            () = tokio::time::sleep_until(until) => {
                tracing::warn!("calls were still cleaning up when the session ended");
            }
        }
    }
}

impl<R, W> Transport<RoleServer> for LineTransport<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    type Error = std::io::Error;

    fn send(
        &mut self,
        item: ServerJsonRpcMessage,
    ) -> impl Future<Output = std::io::Result<()>> + Send + 'static {
        self.writer.send(&item)
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if self.end_of_input.is_some() {
                self.finish().await;
                return None;
            }
            let line = tokio::select! {
                biased;
                () = self.shutdown.stop_requested() => Ok(InputLine::End),
                line = async {
                    self.writer.drained().await;
                    match self.queued.pop_front() {
                        Some(message) => Ok(InputLine::Whole(message)),
                        None => self.lines.next().await,
                    }
                } => line,
            };
            let parsed = match line {
                Ok(InputLine::Whole(line)) => parse(&line),
                Ok(InputLine::TooLong(id)) => invalid(
                    id.and_then(|id| serde_json::from_value(id).ok()),
                    format!(
                        "the message is longer than {} MiB; send large content by path",
                        MAX_MESSAGE_BYTES / 1024 / 1024
                    ),
                ),
                Ok(InputLine::End) => {
                    self.end_of_input = Some(EndOfInput {
                        grace_until: Instant::now() + GRACE_PERIOD,
                        clean_up_until: None,
                    });
                    continue;
                }
                Err(error) => {
                    tracing::error!("cannot read standard input: {error}");
                    self.end_of_input = Some(EndOfInput {
                        grace_until: Instant::now(),
                        clean_up_until: None,
                    });
                    continue;
                }
            };
            match parsed {
                ParseOutcome::Message(mut message) => {
                    if let ClientJsonRpcMessage::Request(request) = &mut *message {
                        self.started = true;
                        // Counted from here, since the end of the input may be read before the
                        // request's task runs.
                        request
                            .request
                            .extensions_mut()
                            .insert(self.shutdown.track_call());
                    }
                    if self.started {
                        return Some(*message);
                    }
                    tracing::debug!("ignored a message before the first request");
                }
                ParseOutcome::Ignored(why) => tracing::debug!("ignored a line: {why}"),
                ParseOutcome::Several(messages) => self.queued.extend(messages),
                ParseOutcome::Refused(id, why) => {
                    tracing::warn!("refused a message: {}", why.message);
                    let answer = ServerJsonRpcMessage::error(why, id);
                    // Not awaited, since reading must continue although the client does not read.
                    // Counted as a call, so that shutdown waits for it.
                    let (sending, counted) =
                        (self.writer.send(&answer), self.shutdown.track_call());
                    contree_tasks::spawn(async move {
                        let _ = sending.await;
                        drop(counted);
                    });
                }
            }
        }
    }

    async fn close(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes whole messages in order, and counts the bytes not yet written.
struct MessageWriter<W> {
    write: Arc<Mutex<W>>,
    backlog: Arc<WriteBacklog>,
}

#[derive(Default)]
struct WriteBacklog {
    bytes: AtomicUsize,
    decreased: Notify,
}

/// A message's share of the unwritten bytes. Dropping it releases the share.
struct BacklogShare(Arc<WriteBacklog>, usize);

impl Drop for BacklogShare {
    fn drop(&mut self) {
        self.0.bytes.fetch_sub(self.1, Ordering::AcqRel);
        self.0.decreased.notify_waiters();
    }
}

impl<W: AsyncWrite + Unpin + Send + 'static> MessageWriter<W> {
    fn new(write: W) -> Self {
        Self {
            write: Arc::new(Mutex::new(write)),
            backlog: Arc::default(),
        }
    }

    fn send(
        &self,
        message: &ServerJsonRpcMessage,
    ) -> impl Future<Output = std::io::Result<()>> + Send + use<W> {
        let text = serde_json::to_vec(message).map(|mut text| {
            text.push(b'\n');
            text
        });
        let bytes = text.as_ref().map_or(0, Vec::len) + BACKLOG_OVERHEAD_BYTES;
        self.backlog.bytes.fetch_add(bytes, Ordering::AcqRel);
        let share = BacklogShare(self.backlog.clone(), bytes);
        let write = self.write.clone();
        async move {
            let text = text?;
            let mut write = write.lock().await;
            write.write_all(&text).await?;
            write.flush().await?;
            drop(share);
            Ok(())
        }
    }

    /// Resolves when the unwritten bytes are below [`MAX_BACKLOG_BYTES`].
    async fn drained(&self) {
        loop {
            let decreased = self.backlog.decreased.notified();
            if self.backlog.bytes.load(Ordering::Acquire) < MAX_BACKLOG_BYTES {
                return;
            }
            decreased.await;
        }
    }
}
