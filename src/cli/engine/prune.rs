//! `contree-mcp engine prune`: removing what nobody needs any more.

use super::super::error::CommandError;
use super::super::output::print;
use super::super::setup::Setup;
use super::size;
use crate::engine::{PruneOptions, RETENTION_DAYS, prune};

/// Remove images without a tag, uploaded files and logs that were not used for long, and what crashes left
#[derive(clap::Args, Debug)]
#[command(after_help = "\
What a running operation uses stays, and so do images with a tag and everything that they are built upon. \
Engines do this by themselves once a day; CONTREE_RETENTION_DAYS says after how many days, 0 is never.")]
pub(in crate::cli) struct Prune {
    /// Not used for so many days
    #[arg(long, value_name = "DAYS", default_value_t = RETENTION_DAYS)]
    older_than: u32,
    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Prune {
    pub(super) fn run(&self, setup: &Setup) -> Result<u8, CommandError> {
        let config = super::config(setup)?;
        let mut options = PruneOptions::new(self.older_than);
        options.dry_run = self.dry_run;
        let pruned = prune(&config, options)?;
        if self.json {
            let report = serde_json::to_value(&pruned)?;
            print(&format!("{report:#}\n"))?;
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
            for problem in &pruned.problems {
                super::super::output::say(problem);
            }
        }
        Ok(u8::from(!pruned.problems.is_empty()))
    }
}
