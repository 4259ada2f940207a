//! Decodes captured output to text.

/// A decoded stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DecodedText {
    /// The text.
    pub(super) text: String,
    /// Whether bytes that are not UTF-8 were replaced.
    pub(super) lossy: bool,
}

impl DecodedText {
    /// Decodes `bytes`. If they were `cut`, an incomplete character at the end is dropped, not
    /// replaced.
    pub(super) fn new(bytes: &[u8], cut: bool) -> Self {
        let bytes = if cut {
            &bytes[..boundary(bytes, bytes.len())]
        } else {
            bytes
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => Self {
                text: text.to_owned(),
                lossy: false,
            },
            Err(_) => Self {
                text: String::from_utf8_lossy(bytes).into_owned(),
                lossy: true,
            },
        }
    }
}

/// Returns the last position at or before `end` that does not split a UTF-8 character.
pub(super) fn boundary(bytes: &[u8], end: usize) -> usize {
    let end = end.min(bytes.len());
    // A character has at most four bytes, so the last one starts among the last four.
    for start in (end.saturating_sub(4)..end).rev() {
        let length = match bytes[start] {
            0x00..=0x7f => 1,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            // A continuation byte, or invalid UTF-8.
            _ => continue,
        };
        return if start + length > end { start } else { end };
    }
    end
}

/// Leaves out the rest of a character at the start of some bytes, if they are the end of more.
pub(super) fn character_start(bytes: &[u8], is_rest: bool) -> &[u8] {
    if !is_rest {
        return bytes;
    }
    // A character has at most three bytes after its first.
    let continues = |byte: &&u8| matches!(**byte, 0x80..=0xbf);
    let skip = bytes.iter().take(3).take_while(continues).count();
    &bytes[skip..]
}

/// Takes all complete characters. An incomplete one at the end stays; invalid UTF-8 is replaced.
pub(crate) fn take_complete_characters(waiting: &mut Vec<u8>) -> String {
    let incomplete = match std::str::from_utf8(waiting) {
        Ok(_) => 0,
        Err(_) => {
            // An incomplete character has at most three bytes.
            let from = waiting.len().saturating_sub(3);
            let begun = (from..waiting.len()).find(|at| {
                matches!(std::str::from_utf8(&waiting[*at..]), Err(error)
                    if error.valid_up_to() == 0 && error.error_len().is_none())
            });
            begun.map_or(0, |at| waiting.len() - at)
        }
    };
    let rest = waiting.split_off(waiting.len() - incomplete);
    let text = String::from_utf8_lossy(waiting).into_owned();
    *waiting = rest;
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_splits_a_character() {
        let text = "aä€😀".as_bytes();
        let cuts: Vec<usize> = (0..=text.len()).map(|end| boundary(text, end)).collect();
        assert_eq!(cuts, [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10]);
        assert_eq!(boundary(text, 99), text.len());
    }

    #[test]
    fn invalid_utf8_is_cut_anywhere() {
        assert_eq!(boundary(&[0x80, 0x80, 0x80, 0x80, 0x80], 5), 5);
        assert_eq!(boundary(&[0xff, 0xff], 2), 2);
    }

    #[test]
    fn an_incomplete_character_is_lossy_only_in_a_whole_stream() {
        let half = "ok €".as_bytes().split_last().unwrap().1;
        assert_eq!(
            DecodedText::new(half, true),
            DecodedText {
                text: "ok ".into(),
                lossy: false
            }
        );
        assert_eq!(
            DecodedText::new(half, false),
            DecodedText {
                text: "ok \u{fffd}".into(),
                lossy: true
            }
        );
    }

    #[test]
    fn characters_are_never_split() {
        let mut waiting = Vec::new();
        let mut all = String::new();
        let text = "aä€𝄞z";
        for byte in text.bytes() {
            waiting.push(byte);
            all.push_str(&take_complete_characters(&mut waiting));
        }
        assert_eq!(all, text);
        assert!(waiting.is_empty());
    }

    #[test]
    fn invalid_utf8_is_not_held_back() {
        let mut waiting = b"a\xff\xfe\xfd\xfcb".to_vec();
        let text = take_complete_characters(&mut waiting);
        assert!(
            text.starts_with("a\u{fffd}") && text.ends_with('b'),
            "{text:?}"
        );
        assert!(waiting.is_empty());
    }
}
