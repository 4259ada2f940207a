//! Cuts recorded output to the bytes that an answer shows: the head and the tail of a stream.
//!
//! The tail has the last messages of a failed build or test. The API itself keeps only the head of
//! a stream, so a run asks it to record more than the answer shows.

use std::ops::Range;

use uuid::Uuid;

use super::Context;
use super::output::{DecodedText, boundary};
use crate::CapturedStream;

/// Bytes of each stream in an answer, unless a call sets a number: the default of `run`.
pub(super) const DEFAULT_OUTPUT_BYTES: u64 = 8000;
/// Maximum number of bytes of a stream that the API records.
pub(super) const MAX_RECORDED_BYTES: u64 = 10 * 1024 * 1024;
/// Smallest `truncate_output_at` proposed for cut output.
pub(super) const MIN_PROPOSED_BYTES: u64 = 64 * 1024;
/// The head takes one part in this number, the tail the rest.
const HEAD_DIVISOR: usize = 4;
/// Smallest limit at which both parts fit beside the line between them.
const MIN_MARKED: usize = 64;
/// Smallest limit at which a line at the end fits too.
const MIN_MARKED_END: usize = 256;
/// Longest terminal escape sequence that is kept whole, in bytes.
const MAX_ESCAPE: usize = 2048;
const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

/// A stream as the API recorded it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RecordedStream<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether the record lacks bytes.
    pub(super) is_truncated: bool,
    /// Number of bytes that the command wrote, if it is known.
    pub(super) total: Option<u64>,
}

impl<'a> RecordedStream<'a> {
    /// Creates a stream whose size is unknown if the record lacks bytes.
    pub(super) fn new(bytes: &'a [u8], is_truncated: bool) -> Self {
        Self {
            bytes,
            is_truncated,
            total: None,
        }
    }

    /// Creates the stream of a followed run.
    pub(super) fn of(stream: &'a CapturedStream) -> Self {
        Self {
            bytes: &stream.bytes,
            is_truncated: stream.truncated,
            total: Some(stream.total),
        }
    }
}

/// The way in which an answer cuts the streams of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputCut {
    /// Maximum number of bytes of each stream.
    limit: u64,
    window: OutputWindow,
    /// Whether `get_operation` is offered, so that a hint can name it.
    can_look_up: bool,
}

/// The part of a stream that a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutputWindow {
    /// The head and the tail.
    HeadAndTail,
    /// The last bytes.
    Tail,
    /// The bytes from a position on.
    From(u64),
}

/// The part of a stream that an answer shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct StreamExcerpt {
    pub(super) text: String,
    /// Whether bytes that are not UTF-8 were replaced.
    pub(super) is_lossy: bool,
    /// Whether bytes of the stream are missing.
    pub(super) is_cut: bool,
}

impl OutputCut {
    /// The limit that a call gives, else that of the run itself if this process knows it, else the
    /// default of `run`.
    pub(super) fn of(cx: &Context, operation: Uuid, given: Option<u64>) -> Self {
        let session = cx.session();
        let limit = given
            .or_else(|| session.output_limit(operation))
            .unwrap_or(DEFAULT_OUTPUT_BYTES);
        Self {
            limit,
            window: OutputWindow::HeadAndTail,
            can_look_up: session.selection().has("get_operation"),
        }
    }

    /// Shows only the last bytes of each stream.
    pub(super) fn with_tail(self, bytes: u64) -> Self {
        Self {
            limit: bytes,
            window: OutputWindow::Tail,
            ..self
        }
    }

    /// Shows the bytes of each stream from a position on.
    pub(super) fn with_offset(self, offset: u64) -> Self {
        Self {
            window: OutputWindow::From(offset),
            ..self
        }
    }

    /// Returns the part of a stream that the answer shows.
    pub(super) fn show(&self, stream: RecordedStream<'_>) -> StreamExcerpt {
        match self.window {
            OutputWindow::HeadAndTail => self.show_head_and_tail(stream),
            OutputWindow::Tail => {
                let length = stream.bytes.len();
                let kept = usize::try_from(self.limit).unwrap_or(usize::MAX);
                let start = tail_start(stream.bytes, length.saturating_sub(kept));
                show_range(stream, start..length)
            }
            OutputWindow::From(offset) => {
                let length = stream.bytes.len();
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(length);
                let kept = usize::try_from(self.limit).unwrap_or(usize::MAX);
                show_range(stream, start..start.saturating_add(kept).min(length))
            }
        }
    }

    fn show_head_and_tail(&self, stream: RecordedStream<'_>) -> StreamExcerpt {
        let RecordedStream {
            bytes,
            is_truncated,
            total,
        } = stream;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        if bytes.len() <= limit {
            return excerpt(&[DecodedText::new(bytes, is_truncated)], is_truncated);
        }
        let marker = |left_out: usize| format!("[… {left_out} bytes left out …]\n");
        // The longest marker: a shorter number and a newline at the end of the head save bytes.
        let marked = marker(bytes.len()).len() + 1;
        let end = match total.and_then(|total| total.checked_sub(bytes.len() as u64)) {
            _ if !is_truncated || limit < MIN_MARKED_END => String::new(),
            Some(more @ 1..) => format!("\n[… {more} more bytes were not recorded …]"),
            Some(0) | None => "\n[… more bytes were not recorded …]".to_owned(),
        };
        if limit < MIN_MARKED {
            return excerpt(&[DecodedText::new(&bytes[..limit], true)], true);
        }
        let room = limit - marked - end.len();
        let head = head_end(bytes, room / HEAD_DIVISOR);
        let tail = tail_start(bytes, bytes.len() - (room - room / HEAD_DIVISOR));
        let newline = match bytes[..head].last() {
            None | Some(b'\n') => "",
            Some(_) => "\n",
        };
        let between = DecodedText {
            text: format!("{newline}{}", marker(tail - head)),
            lossy: false,
        };
        let end = DecodedText {
            text: end,
            lossy: false,
        };
        let head = DecodedText::new(&bytes[..head], true);
        let tail = DecodedText::new(&bytes[tail..], is_truncated);
        excerpt(&[head, between, tail, end], true)
    }

    /// Returns the call that shows more of the record of an operation. `recorded` is the size of
    /// its longest recorded stream.
    pub(super) fn next(&self, operation: &str, recorded: usize) -> Option<String> {
        let recorded = recorded as u64;
        if let OutputWindow::From(offset) = self.window {
            let next = offset.saturating_add(self.limit);
            return (self.can_look_up && next < recorded && self.limit > 0).then(|| {
                format!("get_operation(operation_id={operation:?}, offset={next}, truncate_output_at={})", self.limit)
            });
        }
        if !self.can_look_up || recorded <= self.limit {
            return None;
        }
        let bytes = recorded.clamp(MIN_PROPOSED_BYTES, MAX_RECORDED_BYTES);
        Some(format!(
            "get_operation(operation_id={operation:?}, truncate_output_at={bytes})"
        ))
    }
}

/// Shows one range of a stream.
fn show_range(stream: RecordedStream<'_>, range: Range<usize>) -> StreamExcerpt {
    let is_whole = range == (0..stream.bytes.len()) && !stream.is_truncated;
    let text = DecodedText::new(&stream.bytes[range], !is_whole);
    excerpt(&[text], !is_whole)
}

/// Joins parts of a stream.
fn excerpt(parts: &[DecodedText], is_cut: bool) -> StreamExcerpt {
    StreamExcerpt {
        text: parts.iter().map(|part| part.text.as_str()).collect(),
        is_lossy: parts.iter().any(|part| part.lossy),
        is_cut,
    }
}

/// Returns the last position at or before `end` that splits neither a character nor a terminal
/// escape sequence.
fn head_end(bytes: &[u8], end: usize) -> usize {
    let end = boundary(bytes, end);
    match escape_across(bytes, end) {
        Some(escape) => escape.start,
        None => end,
    }
}

/// Returns the first position at or after `start` that splits neither a character nor a terminal
/// escape sequence.
fn tail_start(bytes: &[u8], start: usize) -> usize {
    if start >= bytes.len() {
        return bytes.len();
    }
    let character = boundary(bytes, start);
    let start = match bytes[character] {
        _ if character == start => start,
        0xc2..=0xdf => character + 2,
        0xe0..=0xef => character + 3,
        _ => character + 4,
    };
    let start = start.min(bytes.len());
    match escape_across(bytes, start) {
        Some(escape) => escape.end,
        None => start,
    }
}

/// Returns the escape sequence that has bytes on both sides of a position.
fn escape_across(bytes: &[u8], position: usize) -> Option<Range<usize>> {
    let mut at = position.saturating_sub(MAX_ESCAPE);
    while let Some(before) = bytes[at..position].iter().position(|byte| *byte == ESCAPE) {
        let start = at + before;
        let length = escape_length(&bytes[start..]).unwrap_or(1);
        if start + length > position {
            return Some(start..start + length);
        }
        at = start + length;
    }
    None
}

/// Returns the length of the escape sequence at the start of some bytes (ECMA-48, section 5).
/// `None` if it is incomplete or invalid.
fn escape_length(bytes: &[u8]) -> Option<usize> {
    let count = |from: usize, range: Range<u8>| {
        let rest = bytes[from..].iter().take(MAX_ESCAPE);
        rest.take_while(|byte| range.contains(*byte)).count()
    };
    let ends_with = |at: usize, range: Range<u8>| {
        let last = bytes.get(at)?;
        range.contains(last).then_some(at + 1)
    };
    match bytes.get(1)? {
        // Control sequences, such as colours.
        b'[' => ends_with(2 + count(2, 0x20..0x40), 0x40..0x7f),
        // Strings, such as titles and links, up to BEL or `ESC \`.
        b']' | b'P' | b'X' | b'^' | b'_' => {
            let mut string = bytes.iter().enumerate().take(MAX_ESCAPE).skip(2);
            let (end, byte) = string.find(|(_, byte)| matches!(**byte, BELL | ESCAPE))?;
            match *byte {
                BELL => Some(end + 1),
                _ => ends_with(end + 1, b'\\'..b'\\' + 1),
            }
        }
        0x20..0x30 => ends_with(1 + count(1, 0x20..0x30), 0x30..0x7f),
        0x30..0x7f => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
