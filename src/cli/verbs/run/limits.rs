//! The limits and the network of one run.

use clap::Args;

use super::super::context::VerbContext;
use super::super::error::VerbError;
use crate::cli::number;
use crate::cli::units::parse_size;
use crate::{Changes, Command};

/// The options that limit a run.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct RunLimits {
    /// Memory of the sandbox, such as 512m or 2g
    #[arg(long, short_alias = 'm', value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
    /// Processors that the sandbox may use, such as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = number::processors)]
    cpus: Option<f64>,
    /// Processes and threads of the sandbox
    #[arg(long, value_name = "N", value_parser = number::positive)]
    processes: Option<u64>,
    /// `none` for no network
    #[arg(
        long, id = "network", value_name = "none|default", hide_possible_values = true,
        value_parser = ["none", "default", "proxy", "host"]
    )]
    network: Option<String>,
    /// Allow connections to this host alone; repeatable
    #[arg(long, value_name = "HOST[:PORT]")]
    allow_host: Vec<String>,
}

impl RunLimits {
    /// Adds later limits, which replace earlier ones.
    pub(super) fn add(&mut self, later: Self) {
        self.memory = later.memory.or(self.memory);
        self.cpus = later.cpus.or(self.cpus);
        self.processes = later.processes.or(self.processes);
        self.network = later.network.or(self.network.take());
        self.allow_host.extend(later.allow_host);
    }

    /// Checks the options between an image and `--`, which cannot change the engine's settings.
    ///
    /// # Errors
    /// A network of the engine.
    pub(super) fn check_later(&self) -> Result<(), VerbError> {
        match self.network.as_deref() {
            Some(mode @ ("proxy" | "host")) => Err(VerbError::Usage(format!(
                "--network {mode} is a setting of the engine; give it before the image"
            ))),
            _ => Ok(()),
        }
    }

    /// Applies the limits to a command.
    ///
    /// # Errors
    /// If the backend cannot limit single runs, or the limits contradict each other.
    pub(super) async fn apply<C: Changes>(
        &self,
        cx: &VerbContext,
        mut command: Command<C>,
    ) -> Result<Command<C>, VerbError> {
        let has_limits = self.memory.is_some() || self.cpus.is_some() || self.processes.is_some();
        if has_limits && !cx.client.has_extension("limits").await? {
            return Err(VerbError::Usage(
                "this service cannot limit memory, processors or processes of one run; leave --memory, --cpus and --processes out"
                    .to_owned(),
            ));
        }
        if let Some(bytes) = self.memory {
            command = command.max_memory(bytes);
        }
        if let Some(cpus) = self.cpus {
            command = command.max_cpus(cpus);
        }
        if let Some(count) = self.processes {
            command = command.max_processes(count);
        }
        let has_network = self.network.as_deref() != Some("none");
        if !has_network && !self.allow_host.is_empty() {
            return Err(VerbError::Usage(
                "--allow-host and --network none exclude each other; leave one of them out"
                    .to_owned(),
            ));
        }
        if !has_network {
            command = command.network(false);
        }
        Ok(command.allow_hosts(&self.allow_host))
    }
}
