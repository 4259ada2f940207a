//! The new output of a process in one interaction: the time to wait for it, and the part to show.

use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};

use super::ToolError;
use super::output::{DecodedText, boundary, character_start};
use crate::OutputPart;

/// The time without output after which a process counts as quiet.
pub(super) const QUIET: Duration = Duration::from_millis(300);
/// How long the first byte may take after input.
pub(super) const FIRST_BYTE: Duration = Duration::from_secs(2);
/// Bytes of each stream in one answer. The newest ones are shown.
const SHOWN_BYTES: usize = 16 * 1024;
/// Bytes before a new part of the output in which a match may begin.
const OVERLAP: usize = 4 * 1024;
/// The largest compiled regular expression, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// The text or regular expression to wait for.
pub(super) struct OutputPattern(Regex);

impl OutputPattern {
    /// Parses an argument: plain text, or a regular expression between slashes.
    ///
    /// # Errors
    /// If it is empty, or not a regular expression.
    pub(super) fn parse(text: &str) -> Result<Self, ToolError> {
        let expression = text
            .strip_prefix('/')
            .and_then(|rest| rest.strip_suffix('/'));
        if text.is_empty() || expression == Some("") {
            return Err(ToolError::invalid(
                "`until` is empty; give the text to wait for, or leave it out",
            ));
        }
        let source = expression.map_or_else(|| regex::escape(text), str::to_owned);
        let compiled = RegexBuilder::new(&source)
            .size_limit(MAX_REGEX_BYTES)
            .multi_line(true)
            .build();
        compiled.map(Self).map_err(|error| {
            ToolError::invalid_because(
                "`until` stands between slashes, but is not a regular expression",
                error,
            )
            .with_hint(
                "write a regular expression without look-around, or plain text without the slashes",
            )
        })
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }
}

/// The new output of one stream.
#[derive(Default)]
pub(super) struct NewOutput {
    /// The newest bytes.
    bytes: Vec<u8>,
    /// New bytes that the backend no longer has, or that are left out.
    pub(super) dropped: u64,
    /// Whether bytes before the kept ones are missing.
    is_rest: bool,
}

/// The text of a stream for an answer.
pub(super) struct ShownOutput {
    pub(super) text: String,
    pub(super) is_lossy: bool,
    /// Bytes of an incomplete character at the end, which the next answer shows.
    pub(super) held_back: u64,
}

impl NewOutput {
    /// Adds a part of the stream. `position` is the end of the part before. Returns true if the
    /// pattern appears.
    pub(super) fn add(
        &mut self,
        position: u64,
        part: &OutputPart,
        until: Option<&OutputPattern>,
    ) -> bool {
        let gone = part.offset.saturating_sub(position);
        if gone > 0 {
            // The part does not continue the kept bytes.
            self.dropped += gone + self.bytes.len() as u64;
            self.bytes.clear();
            self.is_rest = true;
        }
        let start = self.bytes.len().saturating_sub(OVERLAP);
        self.bytes.extend_from_slice(&part.bytes);
        let found = !part.bytes.is_empty()
            && until.is_some_and(|pattern| pattern.is_in(&self.bytes[start..]));
        let excess = self.bytes.len().saturating_sub(SHOWN_BYTES);
        if excess > 0 {
            self.bytes.drain(..excess);
            self.dropped += excess as u64;
            self.is_rest = true;
        }
        found
    }

    /// Returns the text. While the process runs, an incomplete character at the end is held back.
    pub(super) fn show(&self, is_running: bool) -> ShownOutput {
        let end = match is_running {
            true => boundary(&self.bytes, self.bytes.len()),
            false => self.bytes.len(),
        };
        let shown = character_start(&self.bytes[..end], self.is_rest);
        let DecodedText { text, lossy } = DecodedText::new(shown, false);
        ShownOutput {
            text,
            is_lossy: lossy,
            held_back: (self.bytes.len() - end) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(offset: u64, bytes: &[u8]) -> OutputPart {
        OutputPart {
            offset,
            bytes: bytes.to_vec(),
            total: offset + bytes.len() as u64,
        }
    }

    #[test]
    fn plain_text_is_not_a_regular_expression() {
        let found = |pattern: &str, text: &str| {
            OutputPattern::parse(pattern)
                .unwrap()
                .is_in(text.as_bytes())
        };
        assert!(found("(gdb) ", "\n(gdb) "));
        assert!(!found("(gdb) ", "gdb "));
        assert!(found(">>> ", "3\n>>> "));
        assert!(found(r"/port \d+/", "on port 80"));
        assert!(!found(r"port \d+", "on port 80"));
        assert!(found("/^end$/", "a\nend\nb"));
        assert!(found("/usr/bin/", "in usr/bin now"));
    }

    #[test]
    fn an_invalid_pattern_is_an_error_with_its_reason() {
        for (pattern, reason) in [
            ("/[/", "is not a regular expression"),
            ("/(?=x)/", "is not a regular expression"),
            ("/(a{1000}){1000}/", "is not a regular expression"),
            ("", "`until` is empty"),
            ("//", "`until` is empty"),
        ] {
            let error = OutputPattern::parse(pattern).err().unwrap().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_flood_shows_its_end_and_counts_the_rest() {
        let mut output = NewOutput::default();
        let block = vec![b'x'; 256 * 1024];
        let mut position = 0;
        for _ in 0..4 * 1024 {
            output.add(position, &part(position, &block), None);
            position += block.len() as u64;
        }
        assert_eq!(position, 1 << 30);
        assert_eq!(output.dropped, position - SHOWN_BYTES as u64);
        assert_eq!(output.show(true).text.len(), SHOWN_BYTES);
        // The backend has dropped bytes too.
        output.add(position, &part(position + 5, b"end"), None);
        assert_eq!(output.dropped, position + 5);
        assert_eq!(output.show(true).text, "end");
    }

    #[test]
    fn a_pattern_is_found_across_two_parts() {
        let pattern = OutputPattern::parse("ready").unwrap();
        let mut output = NewOutput::default();
        assert!(!output.add(0, &part(0, b"rea"), Some(&pattern)));
        assert!(output.add(3, &part(3, b"dy"), Some(&pattern)));
        // It was found, so silence does not find it again.
        assert!(!output.add(5, &part(5, b""), Some(&pattern)));
    }

    #[test]
    fn half_a_character_is_shown_with_its_other_half() {
        let text = "a€".as_bytes();
        let mut output = NewOutput::default();
        output.add(0, &part(0, &text[..2]), None);
        let shown = output.show(true);
        assert_eq!((shown.text.as_str(), shown.held_back), ("a", 1));
        assert!(!shown.is_lossy);
        assert!(output.show(false).is_lossy);
    }
}
