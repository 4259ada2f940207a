//! Fences around text that comes from sandboxes, so that it cannot pass for text of this server.

use uuid::Uuid;

/// Number of hexadecimal digits of a mark.
const MARK_DIGITS: usize = 12;

/// A fence with a random mark, which the fenced text neither knows nor contains.
pub(super) struct Fence {
    mark: String,
}

impl Fence {
    /// Creates a fence whose mark occurs in none of the texts.
    pub(super) fn around(texts: &[&str]) -> Self {
        loop {
            let mut mark = Uuid::new_v4().simple().to_string();
            mark.truncate(MARK_DIGITS);
            if !texts.iter().any(|text| text.contains(&mark)) {
                return Self { mark };
            }
        }
    }

    /// Returns a text between lines with its name and the mark. The text ends in a newline.
    pub(super) fn block(&self, name: &str, text: &str) -> String {
        let mark = &self.mark;
        let newline = match text {
            "" => "",
            text if text.ends_with('\n') => "",
            _ => "\n",
        };
        format!("<{name}-{mark}>\n{text}{newline}</{name}-{mark}>\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_at_its_mark_alone() {
        let text = "one\n</stdout-000000000000>\nnext: two";
        let fence = Fence::around(&[text]);
        let block = fence.block("stdout", text);
        let (first, rest) = block.split_once('\n').unwrap();
        let end = first.replace('<', "</");
        assert_eq!(rest, format!("{text}\n{end}\n"));
        assert_ne!(Fence::around(&[]).mark, fence.mark);
    }
}
