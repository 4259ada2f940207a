//! Transport of messages over standard input and output.
//!
//! It replaces rmcp's own stdio transport, for four reasons:
//!
//! - An overlong request is answered instead of dropped.
//! - The end of the input is withheld while calls run, so that their progress and answers are
//!   written.
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

use super::ending::Ending;
use super::lines::{LONGEST_LINE, Line, Lines};
use super::message::{Parsed, invalid, parse};

/// Most bytes of unwritten answers before reading stops.
const UNREAD_BOUND: usize = 32 * 1024 * 1024;
/// Approximate cost of an unwritten answer besides its bytes.
const UNREAD_OVERHEAD: usize = 1024;

/// How long calls in flight may continue after the end of the input.
const GRACE: Duration = Duration::from_secs(5);
/// How long cancelled calls may take to clean up.
const CLEAN_UP: Duration = Duration::from_secs(3);

pub(super) struct LineTransport<R, W> {
    lines: Lines<R>,
    writer: Writer<W>,
    ending: Ending,
    /// Messages of a line with several messages that are not yet returned.
    queued: VecDeque<Vec<u8>>,
    started: bool,
    over: Option<EndOfInput>,
}

/// Deadlines after the end of the input, or after the process was asked to stop.
struct EndOfInput {
    grace_until: Instant,
    cancelled_at: Option<Instant>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin + Send + 'static> LineTransport<R, W> {
    pub(super) fn new(read: R, write: W, ending: Ending) -> Self {
        Self {
            lines: Lines::new(read, LONGEST_LINE),
            writer: Writer::new(write),
            ending,
            queued: VecDeque::new(),
            started: false,
            over: None,
        }
    }

    /// Waits for the calls in flight and cancels them after the grace period. Cancel-safe.
    async fn finish(&mut self) {
        let Some(over) = &mut self.over else { return };
        if over.cancelled_at.is_none() {
            tokio::select! {
                () = self.ending.idle() => return,
                () = self.ending.stopped() => {}
                () = tokio::time::sleep_until(over.grace_until) => {}
            }
            self.ending.cancel_calls();
        }
        let until = *over
            .cancelled_at
            .get_or_insert_with(|| Instant::now() + CLEAN_UP);
        tokio::select! {
            () = self.ending.idle() => {}
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
            if self.over.is_some() {
                self.finish().await;
                return None;
            }
            let line = tokio::select! {
                biased;
                () = self.ending.stopped() => Ok(Line::End),
                line = async {
                    self.writer.drained().await;
                    match self.queued.pop_front() {
                        Some(message) => Ok(Line::Whole(message)),
                        None => self.lines.next().await,
                    }
                } => line,
            };
            let parsed = match line {
                Ok(Line::Whole(line)) => parse(&line),
                Ok(Line::TooLong(id)) => invalid(
                    id.and_then(|id| serde_json::from_value(id).ok()),
                    format!(
                        "the message is longer than {} MiB; send large content by path",
                        LONGEST_LINE / 1024 / 1024
                    ),
                ),
                Ok(Line::End) => {
                    self.over = Some(EndOfInput {
                        grace_until: Instant::now() + GRACE,
                        cancelled_at: None,
                    });
                    continue;
                }
                Err(error) => {
                    tracing::error!("cannot read standard input: {error}");
                    self.over = Some(EndOfInput {
                        grace_until: Instant::now(),
                        cancelled_at: None,
                    });
                    continue;
                }
            };
            match parsed {
                Parsed::Message(mut message) => {
                    if let ClientJsonRpcMessage::Request(request) = &mut *message {
                        self.started = true;
                        // Counted from here, since the end of the input may be read before the
                        // request's task runs.
                        request.request.extensions_mut().insert(self.ending.call());
                    }
                    if self.started {
                        return Some(*message);
                    }
                    tracing::debug!("ignored a message before the first request");
                }
                Parsed::Ignored(why) => tracing::debug!("ignored a line: {why}"),
                Parsed::Several(messages) => self.queued.extend(messages),
                Parsed::Refused(id, why) => {
                    tracing::warn!("refused a message: {}", why.message);
                    let answer = ServerJsonRpcMessage::error(why, id);
                    // Not awaited, since reading must continue although the client does not read.
                    // Counted as a call, so that shutdown waits for it.
                    let (sending, counted) = (self.writer.send(&answer), self.ending.call());
                    tokio::spawn(async move {
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
struct Writer<W> {
    write: Arc<Mutex<W>>,
    waiting: Arc<UnreadAnswers>,
}

#[derive(Default)]
struct UnreadAnswers {
    cost: AtomicUsize,
    less: Notify,
}

/// A message's share of the unwritten bytes. Dropping it releases the share.
struct UnreadShare(Arc<UnreadAnswers>, usize);

impl Drop for UnreadShare {
    fn drop(&mut self) {
        self.0.cost.fetch_sub(self.1, Ordering::AcqRel);
        self.0.less.notify_waiters();
    }
}

impl<W: AsyncWrite + Unpin + Send + 'static> Writer<W> {
    fn new(write: W) -> Self {
        Self {
            write: Arc::new(Mutex::new(write)),
            waiting: Arc::default(),
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
        let cost = text.as_ref().map_or(0, Vec::len) + UNREAD_OVERHEAD;
        self.waiting.cost.fetch_add(cost, Ordering::AcqRel);
        let share = UnreadShare(self.waiting.clone(), cost);
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

    /// Resolves when fewer bytes are unwritten than the bound.
    async fn drained(&self) {
        loop {
            let less = self.waiting.less.notified();
            if self.waiting.cost.load(Ordering::Acquire) < UNREAD_BOUND {
                return;
            }
            less.await;
        }
    }
}
