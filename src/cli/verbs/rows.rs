//! Printing of lists and records: tables for people, and JSON.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Row, Table, presets};
use serde::Serialize;

use super::error::VerbError;
use crate::cli::output::{print, print_json};
use crate::tools::one_line;

/// The help heading of the options of all verbs.
const HEADING: &str = "Options of every verb";

/// The options that every verb takes.
#[derive(Args, Debug, Clone, Default)]
pub(in crate::cli) struct VerbOptions {
    /// Session; default: the one of this directory [env: CONTREE_SESSION]
    #[arg(short = 'S', long, global = true, value_name = "NAME", help_heading = HEADING)]
    pub(super) session: Option<String>,
    /// Print JSON, one object on a line; the same as `-o json`
    #[arg(long, global = true, help_heading = HEADING)]
    pub(super) json: bool,
    /// Format of lists and records
    #[arg(
        short = 'o', long = "output", global = true, value_enum, value_name = "FORMAT", help_heading = HEADING
    )]
    pub(super) output_format: Option<OutputFormat>,
}

/// The format of lists and records. The variants have no help texts, since those would spread the
/// help of every verb over several screens.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) enum OutputFormat {
    // A table.
    #[default]
    #[value(name = "default", alias = "table")]
    Table,
    // One `name: value` on a line.
    Plain,
    // One JSON object on a line.
    Json,
    // Indented JSON objects.
    JsonPretty,
}

impl VerbOptions {
    /// Adds later options, which replace earlier ones.
    pub(super) fn add(&mut self, later: Self) {
        self.session = later.session.or(self.session.take());
        self.json |= later.json;
        self.output_format = later.output_format.or(self.output_format);
    }

    pub(super) fn format(&self) -> OutputFormat {
        match self.output_format {
            _ if self.json => OutputFormat::Json,
            format => format.unwrap_or_default(),
        }
    }
}

impl OutputFormat {
    /// Whether programs read the output.
    pub(super) fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::JsonPretty)
    }
}

/// A column of a table: its header, and the text of a row.
pub(super) type Column<'a, T> = (&'a str, &'a dyn Fn(&T) -> String);

/// Prints rows as a table or as JSON. A table without rows has no header.
///
/// # Errors
/// When standard output cannot be written.
pub(super) fn print_rows<T: Serialize>(
    format: OutputFormat,
    rows: &[T],
    columns: &[Column<'_, T>],
) -> Result<(), VerbError> {
    if format.is_json() {
        for row in rows {
            print_record(format, row)?;
        }
        return Ok(());
    }
    let mut text = String::new();
    if format == OutputFormat::Plain {
        for (at, row) in rows.iter().enumerate() {
            if at > 0 {
                text.push('\n');
            }
            for (name, value) in columns {
                let _ = writeln!(text, "{name}: {}", one_line(&value(row)));
            }
        }
    } else if !rows.is_empty() {
        let cells = rows.iter().map(|row| {
            let cells = columns
                .iter()
                .map(|(_, value)| one_line(&value(row)).into_owned());
            cells.collect()
        });
        let header = columns.iter().map(|(name, _)| name.to_uppercase());
        text = table(header.collect(), cells.collect(), Terminal::of_stdout());
    }
    Ok(print(&text)?)
}

/// Prints one record as JSON.
///
/// # Errors
/// When standard output cannot be written.
pub(super) fn print_record<T: Serialize + ?Sized>(
    format: OutputFormat,
    record: &T,
) -> Result<(), VerbError> {
    let text = match format {
        OutputFormat::JsonPretty => serde_json::to_string_pretty(record)?,
        _ => serde_json::to_string(record)?,
    };
    Ok(print_json(&format!("{text}\n"))?)
}

/// Prints the result of a verb: a record as JSON, or a sentence for people.
pub(super) fn print_result<T: Serialize + ?Sized>(
    format: OutputFormat,
    record: &T,
    sentence: &str,
) -> Result<(), VerbError> {
    match format.is_json() {
        true => print_record(format, record),
        false => Ok(print(&format!("{sentence}\n"))?),
    }
}

/// The abilities of standard output.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Terminal {
    /// The number of columns; none for a pipe or a file.
    width: Option<u16>,
    has_colours: bool,
}

impl Terminal {
    pub(super) fn of_stdout() -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::default();
        }
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let size = terminal_size::terminal_size();
        Self {
            width: Some(size.map_or(80, |(width, _)| width.0)),
            has_colours: !is_dumb && !is_set("NO_COLOR"),
        }
    }

    /// Emphasises a text.
    pub(super) fn strong(self, text: &str) -> String {
        match self.has_colours {
            true => format!("\u{1b}[1m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// A table without lines. On a terminal, long cells are cut so that each row is one line.
fn table(header: Vec<String>, rows: Vec<Vec<String>>, terminal: Terminal) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_truncation_indicator("…");
    match terminal.width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    table.set_header(header);
    for cells in rows {
        let mut row = Row::from(cells);
        row.max_height(1);
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for (at, line) in table.lines().enumerate() {
        let line = line.trim_end();
        let _ = match at {
            0 => writeln!(text, "{}", terminal.strong(line)),
            _ => writeln!(text, "{line}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(terminal: Terminal) -> String {
        let header = vec!["TAG".to_owned(), "COMMAND".to_owned()];
        let rows = vec![
            vec!["host".to_owned(), "x ".repeat(100)],
            vec!["日本語".to_owned(), "true".to_owned()],
        ];
        table(header, rows, terminal)
    }

    #[test]
    fn a_row_is_one_line_whatever_the_width() {
        for width in [60, 200] {
            let shown = sample(Terminal {
                width: Some(width),
                has_colours: false,
            });
            assert_eq!(shown.lines().count(), 3, "{shown}");
            let longest = shown.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(width.into()), "{shown}");
        }
        let narrow = sample(Terminal {
            width: Some(60),
            has_colours: false,
        });
        assert!(narrow.contains('…'), "{narrow}");
        let piped = sample(Terminal::default());
        assert!(
            piped.contains(&"x ".repeat(99)) && !piped.contains('…'),
            "{piped}"
        );
    }

    #[test]
    fn only_a_terminal_with_colours_gets_escapes() {
        let coloured = sample(Terminal {
            width: Some(80),
            has_colours: true,
        });
        assert!(coloured.starts_with("\u{1b}[1mTAG"), "{coloured:?}");
        assert!(!sample(Terminal::default()).contains('\u{1b}'));
    }
}
