//! Output while a call runs, and writing to streams that may be closed.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::process::ProcessError;
use crate::tools::{OutputStream, Watcher};

/// Prints to standard output; a reader that went away is no failure of ours.
///
/// # Errors
/// When the output cannot be written, such as to a full disk.
pub(super) fn print(text: &str) -> Result<(), ProcessError> {
    match write(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(ProcessError::Output(error)),
        _ => Ok(()),
    }
}

/// Says something to the user; where standard error cannot be written there is nobody to tell.
pub(super) fn say(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "contree-mcp: {text}");
}

fn write(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush())
}

/// How writing went.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum WriteState {
    /// All of it was written.
    #[default]
    Fine,
    /// The reader of standard output went away.
    Closed,
    /// Something could not be written.
    Failed,
}

/// The command's own streams, byte by byte as they come.
pub(super) struct RawOutput {
    /// Also one stream's turn at a time.
    writing: Mutex<WriteState>,
    written: AtomicBool,
    closed: CancellationToken,
}

impl RawOutput {
    /// Cancels `closed` once nobody reads standard output any more.
    pub(super) fn new(closed: CancellationToken) -> Self {
        Self {
            writing: Mutex::default(),
            written: AtomicBool::new(false),
            closed,
        }
    }

    /// Whether anything came.
    pub(super) fn has_written(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }

    /// How it went so far.
    pub(super) fn writing(&self) -> WriteState {
        *self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for RawOutput {
    fn output(&self, stream: OutputStream, bytes: &[u8]) {
        self.written.store(true, Ordering::Release);
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match stream {
            // Output with a hole is worse than output that ends.
            OutputStream::Stdout if *writing != WriteState::Fine => {}
            OutputStream::Stdout => match write(bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    *writing = WriteState::Closed;
                    self.closed.cancel();
                }
                Err(error) => {
                    *writing = WriteState::Failed;
                    say(ProcessError::Output(error));
                }
            },
            OutputStream::Stderr => {
                let failed = std::io::stderr().lock().write_all(bytes).err();
                if *writing == WriteState::Fine
                    && failed.is_some_and(|error| error.kind() != ErrorKind::BrokenPipe)
                {
                    *writing = WriteState::Failed;
                }
            }
        }
    }
}

/// Everything to standard error, if that is a terminal: standard output is kept for the result.
pub(super) struct TerminalOutput(bool);

impl TerminalOutput {
    pub(super) fn new() -> Self {
        Self(std::io::stderr().is_terminal())
    }
}

impl Watcher for TerminalOutput {
    fn output(&self, _stream: OutputStream, bytes: &[u8]) {
        if self.0 {
            let _ = std::io::stderr().lock().write_all(bytes);
        }
    }

    fn progress(&self, message: &str) {
        if self.0 {
            let _ = writeln!(std::io::stderr().lock(), "{message}");
        }
    }
}
