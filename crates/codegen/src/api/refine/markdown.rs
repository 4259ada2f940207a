//! Turns texts of the document into Markdown that rustdoc renders but does not test.

/// Splits a text into the lines of a doc comment.
///
/// rustdoc compiles indented code and fences without a language as tests. So fences get the
/// language `text`, and indented code becomes a paragraph.
pub(super) fn lines(text: &str) -> Vec<String> {
    let mut fence: Option<&str> = None;
    let mut after_blank = true;
    let mut lines = Vec::new();
    for line in text.trim_end().lines() {
        let line = line.trim_end();
        let content = line.trim_start();
        let marker = ["```", "~~~"]
            .into_iter()
            .find(|marker| content.starts_with(marker));
        let written = match (fence, marker) {
            (None, Some(marker)) => {
                fence = Some(marker);
                if content.trim_start_matches(['`', '~']).is_empty() {
                    format!("{line}text")
                } else {
                    line.to_owned()
                }
            }
            (Some(open), Some(marker)) if open == marker => {
                fence = None;
                line.to_owned()
            }
            (None, None) if after_blank && (line.starts_with("    ") || line.starts_with('\t')) => {
                format!("   {content}")
            }
            _ => line.to_owned(),
        };
        after_blank = content.is_empty();
        lines.push(written);
    }
    if let Some(marker) = fence {
        lines.push(marker.to_owned());
    }
    // Blank lines at the beginning have no meaning.
    let first = lines.iter().position(|line| !line.trim().is_empty());
    lines.split_off(first.unwrap_or(lines.len()))
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
    fn an_open_fence_is_closed() {
        assert_eq!(lines("~~~\ncode"), ["~~~text", "code", "~~~"]);
    }
}
