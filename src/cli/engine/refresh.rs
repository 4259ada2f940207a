//! `contree-mcp engine refresh-host`: makes a new image of this machine's programs.

use super::super::error::CommandError;
use super::super::output::{print, print_json};
use super::super::setup::Setup;
use super::super::units::size;
use crate::engine::refresh_host;

/// Copy this machine's programs into a new image, and move `tag:host` to it
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct RefreshHost {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl RefreshHost {
    pub(in crate::cli) fn run(&self, setup: &Setup) -> Result<u8, CommandError> {
        let refreshed = refresh_host(&super::config(setup)?)?;
        if self.json {
            let report = serde_json::to_value(&refreshed)?;
            print_json(&format!("{report:#}\n"))?;
        } else {
            let previous = match refreshed.previous {
                Some(image) => format!("; the previous image {image} stays until it is pruned"),
                None => String::new(),
            };
            print(&format!(
                "tag:host is now {} ({} files, {}){previous}\n",
                refreshed.image,
                refreshed.files,
                size(refreshed.bytes)
            ))?;
        }
        Ok(0)
    }
}
