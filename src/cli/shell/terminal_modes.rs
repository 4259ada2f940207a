//! The modes of a terminal that its output has changed, so that they can be changed back.
//!
//! A program that is killed leaves the terminal as it was then: on the alternate screen, without a
//! cursor, or reporting the mouse.

use std::collections::BTreeSet;

/// The private modes that a terminal has at the start (xterm's "Control Sequences", DECSET): it
/// wraps long lines (7) and shows the cursor (25).
const INITIAL: [u16; 2] = [7, 25];
/// The most modes that are remembered. Terminals know fewer.
const MAX_MODES: usize = 64;
/// The longest parameters of a sequence that are read.
const MAX_PARAMETERS: usize = 64;
const ESCAPE: u8 = 0x1b;
/// The character that ends an incomplete sequence.
const CANCEL: u8 = 0x18;

/// The modes that differ from those at the start.
#[derive(Debug, Default)]
pub(super) struct TerminalModes {
    position: Position,
    parameters: Vec<u8>,
    changed: BTreeSet<u16>,
    application_keypad: bool,
    has_output: bool,
}

/// The position of the output in a control sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC `[`.
    Sequence,
    /// In the parameters of a private mode, after ESC `[` `?`.
    PrivateMode,
    /// In the parameters of another sequence.
    Ignored,
}

impl TerminalModes {
    /// Notes the modes that output changes.
    pub(super) fn observe(&mut self, output: &[u8]) {
        self.has_output |= !output.is_empty();
        for &byte in output {
            self.position = self.next(byte);
        }
    }

    fn next(&mut self, byte: u8) -> Position {
        match (self.position, byte) {
            (_, ESCAPE) => Position::Escape,
            (_, CANCEL) | (Position::Text, _) => Position::Text,
            (Position::Escape, b'[') => Position::Sequence,
            (Position::Escape, b'=' | b'>') => {
                self.application_keypad = byte == b'=';
                Position::Text
            }
            // A full reset.
            (Position::Escape, b'c') => {
                *self = Self {
                    has_output: true,
                    ..Self::default()
                };
                Position::Text
            }
            (Position::Escape, _) => Position::Text,
            (Position::Sequence, b'?') => {
                self.parameters.clear();
                Position::PrivateMode
            }
            (Position::PrivateMode, b'0'..=b'9' | b';')
                if self.parameters.len() < MAX_PARAMETERS =>
            {
                self.parameters.push(byte);
                Position::PrivateMode
            }
            (Position::PrivateMode, b'h' | b'l') => {
                self.set(byte == b'h');
                Position::Text
            }
            // The last byte of a sequence (ECMA-48, section 5.4).
            (_, 0x40..=0x7e) => Position::Text,
            _ => Position::Ignored,
        }
    }

    fn set(&mut self, on: bool) {
        let parameters = std::mem::take(&mut self.parameters);
        for mode in parameters.split(|byte| *byte == b';') {
            let mode = std::str::from_utf8(mode)
                .ok()
                .and_then(|mode| mode.parse().ok());
            let Some(mode) = mode else { continue };
            if on == INITIAL.contains(&mode) {
                self.changed.remove(&mode);
            } else if self.changed.len() < MAX_MODES {
                self.changed.insert(mode);
            }
        }
    }

    /// The output that changes the modes and the style of text back.
    pub(super) fn undo(&self) -> Vec<u8> {
        let mut output = Vec::new();
        if !self.has_output {
            return output;
        }
        if self.position != Position::Text {
            output.push(CANCEL);
        }
        for mode in &self.changed {
            let letter = if INITIAL.contains(mode) { 'h' } else { 'l' };
            output.extend(format!("\x1b[?{mode}{letter}").bytes());
        }
        if self.application_keypad {
            output.extend(b"\x1b>");
        }
        output.extend(b"\x1b[m");
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undone(pieces: &[&str]) -> String {
        let mut modes = TerminalModes::default();
        for piece in pieces {
            modes.observe(piece.as_bytes());
        }
        String::from_utf8(modes.undo()).unwrap()
    }

    #[test]
    fn changed_modes_are_changed_back() {
        for (pieces, expected) in [
            (&[][..], ""),
            (&["plain \u{e9} text"], "\x1b[m"),
            (&["\x1b[?1049h\x1b[?25l"], "\x1b[?25h\x1b[?1049l\x1b[m"),
            (&["\x1b[?1049h", "x", "\x1b[?1049l"], "\x1b[m"),
            (&["\x1b", "[", "?20", "04", "h"], "\x1b[?2004l\x1b[m"),
            (&["\x1b[?1000;1006h\x1b[?1000l"], "\x1b[?1006l\x1b[m"),
            (&["\x1b=\x1b[?1h"], "\x1b[?1l\x1b>\x1b[m"),
            (&["\x1b[?1049h\x1bc"], "\x1b[m"),
            (&["\x1b[31m\x1b[?7l"], "\x1b[?7h\x1b[m"),
            // A sequence that breaks off would swallow the output after it.
            (&["\x1b[?10"], "\x18\x1b[m"),
            (&["\x1b[?1049$p"], "\x1b[m"),
        ] {
            assert_eq!(undone(pieces), expected, "{pieces:?}");
        }
    }

    #[test]
    fn endless_sequences_take_no_memory() {
        let mut modes = TerminalModes::default();
        modes.observe(b"\x1b[?");
        modes.observe(&[b'1'; 100_000]);
        modes.observe(b"h");
        assert!(modes.parameters.capacity() < 1000);
        for mode in 0..10_000 {
            modes.observe(format!("\x1b[?{mode}h").as_bytes());
        }
        assert!(modes.changed.len() <= MAX_MODES);
    }

    proptest::proptest! {
        #[test]
        fn any_output_can_be_undone(output in proptest::collection::vec(0u8.., 0..200)) {
            let mut modes = TerminalModes::default();
            modes.observe(&output);
            let undo = modes.undo();
            modes.observe(&undo);
            proptest::prop_assert!(modes.changed.is_empty() && !modes.application_keypad);
        }
    }
}
