//! Here-documents of `RUN` inside of its command, which the parser does not know.
//!
//! The parser takes `RUN <<EOF`, and here-documents of `COPY` and `ADD`. In `RUN cat <<EOF > /f` it
//! would take the lines of the document for instructions. So these lines are blanked before, which
//! keeps the positions of all others, and are added to the command after.

use std::collections::BTreeMap;

use super::error::{DockerfileError, Problem};
use super::expand::words;

/// A Dockerfile whose here-documents inside of commands are blank.
#[derive(Debug)]
pub(super) struct Blanked {
    pub(super) text: String,
    /// The documents with their ends, by the line on which their `RUN` begins.
    pub(super) documents: BTreeMap<usize, String>,
}

/// Blanks the here-documents inside of commands.
///
/// # Errors
/// A document without an end.
pub(super) fn blank(text: &str, escape: char) -> Result<Blanked, DockerfileError> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut blanked = Blanked {
        text: String::with_capacity(text.len()),
        documents: BTreeMap::new(),
    };
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        let instruction = instruction(&lines, &mut at, escape);
        for line in &lines[first..at] {
            blanked.text.push_str(line);
        }
        let Some(documents) = documents(&instruction, escape) else {
            continue;
        };
        let mut body = String::new();
        for document in &documents.ends {
            loop {
                let Some(line) = lines.get(at) else {
                    let name = document.name.clone();
                    return Err(Problem::UnendedHereDocument(name).at(first + 1));
                };
                at += 1;
                body.push_str(line);
                match documents.is_inside {
                    true if line.ends_with('\n') => blanked.text.push('\n'),
                    true => {}
                    false => blanked.text.push_str(line),
                }
                if document.is_end(line) {
                    break;
                }
            }
        }
        if documents.is_inside {
            if !body.ends_with('\n') {
                body.push('\n');
            }
            blanked.documents.insert(first + 1, body);
        }
    }
    Ok(blanked)
}

/// Returns the text of the instruction at a line, without its line breaks, and moves `at` to the
/// line after it. A comment or a blank line has no text.
fn instruction(lines: &[&str], at: &mut usize, escape: char) -> String {
    let mut joined = String::new();
    let mut is_first = true;
    while let Some(line) = lines.get(*at) {
        *at += 1;
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            match is_first {
                true => return joined,
                false => continue,
            }
        }
        is_first = false;
        match trimmed.strip_suffix(escape) {
            Some(part) => joined.push_str(part),
            None => {
                joined.push_str(trimmed);
                return joined;
            }
        }
    }
    joined
}

/// The here-documents that an instruction begins.
struct Documents {
    ends: Vec<DocumentEnd>,
    /// Whether they are inside of a command.
    is_inside: bool,
}

/// The end of a here-document.
struct DocumentEnd {
    name: String,
    /// Whether tabs may stand before it.
    strips_tabs: bool,
}

impl DocumentEnd {
    fn is_end(&self, line: &str) -> bool {
        let line = line.trim_end_matches(['\r', '\n']);
        match self.strips_tabs {
            true => line.trim_start_matches('\t') == self.name,
            false => line == self.name,
        }
    }
}

fn documents(instruction: &str, escape: char) -> Option<Documents> {
    let (keyword, rest) = instruction.split_once(char::is_whitespace)?;
    let is_run = keyword.eq_ignore_ascii_case("RUN");
    if !is_run && !keyword.eq_ignore_ascii_case("COPY") && !keyword.eq_ignore_ascii_case("ADD") {
        return None;
    }
    let words = words(rest, escape);
    let command = words.iter().skip_while(|word| word.starts_with("--"));
    let first = command.clone().next()?;
    if first.starts_with('[') {
        return None;
    }
    let is_inside = is_run && !first.starts_with("<<");
    let ends: Vec<DocumentEnd> = match is_run && !is_inside {
        // The parser takes one, and the rest of the line is the command.
        true => document_end(first).into_iter().collect(),
        false => command.filter_map(|word| document_end(word)).collect(),
    };
    (!ends.is_empty()).then_some(Documents { ends, is_inside })
}

/// The end of the here-document that a word such as `<<EOF`, `3<<-EOF` or `<<"EOF"` begins.
fn document_end(word: &str) -> Option<DocumentEnd> {
    let word = word.trim_start_matches(|character: char| character.is_ascii_digit());
    let name = word.strip_prefix("<<")?;
    let (name, strips_tabs) = match name.strip_prefix('-') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let name = match name.find(['>', '<', '|', ';', '&', ')']) {
        Some(0) => return None,
        Some(end) if name[end..].starts_with('<') => return None,
        Some(end) => &name[..end],
        None => name,
    };
    let name: String = name
        .chars()
        .filter(|c| !matches!(c, '"' | '\'' | '\\'))
        .collect();
    (!name.is_empty()).then_some(DocumentEnd { name, strips_tabs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_inside_of_commands_are_blanked() {
        let text = "FROM a\nRUN cat <<EOF > /f && \\\n  # comment\n  cat <<-'B'\nRUN no\nEOF\n\tx\n\tB\nRUN <<EOF\nRUN x\nEOF\nCOPY <<A <<B /d/\nRUN y\nA\nRUN z\nB\nRUN echo $((1<<2)) <<<x\n";
        let blanked = blank(text, '\\').unwrap();
        assert_eq!(blanked.text.lines().count(), text.lines().count());
        let expected = text.replace("RUN no\nEOF\n\tx\n\tB\n", "\n\n\n\n");
        assert_eq!(blanked.text, expected);
        let documents: Vec<_> = blanked.documents.into_iter().collect();
        assert_eq!(documents, [(2, "RUN no\nEOF\n\tx\n\tB\n".to_owned())]);
    }

    #[test]
    fn a_document_without_an_end_is_an_error() {
        let error = blank("FROM a\nRUN cat <<EOF\nx\n", '\\').unwrap_err();
        assert!(error.to_string().starts_with("line 2: "), "{error}");
        assert!(blank("FROM a\nRUN cat <<<EOF\nRUN \"<<EOF\"\n", '\\').is_ok());
    }
}
