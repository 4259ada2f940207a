//! The terminal as a progress line sees it.

use std::io::{self, Write as _};

use indicatif::TermLike;

/// The columns that a progress line leaves free. The terminal shows `^C` there: on a full line, it
/// would show it on the next one, and the line would not be removed.
const FREE: u16 = 4;

/// Standard error, a little narrower than it is.
#[derive(Debug)]
pub(super) struct ProgressLine;

/// The columns for a progress line.
pub(super) fn columns() -> u16 {
    let size = terminal_size::terminal_size_of(io::stderr());
    let columns = size.map_or(80, |(width, _)| width.0);
    columns.saturating_sub(FREE).max(1)
}

impl TermLike for ProgressLine {
    fn width(&self) -> u16 {
        columns()
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        move_cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        move_cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        move_cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        move_cursor(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        io::stderr().lock().write_all(text.as_bytes())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write_str("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// Moves the cursor with a control sequence (ECMA-48). A zero would count as a one.
fn move_cursor(n: usize, direction: char) -> io::Result<()> {
    match n {
        0 => Ok(()),
        n => ProgressLine.write_str(&format!("\u{1b}[{n}{direction}")),
    }
}
