//! The embedded engine: the Contree API on this Linux machine, without account, daemon or container runtime.
//!
//! [`LocalEngine`] is an engine inside the process, on a private unix socket; [`Server`] is one that other processes reach.
//! It keeps images, files and records in a data directory that several processes may share.
//!
//! Inside, a request goes `routes` -> `state` (records in `rows`, layers in `contree-sandbox`) and a command through
//! `runner`, which writes its `events`; `recover` looks after what other processes left.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![deny(rustdoc::broken_intra_doc_links)]

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
pub use contree_sandbox::{Check, ControlGroups, State};
pub use egress::{EgressRule, EgressRuleError};
pub use error::EngineError;
pub use local::{LocalEngine, diagnose};
pub use server::{Listen, ServeConfig, Server};
pub use upkeep::{
    Counted, ImageUsage, LayersUsage, PruneOptions, Pruned, RETENTION_DAYS, Refreshed, Usage,
    prune, refresh_host, usage,
};

/// `PATH` of a command whose image and request give none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why operations are CANCELLED that run when their engine is stopped.
const STOPPED: &str = "the engine that ran this operation was stopped";
