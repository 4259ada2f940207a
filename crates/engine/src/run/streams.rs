//! A process's standard streams: input sent whole, output recorded up to its cap.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::api::types::{EventDataTruncated, EventDataTruncatedStream, OperationEventType};
use crate::error::ApiError;
use crate::operation::events::{EventLog, stream};

/// How long the output of a command that writes in tiny pieces is gathered for one event.
const GATHER: Duration = Duration::from_millis(5);

/// How many quick pieces are an event each, before they are gathered.
const BURST: u32 = 64;

/// How much of a stream is read at once.
const CHUNK: usize = 64 * 1024;

/// How much input is held for a process that does not read; one piece may be larger.
const HELD: usize = 1024 * 1024;

/// How long a client waits for a process to read.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process's standard input: what was taken for it and is not written yet.
pub(crate) struct ProcessInput {
    log: Arc<EventLog>,
    spid: u64,
    /// How much of it is recorded; all of it is delivered.
    cap: u64,
    state: Mutex<PendingInput>,
    /// There is something to write, or to close.
    filled: Notify,
    /// There is room again, or never will be.
    room: Notify,
}

#[derive(Default)]
struct PendingInput {
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
    closed: bool,
    recorded: u64,
    dropped: u64,
}

impl ProcessInput {
    pub(crate) fn new(log: Arc<EventLog>, spid: u64, cap: u64) -> Self {
        Self {
            log,
            spid,
            cap,
            state: Mutex::default(),
            filled: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Takes the bytes that the process starts with.
    pub(crate) fn begin(&self, bytes: Vec<u8>, close: bool) {
        self.take(&mut self.state(), bytes, close);
    }

    /// Takes bytes. Waits while too many are held; 409 if the input is closed, 504 if the process does not read. What is
    /// refused, or given up, was not taken at all.
    pub(crate) async fn push(&self, bytes: Vec<u8>, close: bool) -> Result<(), ApiError> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Before the look, so that what happens after it is not missed.
            room.as_mut().enable();
            {
                let mut state = self.state();
                if state.closed {
                    return Err(ApiError::new(
                        StatusCode::CONFLICT,
                        "the standard input of this process is closed",
                    ));
                }
                if state.bytes == 0 || state.bytes + bytes.len() <= HELD {
                    self.take(&mut state, bytes, close);
                    return Ok(());
                }
            }
            if tokio::time::timeout_at(until, room).await.is_err() {
                return Err(ApiError::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    format!(
                        "the process has not read its input for {} seconds; nothing of this was taken",
                        PATIENCE.as_secs()
                    ),
                ));
            }
        }
    }

    fn take(&self, state: &mut PendingInput, bytes: Vec<u8>, close: bool) {
        if !bytes.is_empty() {
            let room =
                usize::try_from(self.cap.saturating_sub(state.recorded)).unwrap_or(usize::MAX);
            let shown = bytes.len().min(room);
            let dropped = bytes.len() - shown;
            if shown > 0 {
                let mut data = stream(&bytes[..shown]);
                if dropped > 0 {
                    data.truncated = Some(true);
                }
                self.log.append(self.spid, OperationEventType::Stdin, data);
            }
            state.recorded += shown as u64;
            state.dropped += dropped as u64;
            state.bytes += bytes.len();
            state.pieces.push_back(bytes);
        }
        state.closed |= close;
        self.filled.notify_one();
    }

    /// Writes what is taken until the input is closed, or the process does not read any more.
    pub(crate) async fn deliver(&self, fd: OwnedFd) {
        if let Ok(mut sender) = pipe::Sender::from_owned_fd(fd) {
            loop {
                let (next, closed) = {
                    let mut state = self.state();
                    (state.pieces.pop_front(), state.closed)
                };
                match next {
                    Some(bytes) => {
                        // A command may end without reading all of it.
                        if sender.write_all(&bytes).await.is_err() {
                            break;
                        }
                        self.state().bytes -= bytes.len();
                        self.room.notify_waiters();
                    }
                    None if closed => break,
                    None => self.filled.notified().await,
                }
            }
        }
        self.shut();
    }

    /// Nothing is taken any more, since nobody will read it.
    fn shut(&self) {
        let mut state = self.state();
        state.closed = true;
        state.pieces.clear();
        state.bytes = 0;
        drop(state);
        self.room.notify_waiters();
    }

    /// The process has ended: says what of its input was not recorded.
    pub(crate) fn end(&self) {
        self.shut();
        let (recorded, dropped) = {
            let state = self.state();
            (state.recorded, state.dropped)
        };
        truncated(
            &self.log,
            self.spid,
            EventDataTruncatedStream::Stdin,
            recorded,
            dropped,
        );
    }

    fn state(&self) -> MutexGuard<'_, PendingInput> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records one output stream up to `cap` bytes, and reads on past it so that the command never blocks.
pub(crate) fn record(
    log: Arc<EventLog>,
    spid: u64,
    fd: OwnedFd,
    which: EventDataTruncatedStream,
    cap: u64,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Ok(mut receiver) = pipe::Receiver::from_owned_fd(fd) else {
            return;
        };
        let mut buffer = vec![0; CHUNK];
        let mut emitted: u64 = 0;
        let mut dropped: u64 = 0;
        let mut pace = Pace::default();
        while let Ok(read @ 1..) = receiver.read(&mut buffer).await {
            let read = pace.gather(&mut receiver, &mut buffer, read).await;
            let room = usize::try_from(cap - emitted)
                .unwrap_or(usize::MAX)
                .min(read);
            if room > 0 {
                let mut data = stream(&buffer[..room]);
                if room < read {
                    data.truncated = Some(true);
                }
                // What could not be written, for want of disk, is missing like what was cut.
                if log.append(spid, event_type(which), data) {
                    emitted += room as u64;
                } else {
                    dropped += room as u64;
                }
            }
            dropped += (read - room) as u64;
        }
        truncated(&log, spid, which, emitted, dropped);
    })
}

/// Says how much of a stream is not in the log, if anything.
fn truncated(
    log: &EventLog,
    spid: u64,
    stream: EventDataTruncatedStream,
    emitted: u64,
    dropped: u64,
) {
    if dropped > 0 {
        let data = EventDataTruncated {
            stream,
            bytes_emitted: emitted,
            bytes_dropped: dropped,
        };
        log.append(spid, OperationEventType::Truncated, data);
    }
}

/// The type of a stream's events.
fn event_type(stream: EventDataTruncatedStream) -> OperationEventType {
    match stream {
        EventDataTruncatedStream::Stdin => OperationEventType::Stdin,
        EventDataTruncatedStream::Stdout => OperationEventType::Stdout,
        EventDataTruncatedStream::Stderr => OperationEventType::Stderr,
    }
}

/// Keeps a stream of tiny writes from becoming an event each: after a burst, what comes within [`GATHER`] is one.
struct Pace {
    last: Instant,
    quick: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            last: Instant::now(),
            quick: 0,
        }
    }
}

impl Pace {
    /// Fills the buffer behind the `read` bytes with what is there, or soon will be. Answers how much is in it.
    async fn gather(&mut self, from: &mut pipe::Receiver, buffer: &mut [u8], read: usize) -> usize {
        let quick = self.last.elapsed() < GATHER && read < CHUNK / 2;
        self.quick = if quick { self.quick + 1 } else { 0 };
        let mut filled = read;
        if self.quick > BURST {
            tokio::time::sleep(GATHER).await;
            while filled < buffer.len() {
                match from.try_read(&mut buffer[filled..]) {
                    Ok(more @ 1..) => filled += more,
                    // Nothing now, or the end, which the next read sees again.
                    Ok(0) | Err(_) => break,
                }
            }
            self.quick = BURST;
        }
        self.last = Instant::now();
        filled
    }
}
