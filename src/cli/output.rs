//! The output of a running call, and writes to streams that may be closed.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::process::ProcessError;
use crate::tools::{OutputStream, Watcher};

/// Prints to standard output. A closed reader is not an error.
///
/// # Errors
/// When the output cannot be written, such as to a full disk.
pub(super) fn print(text: &str) -> Result<(), ProcessError> {
    match write(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(ProcessError::Output(error)),
        _ => Ok(()),
    }
}

/// Prints a message to standard error. Failures are ignored, since there is no other place to
/// report them.
pub(super) fn print_message(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "contree-mcp: {text}");
}

fn write(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush())
}

/// The result of all writes to the streams so far.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum WriteState {
    /// All output so far was written.
    #[default]
    Complete,
    /// The reader closed standard output.
    Closed,
    /// A write failed.
    Failed,
}

/// Passes the command's streams on unchanged, as they arrive.
pub(super) struct RawOutput {
    /// The lock also serialises the writes to both streams.
    state: Mutex<WriteState>,
    written: AtomicBool,
    closed: CancellationToken,
}

impl RawOutput {
    /// Creates the output, which cancels `closed` once the reader closes standard output.
    pub(super) fn new(closed: CancellationToken) -> Self {
        Self {
            state: Mutex::default(),
            written: AtomicBool::new(false),
            closed,
        }
    }

    /// Whether any output arrived.
    pub(super) fn has_written(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }

    /// The state of the writes so far.
    pub(super) fn write_state(&self) -> WriteState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for RawOutput {
    fn output(&self, stream: OutputStream, bytes: &[u8]) {
        self.written.store(true, Ordering::Release);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match stream {
            // After a failed write, later output is dropped: a gap is worse than an early end.
            OutputStream::Stdout if *state != WriteState::Complete => {}
            OutputStream::Stdout => match write(bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    *state = WriteState::Closed;
                    self.closed.cancel();
                }
                Err(error) => {
                    *state = WriteState::Failed;
                    print_message(ProcessError::Output(error));
                }
            },
            OutputStream::Stderr => {
                let failed = std::io::stderr().lock().write_all(bytes).err();
                if *state == WriteState::Complete
                    && failed.is_some_and(|error| error.kind() != ErrorKind::BrokenPipe)
                {
                    *state = WriteState::Failed;
                }
            }
        }
    }
}

/// Prints all output to standard error if that is a terminal. Standard output is for the result
/// alone.
pub(super) struct TerminalOutput {
    is_terminal: bool,
}

impl TerminalOutput {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
        }
    }
}

impl Watcher for TerminalOutput {
    fn output(&self, _stream: OutputStream, bytes: &[u8]) {
        if self.is_terminal {
            let _ = std::io::stderr().lock().write_all(bytes);
        }
    }

    fn progress(&self, message: &str) {
        if self.is_terminal {
            let _ = writeln!(std::io::stderr().lock(), "{message}");
        }
    }
}
