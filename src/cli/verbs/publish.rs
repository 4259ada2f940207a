//! `contree publish`: makes ports of running sandboxes reachable.

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::image_name::short;
use super::rows::print_rows;
use crate::OperationStatus;
use crate::cli::number;
use crate::cli::output::{print, print_message};
use crate::types::PublishedPort;

/// Make a port of a running sandbox reachable at 127.0.0.1, or list such ports
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree publish 1a2b3c 8000         prints the address; the system chooses the port
  contree publish 1a2b3c 8000 8080    at 127.0.0.1:8080 of the engine's machine
  contree publish                     lists the published ports of all runs; with 1a2b3c, of that one

A port is reachable until the run ends. `contree run --publish PORT` publishes it from the start.")]
pub(in crate::cli) struct Publish {
    /// UUID of the run, the beginning of it, or @N; @ is the last run of the session
    #[arg(add = complete::values(Known::Running))]
    operation: Option<String>,
    /// TCP port of the sandbox
    #[arg(value_parser = number::port)]
    port: Option<u16>,
    /// Port of the engine's machine; default: the system chooses one
    #[arg(value_parser = number::port)]
    host_port: Option<u16>,
}

/// A published port of one of all runs, as JSON.
#[derive(Serialize)]
struct PortOfRun {
    operation_uuid: Uuid,
    #[serde(flatten)]
    published: PublishedPort,
}

impl Publish {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let Some(operation) = &self.operation else {
            return show_all(cx).await;
        };
        let operation = cx.operation(operation).await?;
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

/// Lists the published ports of all runs.
async fn show_all(cx: &VerbContext) -> Result<u8, VerbError> {
    let mut ports = Vec::new();
    for run in cx.active_operations().await? {
        if run.status != OperationStatus::Executing {
            continue;
        }
        let published = match cx.client.published_ports(run.id).await {
            Ok(published) => published,
            // The run has ended meanwhile, or it has not begun, or it is an import.
            Err(error)
                if error
                    .status()
                    .is_some_and(|status| status.is_client_error()) =>
            {
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        ports.extend(published.into_iter().map(|published| PortOfRun {
            operation_uuid: run.id,
            published,
        }));
    }
    print_rows(
        cx.format,
        &ports,
        &[
            ("operation", &|port: &PortOfRun| short(&port.operation_uuid)),
            ("port", &|port| port.published.port.to_string()),
            ("address", &|port| port.published.url.clone()),
        ],
    )?;
    if ports.is_empty() && !cx.format.is_json() {
        print_message("no port is published; `contree publish OPERATION PORT` publishes one");
    }
    Ok(0)
}
