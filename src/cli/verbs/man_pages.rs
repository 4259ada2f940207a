//! `contree man-pages`: writes the manual pages, for packages.

use std::path::PathBuf;

use clap::{Args, Command};

use super::error::VerbError;

/// Write the manual pages into a directory
#[derive(Args, Debug)]
pub(in crate::cli) struct ManPages {
    /// An existing directory
    directory: PathBuf,
}

impl ManPages {
    pub(super) fn run(&self, command: Command) -> Result<u8, VerbError> {
        clap_mangen::generate_to(command, &self.directory)
            .map_err(VerbError::file(&self.directory))?;
        Ok(0)
    }
}
