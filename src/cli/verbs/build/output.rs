//! The lines that a build shows.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cli::output::print_error_line;
use crate::cli::verbs::context::VerbContext;
use crate::cli::verbs::progress::shortened;
use crate::events::{Event, Payload};
use crate::tools::{take_complete_characters, visible};
use crate::{OperationStatus, Outcome};

/// Bytes of output to keep for an error.
const TAIL_BYTES: usize = 4096;
/// Lines of output in an error.
const TAIL_LINES: usize = 10;

/// The lines of a step on standard error: its instruction, and the output of its command.
pub(super) struct StepOutput {
    number: usize,
    total: usize,
    is_shown: bool,
    state: Mutex<OutputState>,
}

#[derive(Default)]
struct OutputState {
    /// The newest bytes of both streams.
    tail: Vec<u8>,
    /// The beginning of a character whose end has not arrived.
    incomplete: Vec<u8>,
    has_written: bool,
    /// Whether the last byte ended a line.
    is_at_start: bool,
}

impl StepOutput {
    pub(super) fn new(cx: &VerbContext, number: usize, total: usize) -> Self {
        Self {
            number,
            total,
            is_shown: !cx.format.is_json(),
            state: Mutex::default(),
        }
    }

    /// Shows the line of the step.
    pub(super) fn show(&self, text: &str, is_cached: bool) {
        if !self.is_shown {
            return;
        }
        let mark = if is_cached { "  cached" } else { "" };
        let number = format!("[{}/{}] ", self.number, self.total);
        let text = match width() {
            Some(width) => shortened(text, width.saturating_sub(number.len() + mark.len())),
            None => text.to_owned(),
        };
        print_error_line(format_args!("{number}{text}{mark}"));
    }

    /// Shows the output of an event of the main process.
    pub(super) fn add(&self, event: &Event) {
        if event.spid != 1 {
            return;
        }
        if let Payload::Stdout(chunk) | Payload::Stderr(chunk) = &event.payload {
            self.write(&chunk.bytes);
        }
    }

    /// Ends the output. A service without events has it only in its record.
    pub(super) fn finish(&self, outcome: &Outcome) {
        let has_written = self.state().has_written;
        if !has_written {
            self.write(&outcome.stdout.bytes);
            self.write(&outcome.stderr.bytes);
        }
        let mut state = self.state();
        let rest = std::mem::take(&mut state.incomplete);
        let text = String::from_utf8_lossy(&rest).into_owned();
        let ends_line = state.is_at_start || !state.has_written;
        if self.is_shown {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "{text}{}", if ends_line { "" } else { "\n" });
        }
    }

    /// The last lines of the output.
    pub(super) fn tail(&self) -> String {
        let state = self.state();
        String::from_utf8_lossy(&state.tail).into_owned()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, OutputState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, bytes: &[u8]) {
        let Some(last) = bytes.last() else {
            return;
        };
        let mut state = self.state();
        state.has_written = true;
        state.is_at_start = *last == b'\n';
        state.tail.extend_from_slice(bytes);
        let surplus = state.tail.len().saturating_sub(TAIL_BYTES);
        state.tail.drain(..surplus);
        if !self.is_shown {
            return;
        }
        let mut stderr = std::io::stderr().lock();
        if stderr.is_terminal() {
            state.incomplete.extend_from_slice(bytes);
            let text = take_complete_characters(&mut state.incomplete);
            let _ = stderr.write_all(visible(&text).as_bytes());
        } else {
            let _ = stderr.write_all(bytes);
        }
    }
}

/// The width of the terminal to which messages go.
fn width() -> Option<usize> {
    let stderr = std::io::stderr();
    if !stderr.is_terminal() {
        return None;
    }
    let size = terminal_size::terminal_size_of(&stderr);
    Some(size.map_or(80, |(width, _)| usize::from(width.0)))
}

/// The reason why a command failed, with the end of its output.
pub(super) fn command_failure(outcome: &Outcome, output: &str, timeout: Duration) -> String {
    let mut reason = if outcome.status != OperationStatus::Success {
        let reason = outcome
            .error
            .as_deref()
            .unwrap_or("the backend gave no reason");
        format!("the command could not run: {reason}")
    } else if outcome.timed_out {
        let seconds = timeout.as_secs();
        format!("the command was stopped after {seconds} s; --timeout SECS gives it more time")
    } else if let Some(signal) = outcome.signal.filter(|signal| *signal > 0) {
        format!("the command was killed by signal {signal}")
    } else {
        let code = outcome.exit_code.unwrap_or(-1);
        format!("the command ended with exit status {code}")
    };
    let lines: Vec<&str> = output.trim_end().lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    if !last.is_empty() {
        reason.push_str("; its last output:");
    }
    for line in last {
        reason.push_str("\n    ");
        reason.push_str(line);
    }
    reason
}
