//! `contree-mcp engine df`: shows the disk usage of the data directory.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use super::super::error::CommandError;
use super::super::output::{print, print_json};
use super::super::setup::Setup;
use super::super::units::size;
use crate::engine::{PruneOptions, Pruned, RETENTION_DAYS, Usage, prune, usage};
use crate::tools::one_line;

/// Show the disk usage of the data directory, and how much pruning would free
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Df {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// List all images
    #[arg(long)]
    images: bool,
}

impl Df {
    pub(in crate::cli) fn run(&self, setup: &Setup) -> Result<u8, CommandError> {
        let config = super::config(setup)?;
        let used = usage(&config)?;
        let mut options = PruneOptions::new(RETENTION_DAYS);
        options.dry_run = true;
        let free = prune(&config, options)?;
        if self.json {
            let mut report = serde_json::to_value(&used)?;
            report["prunable"] = serde_json::to_value(&free)?;
            print_json(&format!("{report:#}\n"))?;
        } else {
            print(&report_text(&used, &free, self.images))?;
        }
        Ok(0)
    }
}

/// The number of columns of standard output; none if it is no terminal.
fn terminal_columns() -> Option<usize> {
    let stdout = std::io::stdout();
    let size = terminal_size::terminal_size_of(&stdout);
    let columns = size.map_or(80, |(width, _)| usize::from(width.0));
    stdout.is_terminal().then_some(columns)
}

fn report_text(used: &Usage, free: &Pruned, all: bool) -> String {
    let mut text = format!("{}  {}\n\n", used.data_dir, size(used.total_bytes));
    let tagged = used
        .images
        .iter()
        .filter(|image| !image.tags.is_empty())
        .count();
    let layers = &used.layers;
    let rows = [
        (
            "images",
            used.images.len() as u64,
            format!("{tagged} with a tag"),
        ),
        (
            "layers",
            layers.count,
            format!("{} in several images", size(layers.shared_bytes)),
        ),
        ("", 0, format!("{} in one image", size(layers.unique_bytes))),
        ("", 0, format!("{} in no image", size(layers.unused_bytes))),
        ("files", used.files.count, size(used.files.bytes)),
        ("logs", used.logs.count, size(used.logs.bytes)),
        ("records", 1, size(used.records_bytes)),
        ("sandboxes", used.runs, "running now".to_owned()),
    ];
    for (name, count, detail) in rows {
        let count = match name {
            "" => String::new(),
            _ => count.to_string(),
        };
        let _ = writeln!(text, "{name:<10} {count:>8}  {detail}");
    }
    if all {
        // A terminal gets one line for each image. The beginning of a UUID names an image too.
        let columns = terminal_columns();
        let digits = if columns.is_some() { 8 } else { 36 };
        let _ = writeln!(
            text,
            "\n{:<digits$}  {:>10}  {:>10}  tags",
            "image", "size", "unique"
        );
        for image in &used.images {
            let line = format!(
                "{:.digits$}  {:>10}  {:>10}  {}",
                image.uuid.to_string(),
                size(image.bytes),
                size(image.unique_bytes),
                one_line(&image.tags.join(" "))
            );
            let kept: String = line.chars().take(columns.unwrap_or(usize::MAX)).collect();
            let _ = writeln!(text, "{kept}");
        }
    }
    let _ = writeln!(
        text,
        "\n`{}` would free {}:\n  {} images, {} layers, {} files, {} operations, {} orphans",
        super::verb("prune"),
        size(free.bytes),
        free.images.len(),
        free.layers,
        free.files,
        free.operations,
        free.orphans
    );
    text
}
