//! `contree publish`: makes ports of running sandboxes reachable.

use clap::Args;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::rows::print_rows;
use crate::cli::output::print;
use crate::types::PublishedPort;

/// Make a port of a running sandbox reachable at 127.0.0.1, or list such ports
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree publish 1a2b3c 8000         prints the address; the system chooses the port
  contree publish 1a2b3c 8000 8080    at 127.0.0.1:8080 of the engine's machine
  contree publish 1a2b3c              lists the published ports

A port is reachable until the run ends. `contree run --publish PORT` publishes it from the start.")]
pub(in crate::cli) struct Publish {
    /// UUID of the run, the beginning of it, or @N
    #[arg(add = complete::values(Known::Running))]
    operation: String,
    /// TCP port of the sandbox
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Port of the engine's machine; default: the system chooses one
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    host_port: Option<u16>,
}

impl Publish {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let operation = cx.operation(&self.operation).await?;
        let run = cx.client.attach(operation);
        let Some(port) = self.port else {
            let ports = cx.client.published_ports(operation).await?;
            return show(cx, &ports);
        };
        let publish = run.publish_at(port, self.host_port);
        let published = cx.unless_interrupted(publish).await?;
        if cx.format.is_json() {
            return show(cx, &[published]);
        }
        print(&format!("{}\n", published.url))?;
        Ok(0)
    }
}

fn show(cx: &VerbContext, ports: &[PublishedPort]) -> Result<u8, VerbError> {
    print_rows(
        cx.format,
        ports,
        &[
            ("port", &|port: &PublishedPort| port.port.to_string()),
            ("address", &|port| port.url.clone()),
        ],
    )?;
    Ok(0)
}
