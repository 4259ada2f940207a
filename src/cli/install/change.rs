//! One changed region of a text, so that a change can be shown, recorded and undone exactly.

use serde::{Deserialize, Serialize};

/// The change of one text into another: a region whose text is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TextChange {
    /// The first byte of the region.
    offset: usize,
    removed: String,
    inserted: String,
}

impl TextChange {
    /// The smallest change that turns `old` into `new`.
    pub(super) fn between(old: &str, new: &str) -> Self {
        let mut prefix = common_prefix(old.as_bytes(), new.as_bytes());
        while !(old.is_char_boundary(prefix) && new.is_char_boundary(prefix)) {
            prefix -= 1;
        }
        let (old_rest, new_rest) = (&old[prefix..], &new[prefix..]);
        let mut suffix = common_suffix(old_rest.as_bytes(), new_rest.as_bytes());
        while !(old_rest.is_char_boundary(old_rest.len() - suffix)
            && new_rest.is_char_boundary(new_rest.len() - suffix))
        {
            suffix -= 1;
        }
        Self {
            offset: prefix,
            removed: old_rest[..old_rest.len() - suffix].to_owned(),
            inserted: new_rest[..new_rest.len() - suffix].to_owned(),
        }
    }

    /// Applies the change to `original`. It was computed for the same text with LF as the only line
    /// end. Line ends outside of the region stay as they are.
    pub(super) fn apply_keeping_line_ends(&self, original: &str) -> String {
        let start = original_offset(original, self.offset);
        let end = original_offset(original, self.offset + self.removed.len());
        let inserted = if uses_crlf(original) {
            self.inserted.replace('\n', "\r\n")
        } else {
            self.inserted.clone()
        };
        format!("{}{inserted}{}", &original[..start], &original[end..])
    }

    /// The old text, if `new` is exactly the new one.
    pub(super) fn undo(&self, new: &str) -> Option<String> {
        let end = self.offset.checked_add(self.inserted.len())?;
        (new.get(self.offset..end)? == self.inserted)
            .then(|| format!("{}{}{}", &new[..self.offset], self.removed, &new[end..]))
    }

    /// Undoes the change in a text that was edited elsewhere since. `None` unless the inserted text
    /// occurs exactly once.
    pub(super) fn undo_elsewhere(&self, edited: &str) -> Option<String> {
        if self.inserted.is_empty() || edited.matches(&self.inserted).count() != 1 {
            return None;
        }
        Some(edited.replacen(&self.inserted, &self.removed, 1))
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let (a, b) = (a.iter().rev(), b.iter().rev());
    a.zip(b).take_while(|(a, b)| a == b).count()
}

/// Whether most lines end with CR LF.
fn uses_crlf(text: &str) -> bool {
    text.matches("\r\n").count() * 2 > text.matches('\n').count()
}

/// The offset in `original` of the byte that is at `offset` in the text with LF as the only line
/// end.
fn original_offset(original: &str, offset: usize) -> usize {
    let bytes = original.as_bytes();
    let (mut at, mut seen) = (0, 0);
    while seen < offset && at < bytes.len() {
        at += if bytes[at..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        seen += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_undone_exactly_and_around_other_edits() {
        let (old, new) = ("{\n \"ä\": 1\n}\n", "{\n \"ä\": 1,\n \"ö\": 2\n}\n");
        let change = TextChange::between(old, new);
        assert_eq!(change.undo(new).unwrap(), old);
        let edited = new.replace("1", "12");
        assert_eq!(
            change.undo_elsewhere(&edited).unwrap(),
            old.replace("1", "12")
        );
        assert_eq!(change.undo("{}"), None);
        let twice = format!("{new}{new}");
        assert_eq!(change.undo_elsewhere(&twice), None);
    }

    #[test]
    fn letters_that_share_bytes_are_not_cut() {
        let change = TextChange::between("ä", "ö");
        assert_eq!((change.offset, change.removed.as_str()), (0, "ä"));
        assert_eq!(change.undo("ö").unwrap(), "ä");
    }

    #[test]
    fn every_line_outside_the_change_keeps_its_end() {
        let original = "a\r\nb\nc\r\nd\r\n";
        let change = TextChange::between("a\nb\nc\nd\n", "a\nb\nnew\nc\nd\n");
        assert_eq!(
            change.apply_keeping_line_ends(original),
            "a\r\nb\nnew\r\nc\r\nd\r\n"
        );
    }
}
