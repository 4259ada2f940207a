//! `contree-mcp engine serve`: the engine for any client of the API.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::super::error::CommandError;
use super::super::process::ProcessError;
use super::super::setup::Setup;
use super::super::{output, signals, token_file};
use crate::engine::{Listen, ServeConfig, Server};

/// Serve the embedded engine to any Contree client, until SIGINT or SIGTERM
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Clients take the address as their URL, for instance CONTREE_URL=http://127.0.0.1:8080 with the token in CONTREE_TOKEN. \
Beyond loopback a token is needed, and a proxy for TLS: the token is sent as it is.")]
pub(in crate::cli) struct Serve {
    /// Where to listen; port 0 is any that is free
    #[arg(long, value_name = "HOST:PORT|unix:PATH")]
    listen: Listen,
    /// A file with the token that clients must send; needed beyond loopback
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A further name that clients may call this server by; may be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// How many commands may run at once; further ones wait
    #[arg(long, value_name = "N")]
    max_concurrency: Option<std::num::NonZeroUsize>,
    /// Let clients import images from this machine's files (oci-layout:, docker-archive:, rootfs:), read with this program's rights
    #[arg(long)]
    allow_local_imports: bool,
}

impl Serve {
    pub(super) fn run(self, setup: Setup) -> Result<u8, CommandError> {
        if let Some(option) = setup.options.for_tools_only() {
            return Err(CommandError::OptionOfTools(option));
        }
        let mut config = super::config(&setup)?;
        if let Some(most) = self.max_concurrency {
            config.max_concurrency = most.get();
        }
        let mut serve = ServeConfig::new(self.listen);
        serve.allow_hosts = self.allow_host;
        serve.local_imports = self.allow_local_imports;
        if let Some(path) = &self.token_file {
            serve.token = Some(token_file::of_engine(path)?);
        }
        contree_engine::ControlGroups::enter(true);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("contree-engine")
            .enable_all()
            .build()
            .map_err(ProcessError::Runtime)?;
        let served = runtime.block_on(async {
            let stop = CancellationToken::new();
            let asked = stop.clone();
            // Before anything is listened on: whoever sees the address may send the signal at once.
            signals::on_end(move |_| asked.cancel())?;
            let server = Server::start(&config, &serve).await?;
            output::say(format_args!(
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
