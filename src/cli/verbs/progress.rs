//! Progress of long work, on a terminal.

mod amounts;
mod progress_line;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::tools::one_line;
use amounts::{Amounts, Unit};
use progress_line::{ProgressLine, columns};

/// How often a spinner moves.
const TICK: Duration = Duration::from_millis(120);
/// How often the line is drawn at most.
const DRAWS_PER_SECOND: u8 = 20;
/// Work whose amount is not known.
const SPINNER: &str = "{spinner} {elapsed} {msg}";
/// Bytes of an unknown number.
const BYTES: &str = "{spinner} {bytes} {bytes_per_sec} {msg}";
/// Bytes of a known number.
const BYTE_BAR: &str = "{spinner} {msg} {wide_bar} {bytes}/{total_bytes}";
/// Things of a known number.
const COUNT_BAR: &str = "{spinner} {msg} {wide_bar} {pos}/{len}";
/// The most columns of everything but the message, with a short bar.
const OTHER_COLUMNS: usize = 40;
/// The columns of a message on a narrow terminal.
const MIN_MESSAGE: usize = 10;

/// A line on standard error that shows the progress of work. Without a terminal, nothing is shown.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    title: String,
    state: Mutex<State>,
}

/// The shown state.
#[derive(Debug)]
struct State {
    template: &'static str,
    /// The done and the whole amount of each part of the work.
    parts: BTreeMap<String, (u64, u64)>,
}

impl Progress {
    /// Work that reports lines.
    pub(super) fn spinner(message: &str) -> Self {
        Self::new(SPINNER, None, message)
    }

    /// Work on a number of bytes, if that is known.
    pub(super) fn bytes(total: Option<u64>, message: &str) -> Self {
        let template = if total.is_some() { BYTE_BAR } else { BYTES };
        Self::new(template, total, message)
    }

    fn new(template: &'static str, total: Option<u64>, message: &str) -> Self {
        let title = one_line(message).into_owned();
        let bar = bar(total).with_style(style(template));
        bar.set_message(shortened(&title, message_columns()));
        bar.enable_steady_tick(TICK);
        Self {
            bar,
            title,
            state: Mutex::new(State {
                template,
                parts: BTreeMap::new(),
            }),
        }
    }

    /// Shows a line about the progress: as a bar if it ends with amounts, such as
    /// `sent 12.0 MB of 48.0 MB`, else as it is.
    pub(super) fn say(&self, line: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match Amounts::parse(line) {
            Some(found) => {
                let parts = &mut state.parts;
                parts.insert(found.part.to_owned(), (found.done, found.total));
                let (done, total) = parts.values().fold((0, 0), |(done, total), part| {
                    (done + part.0.min(part.1), total + part.1)
                });
                self.bar.set_length(total);
                self.bar.set_position(done);
                let template = match found.unit {
                    Unit::Bytes => BYTE_BAR,
                    Unit::Things => COUNT_BAR,
                };
                self.show(&mut state, template, &self.title);
            }
            None => {
                for (part, (done, total)) in &mut state.parts {
                    if amounts::ends_part(line, part) {
                        *done = *total;
                    }
                }
                self.show(&mut state, SPINNER, &one_line(line));
            }
        }
    }

    /// Adds to the number of bytes.
    pub(super) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Sets the number of bytes so far, and the number of all bytes if it is known.
    pub(super) fn set(&self, bytes: u64, total: Option<u64>) {
        if let Some(total) = total {
            self.set_total(total);
        }
        self.bar.set_position(bytes);
    }

    /// Sets the number of all bytes, once it is known.
    pub(super) fn set_total(&self, total: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bar.length() != Some(total) {
            self.bar.set_length(total);
            self.show(&mut state, BYTE_BAR, &self.title);
        }
    }

    /// Whether anything is shown.
    pub(super) fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Removes the line, however many users it has.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self, state: &mut State, template: &'static str, message: &str) {
        if state.template != template {
            state.template = template;
            self.bar.set_style(style(template));
        }
        self.bar.set_message(shortened(message, message_columns()));
    }
}

/// The columns for a message.
fn message_columns() -> usize {
    let columns = usize::from(columns());
    columns.saturating_sub(OTHER_COLUMNS).max(MIN_MESSAGE)
}

/// The line disappears at the end of the work, even after an error or a signal.
impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let target = if std::io::stderr().is_terminal() && !is_dumb {
        ProgressDrawTarget::term_like_with_hz(Box::new(ProgressLine), DRAWS_PER_SECOND)
    } else {
        ProgressDrawTarget::hidden()
    };
    ProgressBar::with_draw_target(total, target)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// A text of at most `width` characters.
pub(super) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_shortened() {
        assert_eq!(shortened("abc", 3), "abc");
        assert_eq!(shortened("abcd", 3), "ab…");
    }

    #[test]
    fn a_number_of_bytes_has_a_bar_once_the_total_is_known() {
        let progress = Progress::bytes(None, "copying");
        let template = || progress.state.lock().unwrap().template;
        progress.set(10, None);
        assert_eq!(
            (template(), progress.bar.position(), progress.bar.length()),
            (BYTES, 10, None)
        );
        progress.set(20, Some(40));
        assert_eq!(
            (template(), progress.bar.position(), progress.bar.length()),
            (BYTE_BAR, 20, Some(40))
        );
    }

    #[test]
    fn the_parts_of_a_push_have_one_bar() {
        let progress = Progress::spinner("sending");
        for (line, at) in [
            ("layer aa: sent 1.0 kB of 4.0 kB", (1000, 4000)),
            ("layer bb: sent 500 bytes of 1.0 kB", (1500, 5000)),
            ("sent aa: 4.0 kB", (1500, 5000)),
            ("layer bb: sent 600 bytes of 1.0 kB", (4600, 5000)),
        ] {
            progress.say(line);
            let shown = (progress.bar.position(), progress.bar.length().unwrap());
            assert_eq!(shown, at, "{line}");
        }
    }
}
