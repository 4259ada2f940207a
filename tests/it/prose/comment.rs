//! Comments of Rust sources.

/// Adjacent comment lines of one kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Comment {
    /// The line of its first line, from 1.
    pub(super) line: usize,
    /// Its lines without their markers.
    pub(super) text: String,
}

/// One line with a comment.
#[derive(Debug)]
struct CommentLine<'a> {
    line: usize,
    /// `//`, `///` or `//!`.
    marker: &'a str,
    text: &'a str,
    /// There is no code before it.
    is_alone: bool,
}

/// The comments of a source file, in their order.
pub(super) fn comments(source: &str) -> Vec<Comment> {
    let mut found: Vec<Comment> = Vec::new();
    let mut before: Option<CommentLine<'_>> = None;
    for line in comment_lines(source) {
        let continues = before.as_ref().is_some_and(|before| {
            before.is_alone
                && line.is_alone
                && before.marker == line.marker
                && before.line + 1 == line.line
        });
        match found.last_mut() {
            Some(comment) if continues => {
                comment.text.push('\n');
                comment.text.push_str(line.text);
            }
            _ => found.push(Comment {
                line: line.line,
                text: line.text.to_owned(),
            }),
        }
        before = Some(line);
    }
    found
}

/// The numbers of the lines that have a comment, from 1.
pub(super) fn lines_with_comments(source: &str) -> Vec<usize> {
    let lines = comment_lines(source).into_iter();
    lines.map(|line| line.line).collect()
}

fn comment_lines(source: &str) -> Vec<CommentLine<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        let end = if rest.starts_with("//") {
            let length = rest.find('\n').unwrap_or(rest.len());
            found.push(comment_line(source, at, at + length));
            length
        } else if rest.starts_with("/*") {
            let length = block_length(rest);
            let mut start = at;
            for part in rest[..length].split_inclusive('\n') {
                found.push(comment_line(source, start, start + part.trim_end().len()));
                start += part.len();
            }
            length
        } else {
            token_length(source, at)
        };
        at += end;
    }
    found
}

fn comment_line(source: &str, start: usize, end: usize) -> CommentLine<'_> {
    let before = &source[..start];
    let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
    let whole = source[start..end].trim();
    let (marker, text) = ["///", "//!", "//", "/*", "*/", "*"]
        .into_iter()
        .find_map(|marker| Some((marker, whole.strip_prefix(marker)?)))
        .unwrap_or(("", whole));
    CommentLine {
        line: before.matches('\n').count() + 1,
        marker,
        text: text
            .strip_prefix(' ')
            .unwrap_or(text)
            .trim_end_matches("*/"),
        is_alone: source[begin..start].trim().is_empty(),
    }
}

/// The length of a block comment, which may hold others.
fn block_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a literal, an identifier, or one character of anything else.
fn token_length(source: &str, at: usize) -> usize {
    let rest = &source[at..];
    let Some(first) = rest.chars().next() else {
        return 1;
    };
    match first {
        '"' => string_length(rest),
        '\'' => character_length(rest),
        _ if first.is_alphanumeric() || first == '_' => {
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            let name = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            let is_raw = matches!(&rest[..name], "r" | "br" | "cr");
            match raw_length(&rest[name..]) {
                Some(raw) if is_raw => name + raw,
                _ => name,
            }
        }
        _ => first.len_utf8(),
    }
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a raw string after its `r`.
fn raw_length(text: &str) -> Option<usize> {
    let hashes = text.len() - text.trim_start_matches('#').len();
    let content = text[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = content.find(&end)?;
    Some(hashes + 1 + length + end.len())
}

/// The length of a character literal, or of the quote of a lifetime.
fn character_length(text: &str) -> usize {
    let mut rest = text[1..].chars();
    match rest.next() {
        Some('\\') => text[3..].find('\'').map_or(1, |end| end + 4),
        Some(c) if rest.next() == Some('\'') => 2 + c.len_utf8(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_lines_of_one_kind_are_one_comment() {
        let source = "//! one\n//! two\n\n/// three\nfn a() {} // four\n// five\n";
        let found: Vec<(usize, String)> = comments(source)
            .into_iter()
            .map(|comment| (comment.line, comment.text))
            .collect();
        let expected = [(1, "one\ntwo"), (4, "three"), (5, "four"), (6, "five")];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn literals_hold_no_comments() {
        for source in [
            "let a = \"// no \\\" // no\";",
            "let a = r#\"// no \" // no\"#;",
            "let a = br\"// no\";",
            "let a = ['\"', '\\'', '\"'];",
            "let r#type = \"// no\";",
        ] {
            assert_eq!(comments(source), [], "{source}");
        }
    }

    #[test]
    fn lifetimes_begin_no_literal() {
        let found = comments("fn a<'a>(b: &'a str) {} // yes");
        assert_eq!(found[0].text, "yes");
        let found = comments("let quote = '\\u{2019}'; // yes");
        assert_eq!(found[0].text, "yes");
    }

    #[test]
    fn block_comments_have_lines() {
        assert_eq!(
            lines_with_comments("a\n/* b /* c */\n d */ e // f"),
            [2, 3, 3]
        );
    }
}
