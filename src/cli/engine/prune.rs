//! `contree-mcp engine prune`: removes unused data from the data directory.

use super::super::error::CommandError;
use super::super::output::{print, print_json};
use super::super::setup::Setup;
use super::size;
use crate::engine::{PruneOptions, RETENTION_DAYS, prune};

/// Remove untagged images, uploaded files and logs unused for DAYS days, and the remains of crashes
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Data in use by a running operation is kept, and so are tagged images with everything that they are built on. \
A running engine prunes once a day; CONTREE_RETENTION_DAYS sets the number of days, and 0 turns it off.")]
pub(in crate::cli) struct Prune {
    /// Number of days without use
    #[arg(long, value_name = "DAYS", default_value_t = RETENTION_DAYS)]
    older_than: u32,
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Also remove layers without a record, which `engine check` lists
    #[arg(long)]
    unrecorded_layers: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Prune {
    pub(super) fn run(&self, setup: &Setup) -> Result<u8, CommandError> {
        let config = super::config(setup)?;
        let mut options = PruneOptions::new(self.older_than);
        options.dry_run = self.dry_run;
        options.unrecorded_layers = self.unrecorded_layers;
        let pruned = prune(&config, options)?;
        if self.json {
            let report = serde_json::to_value(&pruned)?;
            print_json(&format!("{report:#}\n"))?;
        } else {
            let did = if self.dry_run {
                "would remove"
            } else {
                "removed"
            };
            print(&format!(
                "{did} {} images, {} layers, {} files, {} operations, {} orphans, and cut {} logs: {}\n",
                pruned.images.len(),
                pruned.layers,
                pruned.files,
                pruned.operations,
                pruned.orphans,
                pruned.logs,
                size(pruned.bytes)
            ))?;
            if !pruned.unrecorded_layers.is_empty() {
                super::super::output::print_message(format_args!(
                    "{} layers without a record were kept; `contree-mcp engine check` lists them",
                    pruned.unrecorded_layers.len()
                ));
            }
            for problem in &pruned.problems {
                super::super::output::print_message(problem);
            }
        }
        Ok(u8::from(!pruned.problems.is_empty()))
    }
}
