//! The standard input of a process: queueing and writing it.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use contree_error_codes::ErrorCode;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::sync::Notify;

use super::append_truncated;
use crate::api::types::{EventDataTruncatedStream, OperationEventType};
use crate::error::ApiError;
use crate::operation::events::{EventLog, unrecorded_input};
use crate::run::terminal::ProcessTerminal;

/// The most bytes of input that are queued for a process that does not read. A single chunk may be
/// larger.
const MAX_QUEUED: usize = 1024 * 1024;

/// How long a client's request waits for a process to read its input.
const INPUT_WAIT: Duration = Duration::from_secs(30);

/// A process's standard input, with a queue of bytes that are not written yet.
pub(crate) struct ProcessInput {
    log: Arc<EventLog>,
    spid: u64,
    /// The most bytes of input that get an event. The process gets all bytes of its input.
    max_recorded: u64,
    state: Mutex<PendingInput>,
    /// Notified when bytes were queued or the input was closed.
    filled: Notify,
    /// Notified when the queue has room again, or the input is closed.
    room: Notify,
}

/// The queue of an input, with counts for its record.
#[derive(Default)]
struct PendingInput {
    chunks: VecDeque<Vec<u8>>,
    /// Bytes that are queued or being written.
    bytes: usize,
    closed: bool,
    /// Bytes that have an event.
    recorded: u64,
    /// Bytes without an event, because of the limit or a full disk.
    unrecorded: u64,
}

impl ProcessInput {
    pub(crate) fn new(log: Arc<EventLog>, spid: u64, max_recorded: u64) -> Self {
        Self {
            log,
            spid,
            max_recorded,
            state: Mutex::default(),
            filled: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Queues the bytes of the request that starts the process.
    pub(crate) fn begin(&self, bytes: Vec<u8>, close: bool) {
        self.enqueue(&mut self.state(), bytes, close);
    }

    /// Queues bytes, and waits while the queue is full. 409 if the input is closed, 504 if the
    /// process does not read in time. After an error, or if the future is dropped, none of the
    /// bytes is queued.
    pub(crate) async fn push(&self, bytes: Vec<u8>, close: bool) -> Result<(), ApiError> {
        let deadline = tokio::time::Instant::now() + INPUT_WAIT;
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Before the check, so that a notification after it is not missed.
            room.as_mut().enable();
            {
                let mut state = self.state();
                if state.closed {
                    return Err(ApiError::new(
                        StatusCode::CONFLICT,
                        ErrorCode::InputClosed,
                        "the standard input of this process is closed",
                    ));
                }
                if state.bytes == 0 || state.bytes + bytes.len() <= MAX_QUEUED {
                    self.enqueue(&mut state, bytes, close);
                    return Ok(());
                }
            }
            if tokio::time::timeout_at(deadline, room).await.is_err() {
                return Err(ApiError::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    ErrorCode::InputNotRead,
                    format!(
                        "the process has not read its input for {} seconds; none of these bytes was written",
                        INPUT_WAIT.as_secs()
                    ),
                ));
            }
        }
    }

    fn enqueue(&self, state: &mut PendingInput, bytes: Vec<u8>, close: bool) {
        if !bytes.is_empty() {
            let room = usize::try_from(self.max_recorded.saturating_sub(state.recorded))
                .unwrap_or(usize::MAX);
            let mut recorded = bytes.len().min(room);
            // The process gets its input even if a full disk refuses the event.
            if recorded > 0
                && !self
                    .log
                    .append(self.spid, OperationEventType::Stdin, unrecorded_input())
            {
                recorded = 0;
            }
            state.recorded += recorded as u64;
            state.unrecorded += (bytes.len() - recorded) as u64;
            state.bytes += bytes.len();
            state.chunks.push_back(bytes);
        }
        state.closed |= close;
        self.filled.notify_one();
    }

    /// Writes queued bytes to the process until the input is closed or the process stops reading.
    pub(crate) async fn write_to(&self, sink: InputSink) {
        if let Ok(mut sender) = sink.open() {
            loop {
                let (next, closed) = {
                    let mut state = self.state();
                    (state.chunks.pop_front(), state.closed)
                };
                match next {
                    Some(bytes) => {
                        // A command may end without reading all of its input.
                        if sender.write_all(&bytes).await.is_err() {
                            break;
                        }
                        self.state().bytes -= bytes.len();
                        self.room.notify_waiters();
                    }
                    None if closed => {
                        sender.end().await;
                        break;
                    }
                    None => self.filled.notified().await,
                }
            }
        }
        self.close();
    }

    /// Closes the input and drops queued bytes, because the process will not read them.
    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.chunks.clear();
        state.bytes = 0;
        drop(state);
        self.room.notify_waiters();
    }

    /// Closes the input of a process that has ended, and logs how much of it has no event.
    pub(crate) fn end(&self) {
        self.close();
        let (recorded, unrecorded) = {
            let state = self.state();
            (state.recorded, state.unrecorded)
        };
        append_truncated(
            &self.log,
            self.spid,
            EventDataTruncatedStream::Stdin,
            recorded,
            unrecorded,
        );
    }

    fn state(&self) -> MutexGuard<'_, PendingInput> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The destination of a process's input.
pub(crate) enum InputSink {
    Pipe(OwnedFd),
    Terminal(Arc<ProcessTerminal>),
}

/// An [`InputSink`] for writing.
enum OpenSink {
    Pipe(pipe::Sender),
    Terminal(Arc<ProcessTerminal>),
}

impl InputSink {
    fn open(self) -> std::io::Result<OpenSink> {
        Ok(match self {
            Self::Pipe(fd) => OpenSink::Pipe(pipe::Sender::from_owned_fd(fd)?),
            Self::Terminal(terminal) => OpenSink::Terminal(terminal),
        })
    }
}

impl OpenSink {
    async fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(bytes).await,
            Self::Terminal(terminal) => terminal.write_all(bytes).await,
        }
    }

    /// Marks the end of the input. A pipe ends when it is dropped.
    async fn end(&mut self) {
        if let Self::Terminal(terminal) = self {
            // The process may have ended.
            let _ = terminal.end_input().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    #[test]
    fn input_whose_event_is_refused_counts_as_unrecorded() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = EventLog::create(&folder.path().join("log")).expect("create");
        let log = Arc::new(log);
        let input = ProcessInput::new(log.clone(), 1, 1000);
        input.begin(b"one".to_vec(), false);
        // A complete log refuses events, as a full disk does.
        log.complete(Utc::now(), &serde_json::json!({}));
        input.begin(b"more".to_vec(), true);
        let state = input.state();
        assert_eq!((state.recorded, state.unrecorded, state.bytes), (3, 4, 7));
    }
}
