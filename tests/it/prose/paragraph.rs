//! Paragraphs of prose, read from Markdown.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// The text in place of a code span.
pub(super) const CODE: &str = "`code`";

/// A paragraph, list item or table cell, with [`CODE`] in place of code spans.
#[derive(Debug, Default)]
pub(super) struct Paragraph {
    pub(super) text: String,
    /// The line, from 1, on which the text from an offset on stands. Sorted by offset.
    lines: Vec<(usize, usize)>,
}

impl Paragraph {
    /// A paragraph on one line.
    pub(super) fn on_line(line: usize, text: &str) -> Self {
        let mut paragraph = Self::default();
        paragraph.push(text, line);
        paragraph
    }

    fn push(&mut self, text: &str, line: usize) {
        self.lines.push((self.text.len(), line));
        self.text.push_str(text);
    }

    /// The line of the text at an offset.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        let after = self.lines.partition_point(|(start, _)| *start <= offset);
        self.lines.get(after.saturating_sub(1)).map_or(1, |at| at.1)
    }
}

/// The paragraphs of a Markdown text, without headings, code blocks and HTML.
pub(super) fn paragraphs(markdown: &str) -> Vec<Paragraph> {
    let starts: Vec<usize> = std::iter::once(0)
        .chain(markdown.match_indices('\n').map(|(at, _)| at + 1))
        .collect();
    let line_of = |offset: usize| starts.partition_point(|start| *start <= offset);
    let mut found = Vec::new();
    let mut current = Paragraph::default();
    let mut skipped = 0_usize;
    for (event, range) in Parser::new_ext(markdown, Options::ENABLE_TABLES).into_offset_iter() {
        let line = line_of(range.start);
        match event {
            Event::Text(_) | Event::Code(_) if skipped > 0 => {}
            Event::Text(text) => current.push(&text, line),
            Event::Code(_) => current.push(CODE, line),
            Event::SoftBreak | Event::HardBreak => current.push(" ", line),
            Event::Start(tag) => {
                skipped += usize::from(is_no_prose(&tag));
                if !is_inline(&tag.to_end()) {
                    found.push(std::mem::take(&mut current));
                }
            }
            Event::End(tag) => {
                if matches!(
                    tag,
                    TagEnd::CodeBlock | TagEnd::Heading(_) | TagEnd::HtmlBlock
                ) {
                    skipped = skipped.saturating_sub(1);
                }
                if !is_inline(&tag) {
                    found.push(std::mem::take(&mut current));
                }
            }
            _ => {}
        }
    }
    found.push(current);
    found.retain(|paragraph| !paragraph.text.trim().is_empty());
    found
}

fn is_no_prose(tag: &Tag<'_>) -> bool {
    matches!(
        tag,
        Tag::CodeBlock(_) | Tag::Heading { .. } | Tag::HtmlBlock
    )
}

fn is_inline(tag: &TagEnd) -> bool {
    matches!(
        tag,
        TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link | TagEnd::Image
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(markdown: &str) -> Vec<(usize, String)> {
        paragraphs(markdown)
            .into_iter()
            .map(|paragraph| (paragraph.line_at(0), paragraph.text))
            .collect()
    }

    #[test]
    fn code_headings_and_html_are_left_out() {
        let page =
            "# A heading\n\nOne `two three`\n**four**.\n\n```sh\nfive six\n```\n<!-- seven -->\n";
        assert_eq!(texts(page), [(3, "One `code` four.".to_owned())]);
    }

    #[test]
    fn list_items_and_cells_are_paragraphs() {
        let page = "Before:\n- one\n- two [three](https://four.example)\n\n| A | B |\n|---|---|\n| c | d |\n";
        let expected = [
            (1, "Before:"),
            (2, "one"),
            (3, "two three"),
            (5, "A"),
            (5, "B"),
            (7, "c"),
            (7, "d"),
        ];
        let expected = expected.map(|(line, text)| (line, text.to_owned()));
        assert_eq!(texts(page), expected);
    }

    #[test]
    fn later_lines_of_a_paragraph_are_known() {
        let found = paragraphs("\none\ntwo\n");
        let at = found[0].text.find("two").unwrap();
        assert_eq!((found[0].line_at(0), found[0].line_at(at)), (2, 3));
    }
}
