//! Turns texts of a document into Markdown that rustdoc renders but does not test.

/// The words after a fence that make rustdoc test its code. Numbers of editions and of errors begin
/// with `edition` and `E`.
const TEST_WORDS: [&str; 8] = [
    "rust",
    "ignore",
    "should_panic",
    "no_run",
    "compile_fail",
    "standalone",
    "standalone_crate",
    "test_harness",
];

/// An open fence of code.
#[derive(Clone, Copy)]
struct Fence {
    character: char,
    length: usize,
}

/// Splits a text into the lines of a doc comment.
///
/// rustdoc compiles indented code, and fences that are in Rust or have no language, as tests. So
/// such fences get the language `text`, and indented code becomes a paragraph.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let mut open: Option<Fence> = None;
    let mut after_blank = true;
    let mut lines = Vec::new();
    for line in text.trim_end().lines() {
        let line = line.trim_end();
        let content = match open {
            None => content(line),
            // In a block of code, a dash or a number is code.
            Some(_) => line.trim_start_matches(['>', ' ', '\t']),
        };
        let fence = fence(content);
        let written = match (open, fence) {
            (None, Some((fence, words))) => {
                open = Some(fence);
                if is_tested(words) {
                    let end = line.len() - words.len();
                    format!("{}text", line[..end].trim_end())
                } else {
                    line.to_owned()
                }
            }
            (Some(opened), Some((fence, ""))) if opened.is_closed_by(fence) => {
                open = None;
                line.to_owned()
            }
            (None, None) if after_blank && is_indented(line) => {
                format!("   {}", line.trim_start())
            }
            _ => line.to_owned(),
        };
        after_blank = content.is_empty();
        lines.push(written);
    }
    if let Some(Fence { character, length }) = open {
        lines.push(String::from(character).repeat(length));
    }
    // Blank lines at the beginning have no meaning.
    let first = lines.iter().position(|line| !line.trim().is_empty());
    lines.split_off(first.unwrap_or(lines.len()))
}

impl Fence {
    fn is_closed_by(self, other: Self) -> bool {
        self.character == other.character && self.length <= other.length
    }
}

/// A line without the marks of the quotes and lists that it is in.
fn content(line: &str) -> &str {
    let mut content = line.trim_start();
    loop {
        let rest = ["> ", "- ", "* ", "+ "]
            .iter()
            .find_map(|mark| content.strip_prefix(mark));
        let digits = content.trim_start_matches(|c: char| c.is_ascii_digit());
        let numbered = (digits.len() < content.len())
            .then(|| digits.strip_prefix(". ").or(digits.strip_prefix(") ")))
            .flatten();
        match rest.or(numbered).or(content.strip_prefix('>')) {
            Some(rest) => content = rest.trim_start(),
            None => return content,
        }
    }
}

/// A fence at the beginning of a text, and the words after it.
fn fence(content: &str) -> Option<(Fence, &str)> {
    let character = content.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let words = content.trim_start_matches(character);
    let length = content.len() - words.len();
    // In a line such as ```` ```code``` ````, the backticks do not open a block.
    let is_inline = character == '`' && words.contains('`');
    (length >= 3 && !is_inline).then_some((Fence { character, length }, words.trim()))
}

/// Returns whether rustdoc would test code with these words after its fence.
fn is_tested(words: &str) -> bool {
    let is_test_word = |word: &str| {
        let is_number = |prefix| {
            let rest: Option<&str> = word.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.parse::<u16>().is_ok())
        };
        TEST_WORDS.contains(&word)
            || word.starts_with("ignore-")
            || is_number("edition")
            || is_number("E")
    };
    let separates = |c: char| c.is_whitespace() || matches!(c, ',' | '{' | '}');
    let mut words = words.split(separates).filter(|word| !word.is_empty());
    words.clone().any(|word| word == "rust") || words.all(is_test_word)
}

fn is_indented(line: &str) -> bool {
    line.starts_with("    ") || line.starts_with('\t')
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn no_text_of_a_document_becomes_a_test() {
        let text = "\nIntro.\n\n    let x = 1;\n\n```\ncode\n```\n\n```json\n{}\n```\n";
        let expected = [
            "Intro.",
            "",
            "   let x = 1;",
            "",
            "```text",
            "code",
            "```",
            "",
            "```json",
            "{}",
            "```",
        ];
        assert_eq!(lines(text), expected);
    }

    #[test]
    fn code_in_rust_becomes_a_text() {
        for (fence, expected) in [
            ("```rust", "```text"),
            ("```rust,no_run", "```text"),
            ("``` ignore", "```text"),
            ("~~~should_panic, edition2021", "~~~text"),
            ("```compile_fail,E0425", "```text"),
            ("> ```", "> ```text"),
            ("- ```rust", "- ```text"),
            ("1. ```", "1. ```text"),
            ("```json", "```json"),
            ("```no_run sh", "```no_run sh"),
            ("```rusty", "```rusty"),
        ] {
            assert_eq!(lines(fence)[0], expected, "{fence}");
        }
        assert_eq!(
            lines("```rust\n```\n```rust\n```"),
            ["```text", "```"].repeat(2)
        );
        let nested = "````md\n```\ncode\n```\n````\n```\n```";
        let expected = ["````md", "```", "code", "```", "````", "```text", "```"];
        assert_eq!(lines(nested), expected);
    }

    #[test]
    fn an_open_fence_is_closed() {
        assert_eq!(lines("~~~\ncode"), ["~~~text", "code", "~~~"]);
    }
}
