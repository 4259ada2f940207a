//! The embedded engine: the Contree API on this Linux machine, without account, daemon or container
//! runtime.
//!
//! [`LocalEngine`] is an engine inside the process, on a private unix socket. [`Server`] is one for
//! other processes. Images, files and records are in a data directory that several processes may
//! share.
//!
//! The modules:
//!
//! - `serve` accepts connections and passes requests to the routes of `api`;
//! - `engine` holds the state that routes use: records (`rows`) and layers (`contree-sandbox`);
//! - `operation` queues, executes and records work that takes time: `run` executes commands, and
//!   `import` imports images;
//! - `image` reads and squashes images;
//! - `layer_note` writes beside each layer what is needed to rebuild its record;
//! - `egress` is the network of sandboxes, and `ports` publishes their ports on this machine;
//! - `upkeep` reports and frees disk space, and rebuilds lost records; `reserve` is the space that
//!   it needs on a full disk.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![deny(rustdoc::broken_intra_doc_links)]

mod api;
mod blocking;
mod config;
mod data_directory;
mod descriptors;
mod egress;
mod engine;
mod error;
mod image;
mod import;
mod layer_note;
mod limits;
mod operation;
mod ports;
mod push;
mod reserve;
mod rows;
mod run;
mod serve;
mod shared_memory;
mod unrecorded_layers;
mod upkeep;

pub use config::{LocalConfig, RETENTION_DAYS};
pub use contree_sandbox::{Check, CheckState, ControlGroups};
pub use contree_sqlite::DatabaseError;
pub use egress::{EgressRule, EgressRuleError, NetworkMode, TransparentNetwork};
pub use error::{EngineError, SettingError};
#[doc(hidden)]
pub use serve::local::wait_for_stopped;
pub use serve::local::{LocalEngine, diagnose};
pub use serve::server::{Listen, ListenError, ServeConfig, Server};
pub use shared_memory::SharedMemorySize;
pub use upkeep::{
    FilesUsage, HostImageRefresh, ImageUsage, LayersUsage, MissingLayer, PruneOptions, Pruned,
    Rebuilt, StoreCheck, UnrecordedImage, UnrecordedLayer, Usage, check_store, prune, refresh_host,
    usage,
};
