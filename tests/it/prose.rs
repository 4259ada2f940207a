//! Checks the prose of comments, documents and the manifest against the rules of `STYLE.md`.
//!
//! `PROSE=src/mcp just one prose::` checks only the files whose path contains `src/mcp`.

mod comment;
mod paragraph;
mod rule;
mod sentence;
mod source;

use paragraph::Paragraph;
use sentence::{MOST_WORDS, Sentence, sentences};
use source::{Kind, Source, sources};

/// The most columns of a line of prose.
const MOST_COLUMNS: usize = 100;

/// The problems that `check` finds in sentences, each after its file and line.
fn problems_of_sentences(
    sources: &[Source],
    check: impl Fn(&Sentence<'_>) -> Vec<String>,
) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (before, paragraph) in source.paragraphs() {
            for sentence in sentences(&paragraph) {
                let line = before + sentence.line;
                let problems = check(&sentence).into_iter();
                found.extend(problems.map(|problem| format!("{}:{line}: {problem}", source.path)));
            }
        }
    }
    found
}

fn too_long(sentence: &Sentence<'_>) -> Vec<String> {
    let words = sentence.words();
    if words <= MOST_WORDS {
        return Vec::new();
    }
    let begin: String = sentence.text.chars().take(70).collect();
    vec![format!(
        "{words} words, at most {MOST_WORDS} are allowed: {begin}…"
    )]
}

/// Lines of prose with too many columns. Tables, code, and lines that end in a link are exempt.
fn wide_lines(source: &Source) -> Vec<String> {
    let numbers: Vec<usize> = match source.kind {
        Kind::Rust => comment::lines_with_comments(&source.text),
        Kind::Markdown => prose_lines(&source.text),
        Kind::Template | Kind::Manifest => Vec::new(),
    };
    let lines: Vec<&str> = source.text.lines().collect();
    let wide = numbers.into_iter().filter_map(|number| {
        let line = *lines.get(number - 1)?;
        let columns = line.chars().count();
        let last = line.split_whitespace().next_back().unwrap_or_default();
        let is_link = last.contains("://");
        (columns > MOST_COLUMNS && !is_link).then(|| {
            format!(
                "{}:{number}: {columns} columns, at most {MOST_COLUMNS} are allowed",
                source.path
            )
        })
    });
    wide.collect()
}

/// The numbers of the lines of a page outside of code blocks and tables.
fn prose_lines(page: &str) -> Vec<usize> {
    let mut is_code = false;
    let mut found = Vec::new();
    for (index, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code && !line.starts_with('|') {
            found.push(index + 1);
        }
    }
    found
}

fn assert_none(problems: &[String]) {
    let count = problems.len();
    assert!(count == 0, "{count} problems:\n{}", problems.join("\n"));
}

#[test]
fn sentences_are_short() {
    assert_none(&problems_of_sentences(&sources(), too_long));
}

#[test]
fn sentences_have_no_forbidden_construction() {
    assert_none(&problems_of_sentences(&sources(), rule::broken));
}

#[test]
fn lines_of_prose_fit() {
    let wide: Vec<String> = sources().iter().flat_map(wide_lines).collect();
    assert_none(&wide);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(kind: Kind, text: &str) -> Source {
        Source {
            path: "file".to_owned(),
            kind,
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_long_sentence_is_found_with_its_line() {
        let long = "word ".repeat(31);
        let text = format!("fn a() {{}}\n/// Short.\n/// {long}\n/// end.\n");
        let found = problems_of_sentences(&[source(Kind::Rust, &text)], too_long);
        assert!(found[0].starts_with("file:3: 32 words"), "{found:?}");
        let short = source(Kind::Rust, &format!("// {}", "word ".repeat(30)));
        assert_eq!(problems_of_sentences(&[short], too_long).len(), 0);
    }

    #[test]
    fn wide_lines_are_found_where_they_can_be_broken() {
        let wide = "a ".repeat(60);
        let url = format!("https://{}.example", "a".repeat(100));
        for (kind, text, count) in [
            (Kind::Rust, format!("// {wide}\nlet a = \"{wide}\";"), 1),
            (Kind::Rust, format!("let a = \"{wide}\"; // b"), 1),
            (Kind::Rust, format!("// See {url}"), 0),
            (Kind::Markdown, format!("{wide}b\n"), 1),
            (
                Kind::Markdown,
                format!("| {wide} |\n\n```\n{wide}b\n```\n"),
                0,
            ),
        ] {
            assert_eq!(wide_lines(&source(kind, &text)).len(), count, "{text}");
        }
    }

    #[test]
    fn a_paragraph_has_one_line_for_each_part() {
        let paragraph = Paragraph::on_line(4, "One. Two.");
        let lines: Vec<usize> = sentences(&paragraph).iter().map(|s| s.line).collect();
        assert_eq!(lines, [4, 4]);
    }
}
