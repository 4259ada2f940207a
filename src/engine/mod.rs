//! The embedded engine: the Contree API on this Linux machine, without account, daemon or container runtime.
//!
//! [`Client::local`](crate::Client::local) starts it inside the process and connects a client to it; the engine stops
//! with the client's last clone. It keeps images, files and records in a data directory that several processes may share.
//!
//! ```
//! use contree::{Client, engine::LocalConfig, types};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let client = Client::local(LocalConfig::new(folder.path().join("data"))).await?;
//! let request = types::InstanceSpawnRequest::builder()
//!     .image("tag:host".parse::<contree::ImageRef>()?)
//!     .command("echo $((6 * 7)) | tee /answer")
//!     .shell(true);
//! let outcome = client.run(request.try_into()?).await?;
//! assert_eq!(outcome.stdout.bytes, b"42\n");
//!
//! // What the command left is an image; nothing has to run to look into it.
//! let image = outcome.result_image.expect("the command wrote a file");
//! let listing = client.inspect_image_file().image_uuid(image).path("/").send().await?;
//! assert!(listing.files.iter().any(|file| file.path == "answer"));
//! # Ok(())
//! # }
//! ```
//!
//! Inside, a request goes `routes` -> `state` (records in `rows`, layers in `contree-sandbox`) and a command through
//! `runner`, which writes its `events`; `recover` looks after what other processes left.

mod access;
mod archive;
mod config;
mod drain;
mod egress;
mod error;
mod events;
mod host;
mod import;
mod instance;
mod keep;
mod lifecycle;
mod limits;
mod local;
mod outflow;
mod pax;
mod postscript;
mod queue;
mod recover;
mod report;
mod request;
mod routes;
mod rows;
mod runner;
mod running;
mod search;
mod server;
mod service;
mod signals;
mod socket;
mod squash;
mod state;
mod streams;
mod times;
mod upkeep;
mod views;

pub use config::{LocalConfig, NetworkMode};
pub use contree_sandbox::{Check, State};
pub use egress::{EgressRule, EgressRuleError};
pub use error::EngineError;
pub use local::diagnose;
pub use server::{Listen, ServeConfig, Server};
pub use upkeep::{
    Counted, ImageUsage, LayersUsage, PruneOptions, Pruned, RETENTION_DAYS, Refreshed, Usage,
    prune, refresh_host, usage,
};

/// `PATH` of a command whose image and request give none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why operations are CANCELLED that run when their engine is stopped.
const STOPPED: &str = "the engine that ran this operation was stopped";
