//! Help texts in the width of the terminal.

/// A command line whose closing texts have one line for each paragraph. Clap breaks those lines to
/// the width of the terminal; breaks of the source would remain as well.
pub(super) fn with_whole_paragraphs(mut command: clap::Command) -> clap::Command {
    if let Some(text) = command.get_after_help() {
        let whole = whole_paragraphs(&text.to_string());
        command = command.after_help(whole);
    }
    let names: Vec<String> = command
        .get_subcommands()
        .map(|below| below.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, with_whole_paragraphs);
    }
    command
}

/// Joins the lines of each paragraph. Examples keep their lines.
fn whole_paragraphs(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let is_list = paragraph.lines().any(|line| line.starts_with(' '));
        match is_list {
            true => paragraph.to_owned(),
            false => paragraph.lines().collect::<Vec<_>>().join(" "),
        }
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_have_one_line_and_examples_keep_theirs() {
        let text = "Examples:\n  a\n  b\n\nOne\ntwo.\n\nThree.";
        assert_eq!(
            whole_paragraphs(text),
            "Examples:\n  a\n  b\n\nOne two.\n\nThree."
        );
    }
}
