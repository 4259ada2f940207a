//! Namespaces, overlay layers and a hardened pid 1: sandboxes for commands on immutable images.
//!
//! A [`LayerStore`] keeps the layers of images in a directory, a [`Sandbox`] runs commands on a chain of them, and a [`View`] looks into a
//! chain without running anything of it; [`diagnose`] says whether and why not. All calls block. No program besides the caller's is
//! needed: a process that links this crate starts itself again as the sandbox's init. What holds a sandbox, and what is not held, is in
//! `docs/sandbox.md`. Linux only; elsewhere the crate is empty.
//!
//! ```no_run
//! use contree_sandbox::{Command, LayerId, LayerStore, Limits, Network, Sandbox, SandboxSpec, StoreOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = LayerStore::open("/var/tmp/layers".as_ref(), StoreOptions::default())?;
//! // The bottom of an image: this machine's own programs.
//! store.stage_host_layer(LayerId(1))?;
//!
//! let run = store.create_run("first")?;
//! let spec = SandboxSpec {
//!     layers: vec![LayerId(1)],
//!     hostname: "box".into(),
//!     directories: vec![],
//!     places: vec![],
//!     side_files: vec![],
//!     network: Network::Loopback,
//!     max_processes: 1000,
//!     max_layer_bytes: None,
//!     limits: Limits::default(),
//! };
//! let sandbox = Sandbox::start(&store, &run, &spec)?;
//! let process = sandbox.exec(&Command {
//!     program: "sh".into(),
//!     args: vec!["-c".into(), "echo hello > /greeting".into()],
//!     env: vec![("PATH".into(), "/usr/bin:/bin".into())],
//!     cwd: "/".into(),
//!     uid: 0,
//!     gid: 0,
//! })?;
//! assert_eq!(process.exit.blocking_recv()?.code, Some(0));
//!
//! // What it wrote becomes a layer on top; the one below is as it was.
//! if sandbox.finish(true)?.changed == Some(true) {
//!     store.commit(&run, LayerId(2))?;
//! }
//! store.remove_run(run.name())?;
//! # Ok(())
//! # }
//! ```
#![cfg(target_os = "linux")]
#![warn(clippy::undocumented_unsafe_blocks)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

// From the ground up:
// - `os` wraps the kernel, `tar` reads archives, `options` is what the caller chooses.
// - `protocol` is the data that the engine and the init exchange.
// - `ids`, `cgroup`, `host_root`, `store` and `init` do their parts. None of them starts an init.
// - `launch` starts it. `error` is the sum of the errors up to here.
// - `layers` joins the store with `launch`. `sandbox`, `view` and `unpacking` stand on both.
mod cgroup;
mod diagnose;
mod error;
pub mod host_root;
mod ids;
mod init;
mod launch;
mod layers;
mod options;
mod os;
mod protocol;
mod sandbox;
mod spec_check;
mod store;
pub mod tar;
mod unpacking;
mod view;
mod walk;

pub use cgroup::control_groups::ControlGroups;
pub use diagnose::{Check, State, diagnose};
pub use error::Error;
pub use host_root::{HostError, HostReport};
pub use ids::{IdMap, MapKind};
pub use launch::error::LaunchError;
pub use launch::unavailable::Unavailable;
pub use layers::LayerStore;
pub use options::StoreOptions;
pub use os::error::OsError;
pub use os::limits::raise_descriptor_limit;
pub use os::usage::Usage;
pub use protocol::entry::{Entry, Item, Kind};
pub use protocol::spec::{
    Command, Content, Exit, Finished, LayerId, Limits, MakeDir, Network, Place, Process,
    SandboxSpec, SideFile,
};
pub use protocol::step::Step;
pub use protocol::unpacked::{UnpackLimits, Unpacked};
pub use protocol::wire::WireError;
pub use sandbox::Sandbox;
pub use store::error::StoreError;
pub use store::runs::RunDir;
pub use unpacking::Unpacking;
pub use view::{View, ViewError};
pub use walk::Walk;
