//! `contree-mcp engine`: serves the embedded engine, and maintains its data directory.

#[cfg(all(feature = "engine", target_os = "linux"))]
mod check;
#[cfg(all(feature = "engine", target_os = "linux"))]
mod df;
#[cfg(all(feature = "engine", target_os = "linux"))]
mod disk_usage;
#[cfg(all(feature = "engine", target_os = "linux"))]
mod prune;
#[cfg(all(feature = "engine", target_os = "linux"))]
mod refresh;
#[cfg(all(feature = "engine", target_os = "linux"))]
mod serve;

use super::error::CommandError;
use super::setup::Setup;
#[cfg(all(feature = "engine", target_os = "linux"))]
pub(super) use {df::Df, disk_usage::disk_usage_reader, prune::Prune, serve::Serve};

/// Serve the embedded engine to other clients, and maintain its data directory
#[derive(clap::Args, Debug)]
pub(super) struct Engine {
    #[command(subcommand)]
    #[cfg(all(feature = "engine", target_os = "linux"))]
    command: Command,
    /// Any arguments, so that the error names the missing engine
    #[cfg(not(all(feature = "engine", target_os = "linux")))]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _command: Vec<String>,
}

/// The subcommands, with one file each.
#[cfg(all(feature = "engine", target_os = "linux"))]
#[derive(clap::Subcommand, Debug)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Df(df::Df),
    Prune(prune::Prune),
    RefreshHost(refresh::RefreshHost),
}

impl Engine {
    #[cfg(all(feature = "engine", target_os = "linux"))]
    pub(super) fn run(self, setup: Setup) -> Result<u8, CommandError> {
        match self.command {
            Command::Serve(serve) => serve.run(setup),
            Command::Check(check) => check.run(&setup),
            Command::Df(df) => df.run(&setup),
            Command::Prune(prune) => prune.run(&setup),
            Command::RefreshHost(refresh) => refresh.run(&setup),
        }
    }

    #[cfg(not(all(feature = "engine", target_os = "linux")))]
    pub(super) fn run(self, _setup: Setup) -> Result<u8, CommandError> {
        Err(CommandError::NoEngine)
    }
}

/// The engine's settings, from options and environment.
#[cfg(all(feature = "engine", target_os = "linux"))]
fn config(setup: &Setup) -> Result<crate::engine::LocalConfig, CommandError> {
    let config = setup.local_config()?;
    super::network::warn(&config);
    Ok(config)
}

/// The name of a subcommand, as the running program has it: `contree` has verbs for some.
#[cfg(all(feature = "engine", target_os = "linux"))]
fn verb(name: &str) -> String {
    match super::output::program() {
        "contree" => format!("contree {name}"),
        program => format!("{program} engine {name}"),
    }
}
