//! Printing of lists and records: tables for people, and JSON.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, presets};
use serde::Serialize;

use super::error::VerbError;
use crate::cli::output::{print, print_json, print_styled};
use crate::cli::units::short;
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

/// Columns that a narrow terminal leaves out, the first one first.
const OPTIONAL: [&str; 10] = [
    "processes",
    "kind",
    "memory",
    "took",
    "files",
    "size",
    "result",
    "image",
    "created",
    "ports",
];
/// Columns up to this width are not cut.
const SHORT: usize = 12;
/// The spaces between columns.
const GAP: u16 = 2;

/// A column of a table: its header, and the text of a row.
pub(super) type Column<'a, T> = (&'a str, &'a dyn Fn(&T) -> String);

/// The text of a value, or an empty text for none.
pub(super) fn text_or_empty<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

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
        // The cells are escaped.
        let table = table(header.collect(), cells.collect(), Terminal::of_stdout());
        return Ok(print_styled(&table)?);
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
    // One serializer for both formats, so that the code for each type of record exists once.
    let record = serde_json::to_value(record)?;
    let text = match format {
        OutputFormat::JsonPretty => serde_json::to_string_pretty(&record)?,
        _ => record.to_string(),
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

    /// The number of columns; none for a pipe or a file.
    pub(super) fn width(self) -> Option<u16> {
        self.width
    }

    /// Emphasises a text.
    pub(super) fn strong(self, text: &str) -> String {
        match self.has_colours {
            true => format!("\u{1b}[1m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// Shortens UUIDs and leaves columns out until the others have room. Returns the places of short
/// columns, which are not cut.
fn fit(header: &mut Vec<String>, rows: &mut [Vec<String>], width: usize) -> Vec<usize> {
    if room(&widths(header, rows), usize::MAX) > width {
        for cell in rows.iter_mut().flatten() {
            if let Ok(uuid) = cell.parse::<uuid::Uuid>() {
                *cell = short(&uuid);
            }
        }
    }
    for name in OPTIONAL {
        if room(&widths(header, rows), SHORT) <= width {
            break;
        }
        let named = |column: &String| column.eq_ignore_ascii_case(name);
        // The first column names the row.
        if let Some(at) = header.iter().position(named).filter(|at| *at > 0) {
            header.remove(at);
            for row in &mut *rows {
                row.remove(at);
            }
        }
    }
    let widths = widths(header, rows).into_iter().enumerate();
    let short = widths.filter(|(_, width)| *width <= SHORT);
    short.map(|(at, _)| at).collect()
}

/// The widths of columns.
fn widths(header: &[String], rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    widths
}

/// The width of a table whose columns are cut at `longest`.
fn room(widths: &[usize], longest: usize) -> usize {
    let columns = widths.iter().map(|width| *width.min(&longest));
    columns.map(|width| width + usize::from(GAP)).sum()
}

/// A table without lines. On a terminal, each row is one line: columns of a narrow one are left
/// out, and long cells are cut.
fn table(mut header: Vec<String>, mut rows: Vec<Vec<String>>, terminal: Terminal) -> String {
    let whole = match terminal.width {
        Some(width) => fit(&mut header, &mut rows, width.into()),
        None => Vec::new(),
    };
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
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, GAP));
        if whole.contains(&at) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
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
    fn a_narrow_terminal_gets_fewer_columns_and_whole_short_ones() {
        let header = [
            "OPERATION",
            "KIND",
            "CREATED",
            "MEMORY",
            "PROCESSES",
            "IMAGE",
            "ERROR",
        ];
        let uuid = "018f2b5c-0000-7000-8000-000000000002";
        let row = [
            "1a2b3c4d",
            "instance",
            "59 min ago",
            "1023.5 MiB",
            "12",
            uuid,
            "x y",
        ];
        let shown = |width| {
            let terminal = Terminal {
                width: Some(width),
                has_colours: false,
            };
            let header = header.map(str::to_owned).to_vec();
            let rows = vec![row.map(str::to_owned).to_vec()];
            table(header, rows, terminal)
        };
        let wide = shown(200);
        assert!(wide.contains(uuid) && wide.contains("PROCESSES"), "{wide}");
        let narrow = shown(60);
        for whole in ["1a2b3c4d", "59 min ago", "018f2b5c", "x y"] {
            assert!(narrow.contains(whole), "{narrow}");
        }
        assert!(
            !narrow.contains("PROCESSES") && !narrow.contains(uuid),
            "{narrow}"
        );
        assert!(!narrow.contains('…'), "{narrow}");
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
