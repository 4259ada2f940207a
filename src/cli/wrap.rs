//! Messages in the width of the terminal.

use std::io;

use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

/// The columns of the terminal at standard error; none if it is not one.
pub(super) fn error_columns() -> Option<usize> {
    let size = terminal_size::terminal_size_of(io::stderr());
    size.map(|(width, _)| usize::from(width.0))
}

/// Breaks the lines of a text between words, so that each fits a number of columns. A longer word,
/// such as a path, stays whole.
pub(super) fn wrapped(text: &str, columns: usize) -> String {
    let options = Options::new(columns.max(1))
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::fill(text, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_between_words_and_long_words_stay_whole() {
        let text = "contree: kept 1a2b as @2, although --memory\nsecond  line of a/very/long/path-to-a-file";
        let lines = wrapped(text, 20);
        let lines: Vec<&str> = lines.split('\n').collect();
        assert_eq!(
            lines,
            [
                "contree: kept 1a2b",
                "as @2, although",
                "--memory",
                "second  line of",
                "a/very/long/path-to-a-file",
            ]
        );
        assert_eq!(wrapped(text, 80), text);
        // A wide character takes two columns.
        assert_eq!(wrapped("日本 語", 5), "日本\n語");
    }
}
