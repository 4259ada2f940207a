//! Sentences of a paragraph, and how many words they have.

use std::sync::LazyLock;

use regex::Regex;

use super::paragraph::Paragraph;

/// The most words of a sentence.
pub(super) const MOST_WORDS: usize = 30;

/// Words whose full stop does not end a sentence.
const ABBREVIATIONS: &[&str] = &["e.g.", "i.e.", "etc.", "vs.", "cf.", "approx."];

/// Code spans in a row, such as names that are listed.
static CODE_LIST: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("`code`(?:(?:,| and| or|, and|, or|/)? ?`code`)+").unwrap());

/// A sentence.
#[derive(Debug)]
pub(super) struct Sentence<'a> {
    /// Where it begins, from 1.
    pub(super) line: usize,
    pub(super) text: &'a str,
    /// It is the first one of its paragraph.
    pub(super) is_first: bool,
}

impl Sentence<'_> {
    /// The number of words. Code spans in a row are one word.
    pub(super) fn words(&self) -> usize {
        let text = CODE_LIST.replace_all(self.text, "`code`");
        let words = text.split_whitespace();
        words
            .filter(|word| word.contains(char::is_alphanumeric))
            .count()
    }
}

/// The sentences of a paragraph.
pub(super) fn sentences(paragraph: &Paragraph) -> Vec<Sentence<'_>> {
    let text = paragraph.text.as_str();
    let mut found = Vec::new();
    let mut start = 0;
    for end in ends(text) {
        let sentence = &text[start..end];
        let begin = start + sentence.len() - sentence.trim_start().len();
        if !sentence.trim().is_empty() {
            found.push(Sentence {
                line: paragraph.line_at(begin),
                text: sentence.trim(),
                is_first: found.is_empty(),
            });
        }
        start = end;
    }
    found
}

/// The offsets after each sentence.
fn ends(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for (at, c) in text.char_indices() {
        if !matches!(c, '.' | '!' | '?') {
            continue;
        }
        let after = text[at + 1..].trim_start_matches(['"', '\'', ')', ']', '”', '’']);
        let end = text.len() - after.len();
        let word = text[..=at].split_whitespace().next_back().unwrap_or("");
        let is_abbreviation = ABBREVIATIONS.contains(&word.trim_start_matches('('));
        if after.starts_with(char::is_whitespace) && !is_abbreviation && !word.ends_with("..") {
            found.push(end);
        }
    }
    found.push(text.len());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        sentences(&Paragraph::on_line(1, text))
            .iter()
            .map(|sentence| sentence.text.to_owned())
            .collect()
    }

    fn words(text: &str) -> usize {
        sentences(&Paragraph::on_line(1, text))[0].words()
    }

    #[test]
    fn sentences_end_at_stops_before_a_space() {
        assert_eq!(
            split("One. two! (Three?) Four"),
            ["One.", "two!", "(Three?)", "Four"]
        );
        assert_eq!(
            split("See a.b in 5.12, e.g. here."),
            ["See a.b in 5.12, e.g. here."]
        );
    }

    #[test]
    fn listed_names_are_one_word() {
        assert_eq!(words("Set `code`, `code` and `code` – or not."), 4);
        assert_eq!(words("Read https://a.example/b?c=d first"), 3);
    }
}
