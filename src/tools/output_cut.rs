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
mod tests {
    use super::*;

    fn cut(bytes: &[u8], limit: u64) -> StreamExcerpt {
        let stream = RecordedStream {
            bytes,
            ..RecordedStream::default()
        };
        let cut = OutputCut {
            limit,
            window: OutputWindow::HeadAndTail,
            can_look_up: true,
        };
        cut.show(stream)
    }

    #[test]
    fn windows_show_what_an_answer_cut() {
        let bytes = "0123456789€".as_bytes();
        let stream = RecordedStream {
            bytes,
            ..RecordedStream::default()
        };
        let cut = OutputCut {
            limit: 4,
            window: OutputWindow::HeadAndTail,
            can_look_up: true,
        };
        let shown = |cut: OutputCut| {
            let shown = cut.show(stream);
            (shown.text, shown.is_cut, shown.is_lossy)
        };
        assert_eq!(shown(cut.with_tail(5)), ("89€".into(), true, false));
        // Half of a character is left out.
        assert_eq!(shown(cut.with_tail(4)), ("9€".into(), true, false));
        assert_eq!(shown(cut.with_tail(2)), (String::new(), true, false));
        assert_eq!(shown(cut.with_tail(0)), (String::new(), true, false));
        assert!(!shown(cut.with_tail(99)).1);
        assert_eq!(shown(cut.with_offset(3)), ("3456".into(), true, false));
        assert_eq!(shown(cut.with_offset(99)), (String::new(), true, false));
        let next = cut.with_offset(3).next("id", bytes.len()).unwrap();
        assert!(next.contains("offset=7"), "{next}");
        assert_eq!(cut.with_offset(9).next("id", bytes.len()), None);
    }

    #[test]
    fn the_default_is_that_of_run() {
        let run = crate::tools::find_tool("run").unwrap().argument_schema();
        let limit = &run["properties"]["truncate_output_at"];
        assert_eq!(limit["default"], DEFAULT_OUTPUT_BYTES);
        assert_eq!(limit["maximum"], MAX_RECORDED_BYTES);
    }

    #[test]
    fn a_stream_within_the_limit_is_whole() {
        for length in [0, 1, 999, 1000] {
            let text = "x".repeat(length);
            let shown = cut(text.as_bytes(), 1000);
            assert_eq!((shown.text, shown.is_cut), (text, false));
        }
        let shown = cut("x".repeat(1001).as_bytes(), 1000);
        assert!(shown.is_cut && shown.text.len() <= 1000, "{}", shown.text);
    }

    #[test]
    fn a_cut_stream_has_its_head_its_tail_and_the_number_of_bytes_between() {
        let lines: Vec<String> = (1..=10_000).map(|n| format!("line {n}\n")).collect();
        let all = lines.concat();
        for limit in [64, 65, 100, 255, 256, 1000, 8000, 65_536] {
            let text = cut(all.as_bytes(), limit).text;
            assert!(text.len() as u64 <= limit, "{limit}: {}", text.len());
            assert!(text.starts_with("line 1\n"), "{limit}: {text}");
            assert!(text.ends_with("line 10000\n"), "{limit}: {text}");
            let (head, rest) = text.split_once("[… ").unwrap();
            let (number, tail) = rest.split_once(" bytes left out …]\n").unwrap();
            let number: usize = number.parse().unwrap();
            let kept = &all[..all.len() - number - tail.len()];
            // The line between both parts begins a line of its own.
            let newline = if kept.ends_with('\n') { "" } else { "\n" };
            assert_eq!(head, format!("{kept}{newline}"));
            assert!(all.ends_with(tail));
        }
    }

    #[test]
    fn a_limit_without_room_for_both_keeps_the_head() {
        for (limit, expected) in [(0, ""), (6, "abcdef"), (63, "abcdef")] {
            let text = "abcdef".repeat(100);
            let shown = cut(text.as_bytes(), limit);
            assert!(shown.is_cut && shown.text.len() as u64 == limit);
            assert!(shown.text.starts_with(expected), "{}", shown.text);
        }
    }

    #[test]
    fn neither_cut_splits_a_character() {
        for character in ["ä", "€", "😀"] {
            // Each offset of both cuts within a character.
            for prefix in 0..4 {
                for suffix in 0..4 {
                    let text = format!(
                        "{}{}{}",
                        "x".repeat(prefix),
                        character.repeat(1000),
                        "y".repeat(suffix)
                    );
                    let shown = cut(text.as_bytes(), 301);
                    assert!(!shown.is_lossy && shown.text.len() <= 301);
                    let (head, tail) = shown.text.split_once("\n[… ").unwrap();
                    let (_, tail) = tail.split_once("]\n").unwrap();
                    assert!(text.starts_with(head) && text.ends_with(tail));
                }
            }
        }
    }

    #[test]
    fn invalid_utf8_is_replaced_and_reported() {
        let shown = cut(&[0xff; 5000], 1000);
        assert!(shown.is_lossy && shown.is_cut);
        let replaced = shown.text.matches('\u{fffd}').count();
        assert!((900..=1000).contains(&replaced), "{replaced}");
    }

    #[test]
    fn neither_cut_splits_an_escape_sequence() {
        for escape in [
            "\x1b[1;38;5;196m",
            "\x1b]8;;https://example.com/a\x1b\\",
            "\x1b]0;title\x07",
            "\x1b(B",
            "\x1bM",
        ] {
            for prefix in 0..escape.len() {
                let text = format!("{}{}", "x".repeat(prefix), escape.repeat(500));
                let shown = cut(text.as_bytes(), 400).text;
                let (head, tail) = shown.split_once("\n[… ").unwrap();
                let (_, tail) = tail.split_once("]\n").unwrap();
                let head = head.trim_start_matches('x');
                assert_eq!(head.replace(escape, ""), "", "{prefix}: {head:?}");
                assert_eq!(tail.replace(escape, ""), "", "{prefix}: {tail:?}");
            }
        }
    }

    #[test]
    fn an_endless_escape_sequence_hides_nothing() {
        let text = format!("\x1b]{}", "x".repeat(10_000));
        let shown = cut(text.as_bytes(), 1000).text;
        assert!(shown.len() > 950 && shown.ends_with('x'), "{}", shown.len());
    }

    #[test]
    fn a_record_that_lacks_bytes_says_so_at_its_end() {
        let stream = RecordedStream {
            bytes: &[b'x'; 5000],
            is_truncated: true,
            total: Some(7500),
        };
        let cut = OutputCut {
            limit: 1000,
            window: OutputWindow::HeadAndTail,
            can_look_up: false,
        };
        let shown = cut.show(stream);
        let end = "x\n[… 2500 more bytes were not recorded …]";
        assert!(shown.text.ends_with(end), "{}", shown.text);
        assert!(shown.text.len() <= 1000);
        let unknown = RecordedStream {
            total: None,
            ..stream
        };
        let end = "[… more bytes were not recorded …]";
        assert!(cut.show(unknown).text.ends_with(end));
        // A record within the limit is shown as it is; the fields of the result report the rest.
        let short = RecordedStream {
            bytes: b"x",
            ..stream
        };
        let shown = cut.show(short);
        assert_eq!((shown.text.as_str(), shown.is_cut), ("x", true));
    }

    #[test]
    fn the_next_call_shows_the_whole_record() {
        let next = |limit, can_look_up, recorded| {
            let cut = OutputCut {
                limit,
                window: OutputWindow::HeadAndTail,
                can_look_up,
            };
            cut.next("ID", recorded)
        };
        let call = |bytes: u64| {
            let call = format!("get_operation(operation_id=\"ID\", truncate_output_at={bytes})");
            Some(call)
        };
        assert_eq!(next(8000, true, 9000), call(65_536));
        assert_eq!(next(8000, true, 900_000), call(900_000));
        assert_eq!(next(8000, true, 8000), None);
        assert_eq!(next(8000, false, 9000), None);
    }
}
