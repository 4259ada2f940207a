//! `contree-mcp engine check`: compares the records of layers with the layers on disk.

use std::fmt::Write as _;

use super::super::error::CommandError;
use super::super::output::print;
use super::super::setup::Setup;
use super::super::units::size;
use crate::engine::{StoreCheck, check_store};

/// Compare the records of the data directory with its layers, and rebuild lost records
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Layers without a record mean that store.db was lost, or that an older copy replaced it. They are kept. \
`contree-mcp engine prune --unrecorded-layers` removes them. The exit code is 1 if anything differs.")]
pub(in crate::cli) struct Check {
    /// Record such layers again, with their images, tags and uploaded files
    #[arg(long)]
    rebuild: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(in crate::cli) fn run(&self, setup: &Setup) -> Result<u8, CommandError> {
        let checked = check_store(&super::config(setup)?, self.rebuild)?;
        if self.json {
            let report = serde_json::to_value(&checked)?;
            print(&format!("{report:#}\n"))?;
        } else {
            print(&report_text(&checked))?;
        }
        let sound = checked.unrecorded.is_empty()
            && checked
                .missing
                .iter()
                .all(|missing| missing.images.is_empty());
        Ok(u8::from(!sound))
    }
}

fn report_text(checked: &StoreCheck) -> String {
    let mut text = String::new();
    if let Some(rebuilt) = &checked.rebuilt {
        let _ = writeln!(
            text,
            "recorded again: {} layers, {} images, {} tags, {} files",
            rebuilt.layers,
            rebuilt.images.len(),
            rebuilt.tags.len(),
            rebuilt.files
        );
        for image in &rebuilt.images {
            let _ = writeln!(text, "  image {image}");
        }
        for tag in &rebuilt.tags {
            let _ = writeln!(text, "  tag {tag}");
        }
        for image in &rebuilt.lost {
            let _ = writeln!(text, "lost, since a layer of it is missing: image {image}");
        }
        for problem in &rebuilt.problems {
            let _ = writeln!(text, "not recorded: {problem}");
        }
    }
    for layer in &checked.unrecorded {
        let _ = write!(text, "layer {} has no record", layer.layer);
        match layer.bytes {
            Some(bytes) => {
                let _ = write!(text, ": {}", size(bytes));
            }
            None => text.push_str(": an earlier release made it"),
        }
        if let Some(parent) = layer.parent {
            let _ = write!(text, ", on layer {parent}");
        }
        text.push('\n');
        for image in &layer.images {
            let _ = write!(text, "  image {}, made {}", image.uuid, image.created_at);
            for tag in &image.tags {
                let _ = write!(text, ", tag {tag}");
            }
            if let Some(command) = &image.command {
                let line = command.lines().next().unwrap_or_default();
                let _ = write!(text, ", by `{}`", line.escape_debug());
            }
            text.push('\n');
        }
    }
    for missing in &checked.missing {
        let images: Vec<String> = missing.images.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "layer {} is recorded and missing on disk; images that need it: {}",
            missing.layer,
            if images.is_empty() {
                "none".to_owned()
            } else {
                images.join(" ")
            }
        );
    }
    if checked.unrecorded.is_empty() && checked.missing.is_empty() {
        let _ = writeln!(text, "{}: records and layers agree", checked.data_dir);
    } else if checked.rebuilt.is_none() {
        text.push_str(&format!(
            "`{} engine check --rebuild` records layers again, and marks images without their layers as lost\n",
            super::super::output::program()
        ));
    }
    text
}
