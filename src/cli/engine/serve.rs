//! `contree-mcp engine serve`: the engine for any client of the API.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::super::http::warn_if_shared;
use super::super::start::Start;
use super::super::{live, signals};
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
    pub(super) fn run(self, start: Start) -> Result<u8, String> {
        if let Some(option) = start.options.for_tools_only() {
            return Err(format!(
                "{option} means nothing to `engine serve`, which serves the whole API of the embedded engine to whoever may connect: leave it out"
            ));
        }
        let mut config = super::config(&start)?;
        if let Some(most) = self.max_concurrency {
            config.max_concurrency = most.get();
        }
        let mut serve = ServeConfig::new(self.listen);
        serve.allow_hosts = self.allow_host;
        serve.local_imports = self.allow_local_imports;
        if let Some(path) = &self.token_file {
            serve.token = Some(read_token(path)?);
        }
        contree_engine::ControlGroups::enter(true);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("contree-engine")
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start the runtime: {error}"))?;
        let served = runtime.block_on(async {
            let stop = CancellationToken::new();
            let asked = stop.clone();
            // Before anything is listened on: whoever sees the address may send the signal at once.
            signals::on_end(move |_| asked.cancel())?;
            let server = Server::start(&config, &serve)
                .await
                .map_err(|error| error.to_string())?;
            live::say(format_args!(
                "serving {} on {}{}",
                config.data_dir.display(),
                server.address(),
                if serve.token.is_some() {
                    ", with a token"
                } else {
                    ""
                },
            ));
            server
                .run(stop.cancelled_owned())
                .await
                .map_err(|error| error.to_string())
        });
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        served.map(|()| 0)
    }
}

/// Reads a token, and warns if others can.
fn read_token(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let failed = |error| format!("cannot read the token file {shown}: {error}");
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let token = text.trim();
    if token.is_empty() {
        return Err(format!(
            "the token file {shown} is empty; write a long random token into it, for instance with `openssl rand -hex 32`"
        ));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "the token in {shown} must be one word of visible ASCII characters, as a header carries it"
        ));
    }
    warn_if_shared(path).map_err(failed)?;
    Ok(token.to_owned())
}
