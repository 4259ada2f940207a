//! `contree-mcp engine`: the embedded engine as a server, and its data directory.

#[cfg(all(feature = "engine", target_os = "linux"))]
mod serve;

use super::start::Start;

/// Serve the embedded engine to other clients, and look after its data directory
#[derive(clap::Args, Debug)]
pub(super) struct Engine {
    #[command(subcommand)]
    #[cfg(all(feature = "engine", target_os = "linux"))]
    command: Command,
    /// What would be done, if there were an engine
    #[cfg(not(all(feature = "engine", target_os = "linux")))]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _command: Vec<String>,
}

/// One file a command.
#[cfg(all(feature = "engine", target_os = "linux"))]
#[derive(clap::Subcommand, Debug)]
enum Command {
    Serve(serve::Serve),
}

impl Engine {
    #[cfg(all(feature = "engine", target_os = "linux"))]
    pub(super) fn run(self, start: Start) -> Result<u8, String> {
        match self.command {
            Command::Serve(serve) => serve.run(start),
        }
    }

    #[cfg(not(all(feature = "engine", target_os = "linux")))]
    pub(super) fn run(self, _start: Start) -> Result<u8, String> {
        Err(super::doctor::NO_ENGINE.to_owned())
    }
}

/// The engine's settings, as options and environment have them.
#[cfg(all(feature = "engine", target_os = "linux"))]
fn config(start: &Start) -> Result<crate::engine::LocalConfig, String> {
    let config = start.local_config()?;
    super::network::warn(&config);
    Ok(config)
}
