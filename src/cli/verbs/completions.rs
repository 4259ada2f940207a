//! `contree completions`: the script with which a shell completes commands.

use std::path::Path;

use clap::Args;
use clap_complete::env::Shells;

use super::error::VerbError;
use crate::cli::output::print;

/// The variable with which the script asks this program for completions.
pub(in crate::cli) const COMPLETE_VARIABLE: &str = "CONTREE_COMPLETE";

/// Print the script with which a shell completes commands, tags and operations
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  source <(contree completions bash)                                 in ~/.bashrc
  contree completions fish > ~/.config/fish/completions/contree.fish")]
pub(in crate::cli) struct Completions {
    /// bash, elvish, fish, powershell or zsh
    shell: String,
}

impl Completions {
    pub(super) fn run(&self) -> Result<u8, VerbError> {
        let shells = Shells::builtins();
        let Some(shell) = shells.completer(&self.shell) else {
            let names: Vec<&str> = shells.names().collect();
            return Err(VerbError::Usage(format!(
                "there is no script for `{}`; give one of {}",
                self.shell,
                names.join(", ")
            )));
        };
        // A program that is not found by its name is called by its path.
        let own = std::env::args_os().next();
        let own = own.map_or_else(
            || "contree".to_owned(),
            |own| own.to_string_lossy().into_owned(),
        );
        let completer = match Path::new(&own).components().count() {
            1 => own,
            _ => std::path::absolute(&own)
                .map_err(VerbError::file(&own))?
                .to_string_lossy()
                .into_owned(),
        };
        let mut script = Vec::new();
        shell
            .write_registration(
                COMPLETE_VARIABLE,
                "contree",
                "contree",
                &completer,
                &mut script,
            )
            .map_err(VerbError::file(&completer))?;
        print(&String::from_utf8_lossy(&script))?;
        Ok(0)
    }
}
