//! `contree-mcp engine prune`: removes unused data from the data directory.

use std::io::{IsTerminal as _, Write as _};

use super::super::error::CommandError;
use super::super::output::{print, print_json};
use super::super::process::ProcessError;
use super::super::setup::Setup;
use super::super::units::size;
use crate::engine::{PruneOptions, Pruned, RETENTION_DAYS, prune};

/// Remove untagged images, uploaded files and logs unused for DAYS days, and the remains of crashes
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Data in use by a running operation is kept, and so are tagged images with everything that they are built on. \
What is younger than a minute is kept too; the tool delete_image removes one image by its name. \
A running engine prunes once a day; CONTREE_RETENTION_DAYS sets the number of days, and 0 turns it off.")]
pub(in crate::cli) struct Prune {
    /// Time without use, such as 7d or 4w; a number alone is in days
    #[arg(long, value_name = "DAYS", default_value_t = RETENTION_DAYS, value_parser = days)]
    older_than: u32,
    /// Only show what would be removed, by name
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Do not ask on a terminal
    #[arg(long, short = 'f', visible_short_alias = 'y')]
    yes: bool,
    /// Also remove layers without a record, which `engine check` lists
    #[arg(long)]
    unrecorded_layers: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Prune {
    pub(in crate::cli) fn run(&self, setup: &Setup) -> Result<u8, CommandError> {
        let config = super::config(setup)?;
        let mut options = PruneOptions::new(self.older_than);
        options.dry_run = self.dry_run;
        options.unrecorded_layers = self.unrecorded_layers;
        if self.must_ask() {
            options.dry_run = true;
            let planned = prune(&config, options)?;
            print_plan(&planned)?;
            print_summary("would remove", &planned)?;
            if !ask("Remove this? [y/N] ")? {
                super::super::output::print_message("nothing was removed");
                return Ok(1);
            }
            options.dry_run = false;
        }
        let pruned = prune(&config, options)?;
        if self.json {
            let report = serde_json::to_value(&pruned)?;
            print_json(&format!("{report:#}\n"))?;
        } else {
            if self.dry_run {
                print_plan(&pruned)?;
                print_summary("would remove", &pruned)?;
            } else {
                print_summary("removed", &pruned)?;
            }
            if !pruned.unrecorded_layers.is_empty() {
                super::super::output::print_message(format_args!(
                    "{} layers without a record were kept; `{} engine check` lists them",
                    pruned.unrecorded_layers.len(),
                    super::super::output::program()
                ));
            }
            for problem in &pruned.problems {
                super::super::output::print_message(problem);
            }
        }
        Ok(u8::from(!pruned.problems.is_empty()))
    }

    /// A person at a terminal is asked before anything is removed.
    fn must_ask(&self) -> bool {
        !self.dry_run
            && !self.yes
            && !self.json
            && std::io::stdin().is_terminal()
            && std::io::stderr().is_terminal()
    }
}

/// An age that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("give a number of days from 0, such as 7, 7d or 4w")]
struct AgeError;

/// A number of days.
fn days(text: &str) -> Result<u32, AgeError> {
    let (number, factor) = match text.strip_suffix('w') {
        Some(number) => (number, 7),
        None => (text.strip_suffix('d').unwrap_or(text), 1),
    };
    let days = number.parse::<u32>().ok();
    days.and_then(|days| days.checked_mul(factor))
        .ok_or(AgeError)
}

/// Names what would be removed, one on a line.
fn print_plan(planned: &Pruned) -> Result<(), CommandError> {
    let mut text = String::new();
    let mut add = |kind: &str, name: &dyn std::fmt::Display| {
        text.push_str(&format!("{kind} {name}\n"));
    };
    for image in &planned.images {
        add("image", image);
    }
    for layer in &planned.removed_layers {
        add("layer", layer);
    }
    for file in &planned.removed_files {
        add("file", file);
    }
    for operation in &planned.removed_operations {
        add("operation", operation);
    }
    Ok(print(&text)?)
}

fn print_summary(did: &str, pruned: &Pruned) -> Result<(), CommandError> {
    Ok(print(&format!(
        "{did} {} images, {} layers, {} files, {} operations, {} orphans, and cut {} logs: {}\n",
        pruned.images.len(),
        pruned.layers,
        pruned.files,
        pruned.operations,
        pruned.orphans,
        pruned.logs,
        size(pruned.bytes)
    ))?)
}

/// Asks a question at the terminal. Only an answer that begins with `y` is a yes.
fn ask(question: &str) -> Result<bool, CommandError> {
    let mut terminal = std::io::stderr();
    terminal
        .write_all(question.as_bytes())
        .and_then(|()| terminal.flush())
        .map_err(ProcessError::Output)?;
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(ProcessError::Output)?;
    Ok(answer.trim_start().to_ascii_lowercase().starts_with('y'))
}
