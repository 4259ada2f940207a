//! Progress of long work, on a terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::tools::one_line;

/// How often a spinner moves.
const TICK: Duration = Duration::from_millis(120);

/// A line on standard error that shows the progress of work. Without a terminal, nothing is shown.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Work whose amount is not known.
    pub(super) fn spinner(message: &str) -> Self {
        let bar = bar(None, "{spinner} {elapsed} {wide_msg}");
        bar.set_message(one_line(message).into_owned());
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Work on a number of bytes, if that is known.
    pub(super) fn bytes(total: Option<u64>, message: &str) -> Self {
        let template = match total {
            Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{spinner} {msg} {bytes} {bytes_per_sec}",
        };
        let bar = bar(total, template);
        bar.set_message(one_line(message).into_owned());
        Self(bar)
    }

    /// Replaces the message.
    pub(super) fn say(&self, message: &str) {
        self.0.set_message(one_line(message).into_owned());
    }

    /// Adds to the number of bytes.
    pub(super) fn add(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }
}

/// The line disappears at the end of the work, even after an error or a signal.
impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn bar(total: Option<u64>, template: &str) -> ProgressBar {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let target = if std::io::stderr().is_terminal() && !is_dumb {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::with_draw_target(total, target).with_style(style)
}
