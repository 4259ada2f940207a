//! `contree-mcp engine serve`: serves the engine to any client of the API.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::super::error::CommandError;
use super::super::home_path::home_path;
use super::super::process::ProcessError;
use super::super::setup::Setup;
use super::super::{output, signals, token_file};
use crate::engine::{Listen, ServeConfig, Server};

/// Serve the embedded engine to any Contree client, until SIGINT or SIGTERM
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Clients take the address as their URL, for instance CONTREE_URL=http://127.0.0.1:8080 with the token in CONTREE_TOKEN. \
Beyond loopback, a token is required. Examples: `--listen 127.0.0.1:0`, `--listen unix:/run/contree.sock`. Put a TLS proxy in front: this server does not encrypt the token.")]
pub(in crate::cli) struct Serve {
    /// Address to listen on; port 0 chooses a free one
    #[arg(
        long,
        value_name = "HOST:PORT|unix:PATH",
        default_value = "127.0.0.1:8080"
    )]
    listen: Listen,
    /// File with the token that clients must send; required beyond loopback
    #[arg(long, value_name = "FILE", value_parser = home_path())]
    token_file: Option<PathBuf>,
    /// Another host name under which clients reach the server; repeatable
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Number of commands that may run at once; further ones wait
    #[arg(long, value_name = "N")]
    max_concurrency: Option<std::num::NonZeroUsize>,
    /// Let clients import images from this machine's files (oci-layout:, docker-archive:, rootfs:),
    /// read with this program's rights
    #[arg(long)]
    allow_local_imports: bool,
}

impl Serve {
    pub(in crate::cli) fn run(self, setup: Setup) -> Result<u8, CommandError> {
        if let Some(option) = setup.options.tools_only_option() {
            return Err(CommandError::ToolsOnlyOption(option));
        }
        let mut config = super::config(&setup)?;
        if let Some(limit) = self.max_concurrency {
            config.max_concurrency = limit.get();
        }
        let mut serve = ServeConfig::new(self.listen);
        serve.allow_hosts = self.allow_host;
        serve.local_imports = self.allow_local_imports;
        if let Some(path) = &self.token_file {
            serve.token = Some(token_file::read_engine_token(path)?);
        }
        contree_engine::ControlGroups::enter(true);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("contree-engine")
            .enable_all()
            .build()
            .map_err(ProcessError::Runtime)?;
        let served = contree_tasks::block_on(&runtime, async {
            let stop = CancellationToken::new();
            let stop_on_signal = stop.clone();
            // Registered before the server listens, since a client that sees the address may send a
            // signal at once.
            signals::on_end(move |_| stop_on_signal.cancel())?;
            let server = Server::start(&config, &serve).await?;
            output::print_message(format_args!(
                "serving {} on {}{}",
                config.data_dir.display(),
                server.address(),
                if serve.token.is_some() {
                    ", with a token"
                } else {
                    ""
                },
            ));
            server.run(stop.cancelled_owned()).await?;
            Ok::<_, CommandError>(())
        });
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        served.map(|()| 0)
    }
}
