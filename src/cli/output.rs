//! The output of a running call, and writes to streams that may be closed.
//!
//! On a terminal, hidden characters are escaped: they could control it, or disguise a text.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use contree_error_codes::ErrorCode;
use tokio_util::sync::CancellationToken;

use super::process::ProcessError;
use super::wrap::{error_columns, wrapped};
use crate::tools::{OutputStream, Watcher, take_complete_characters, visible, visible_json};

/// The name of the running program, which begins its messages.
static PROGRAM: OnceLock<&str> = OnceLock::new();

/// Whether the reader of standard output is gone.
static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Sets the name of the running program. Only the first call counts.
pub(super) fn set_program(name: &'static str) {
    // A second call can only come from the same `main`.
    let _ = PROGRAM.set(name);
}

/// The name of the running program.
pub(super) fn program() -> &'static str {
    PROGRAM.get().copied().unwrap_or("contree-mcp")
}

/// Prints text to standard output. A closed reader is not an error.
///
/// # Errors
/// When the output cannot be written, such as to a full disk.
pub(super) fn print(text: &str) -> Result<(), ProcessError> {
    print_escaped(text, visible)
}

/// Prints text whose parts are escaped already, and which may have emphasis. A closed reader is not
/// an error.
///
/// # Errors
/// When the output cannot be written, such as to a full disk.
pub(super) fn print_styled(text: &str) -> Result<(), ProcessError> {
    print_escaped(text, |text| Cow::Borrowed(text))
}

/// Prints JSON to standard output. A closed reader is not an error.
///
/// # Errors
/// When the output cannot be written, such as to a full disk.
pub(super) fn print_json(text: &str) -> Result<(), ProcessError> {
    print_escaped(text, visible_json)
}

fn print_escaped(text: &str, escape: fn(&str) -> Cow<'_, str>) -> Result<(), ProcessError> {
    let shown = match std::io::stdout().is_terminal() {
        true => escape(text),
        false => Cow::Borrowed(text),
    };
    match write(shown.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(ProcessError::Output(error)),
        _ => Ok(()),
    }
}

/// Prints a message to standard error, after the program's name. On a terminal, its lines end
/// between words. Failures are ignored, since there is no other place to report them.
pub(super) fn print_message(text: impl Display) {
    let text = format!("{}: {text}", program());
    match error_columns() {
        // Escapes take columns.
        Some(columns) => print_error_line(wrapped(&visible(&text), columns)),
        None => print_error_line(text),
    }
}

/// Prints an error to standard error, after the program's name. Its code is at the end of the first
/// line; the others say what to do.
pub(super) fn print_error(error: impl Display, code: ErrorCode) {
    print_message(with_code(&error.to_string(), code));
}

fn with_code(error: &str, code: ErrorCode) -> String {
    match error.split_once('\n') {
        Some((first, rest)) => format!("{first} [{code}]\n{rest}"),
        None => format!("{error} [{code}]"),
    }
}

/// Prints a line to standard error. Failures are ignored.
pub(super) fn print_error_line(text: impl Display) {
    let text = text.to_string();
    let shown = match std::io::stderr().is_terminal() {
        true => visible(&text),
        false => Cow::Borrowed(text.as_str()),
    };
    let _ = writeln!(std::io::stderr().lock(), "{shown}");
}

/// Standard error as the destination of log messages.
pub(super) struct LogWriter {
    is_terminal: bool,
}

impl LogWriter {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut stderr = std::io::stderr().lock();
        match self.is_terminal {
            true => stderr.write_all(log_text(bytes).as_bytes())?,
            false => stderr.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}

/// Escapes hidden characters of log messages, except ESC: the formatter colours with ESC, and
/// escapes that of values itself.
fn log_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let parts: Vec<Cow<'_, str>> = text.split('\u{1b}').map(visible).collect();
    parts.join("\u{1b}")
}

fn write(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    if let Err(error) = &written
        && error.kind() == ErrorKind::BrokenPipe
    {
        IS_CLOSED.store(true, Ordering::Release);
    }
    written
}

/// Whether the reader of standard output was gone when something was printed.
pub(super) fn is_output_closed() -> bool {
    IS_CLOSED.load(Ordering::Acquire)
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

/// A stream of the command as its user gets it: unchanged, but escaped on a terminal.
struct ShownStream {
    is_terminal: bool,
    /// The beginning of a character whose end has not arrived.
    incomplete: Vec<u8>,
}

impl ShownStream {
    fn new(is_terminal: bool) -> Self {
        Self {
            is_terminal,
            incomplete: Vec::new(),
        }
    }

    /// Returns the bytes to write for the next bytes of the stream.
    fn next<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if !self.is_terminal {
            return Cow::Borrowed(bytes);
        }
        self.incomplete.extend_from_slice(bytes);
        let text = take_complete_characters(&mut self.incomplete);
        Cow::Owned(visible(&text).into_owned().into_bytes())
    }

    /// Returns the bytes to write at the end of the stream.
    fn rest(&mut self) -> Vec<u8> {
        let rest = std::mem::take(&mut self.incomplete);
        String::from_utf8_lossy(&rest).into_owned().into_bytes()
    }
}

/// Passes the command's streams on as they arrive.
pub(super) struct RawOutput {
    /// The lock also serialises the writes to both streams.
    state: Mutex<RawState>,
    written: AtomicBool,
    closed: CancellationToken,
}

/// The streams, and the result of all writes so far.
struct RawState {
    writes: WriteState,
    stdout: ShownStream,
    stderr: ShownStream,
}

impl RawOutput {
    /// Creates the output, which cancels `closed` once the reader closes standard output.
    pub(super) fn new(closed: CancellationToken) -> Self {
        Self {
            state: Mutex::new(RawState {
                writes: WriteState::default(),
                stdout: ShownStream::new(std::io::stdout().is_terminal()),
                stderr: ShownStream::new(std::io::stderr().is_terminal()),
            }),
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
        self.state().writes
    }

    /// Writes the incomplete characters at the ends of the streams.
    pub(super) fn finish(&self) {
        let mut state = self.state();
        let (out, err) = (state.stdout.rest(), state.stderr.rest());
        if !out.is_empty() {
            self.write_stdout(&mut state, &out);
        }
        if !err.is_empty() {
            self.write_stderr(&mut state, &err);
        }
    }

    fn state(&self) -> MutexGuard<'_, RawState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_stdout(&self, state: &mut RawState, bytes: &[u8]) {
        // After a failed write, later output is dropped: a gap is worse than an early end.
        if state.writes != WriteState::Complete {
            return;
        }
        match write(bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                state.writes = WriteState::Closed;
                self.closed.cancel();
            }
            Err(error) => {
                state.writes = WriteState::Failed;
                let error = ProcessError::Output(error);
                print_error(&error, error.code());
            }
        }
    }

    fn write_stderr(&self, state: &mut RawState, bytes: &[u8]) {
        let failed = std::io::stderr().lock().write_all(bytes).err();
        if state.writes == WriteState::Complete
            && failed.is_some_and(|error| error.kind() != ErrorKind::BrokenPipe)
        {
            state.writes = WriteState::Failed;
        }
    }
}

impl Watcher for RawOutput {
    fn passes_output_on(&self) -> bool {
        true
    }

    fn output(&self, stream: OutputStream, bytes: &[u8]) {
        self.written.store(true, Ordering::Release);
        let mut state = self.state();
        match stream {
            OutputStream::Stdout => {
                let shown = state.stdout.next(bytes);
                self.write_stdout(&mut state, &shown);
            }
            OutputStream::Stderr => {
                let shown = state.stderr.next(bytes);
                self.write_stderr(&mut state, &shown);
            }
        }
    }
}

/// Prints all output to standard error if that is a terminal. Standard output is for the result
/// alone.
pub(super) struct TerminalOutput {
    is_terminal: bool,
    /// Standard output and standard error of the command.
    streams: Mutex<[ShownStream; 2]>,
}

impl TerminalOutput {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            streams: Mutex::new([ShownStream::new(true), ShownStream::new(true)]),
        }
    }
}

impl Watcher for TerminalOutput {
    fn output(&self, stream: OutputStream, bytes: &[u8]) {
        if !self.is_terminal {
            return;
        }
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let [out, err] = &mut *streams;
        let shown = match stream {
            OutputStream::Stdout => out.next(bytes),
            OutputStream::Stderr => err.next(bytes),
        };
        let _ = std::io::stderr().lock().write_all(&shown);
    }

    fn progress(&self, message: &str) {
        if self.is_terminal {
            print_error_line(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_whole_characters_and_escapes() {
        let mut stream = ShownStream::new(true);
        let output = "a\u{1b}[2Jä\u{9b}\u{202e}\r\n".as_bytes();
        let mut shown: Vec<u8> = Vec::new();
        // The cut is within the letter ä.
        for part in [&output[..6], &output[6..], b"\xc3"] {
            shown.extend_from_slice(&stream.next(part));
        }
        shown.extend(stream.rest());
        assert_eq!(
            String::from_utf8(shown).unwrap(),
            "a\\u{1b}[2Jä\\u{9b}\\u{202e}\r\n\u{fffd}"
        );
        let mut pipe = ShownStream::new(false);
        assert_eq!(*pipe.next(output), *output);
    }

    #[test]
    fn the_code_follows_the_first_line_of_an_error() {
        let code = ErrorCode::NotFound;
        assert_eq!(with_code("gone", code), "gone [not-found]");
        assert_eq!(with_code("gone\nlook", code), "gone [not-found]\nlook");
    }

    #[test]
    fn log_messages_keep_their_colours_alone() {
        let text = "\u{1b}[33mWARN\u{1b}[0m no\r\u{202e}thing\n";
        let expected = "\u{1b}[33mWARN\u{1b}[0m no\\u{d}\\u{202e}thing\n";
        assert_eq!(log_text(text.as_bytes()), expected);
    }
}
