//! The embedded engine: the Contree API on this Linux machine, without account, daemon or container runtime.
//!
//! [`LocalEngine`] is an engine inside the process, on a private unix socket; [`Server`] is one that other processes reach.
//! It keeps images, files and records in a data directory that several processes may share.
//!
//! Inside, a request comes through `serve` to a route of `api`. It reads and changes what `engine` holds: records in `rows`,
//! layers in `contree-sandbox`. What takes time is an `operation`: a command in `run`, or an `import`. `image` looks into images,
//! `egress` is the network of sandboxes, and `upkeep` frees disk space.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![deny(rustdoc::broken_intra_doc_links)]

mod api;
mod blocking;
mod config;
mod data_directory;
mod egress;
mod engine;
mod error;
mod image;
mod import;
mod limits;
mod operation;
mod rows;
mod run;
mod serve;
mod upkeep;

pub use config::{LocalConfig, RETENTION_DAYS};
pub use contree_sandbox::{Check, CheckState, ControlGroups};
pub use contree_sqlite::DbError;
pub use egress::{EgressRule, EgressRuleError, NetworkMode};
pub use error::{EngineError, SettingError};
pub use serve::local::{LocalEngine, diagnose};
pub use serve::server::{Listen, ListenError, ServeConfig, Server};
pub use upkeep::{
    Counted, ImageUsage, LayersUsage, PruneOptions, Pruned, Refreshed, Usage, prune, refresh_host,
    usage,
};
