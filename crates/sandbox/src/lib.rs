//! Namespaces, overlay layers and a hardened pid 1: sandboxes for commands on immutable images.
//!
//! A [`LayerStore`] keeps the layers of images in a directory. A [`Sandbox`] runs commands on a
//! chain of layers. A [`View`] reads files of a chain without running anything from it, and a
//! [`Comparison`] finds the files that differ between two chains.
//! [`diagnose`] reports whether this machine can run sandboxes, and if not, why.
//!
//! All calls block. No program besides the caller's is needed: a process that links this crate
//! starts itself again as the sandbox's init. `docs/sandbox.md` lists what a sandbox isolates and
//! what it does not. The crate is for Linux only; elsewhere it is empty.
//!
//! ```no_run
//! use contree_sandbox::{
//!     Command, LayerId, LayerStore, Limits, Network, Sandbox, SandboxSpec, StoreOptions,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = LayerStore::open("/var/tmp/layers".as_ref(), StoreOptions::default())?;
//! // The bottom layer of an image: this machine's own programs.
//! store.stage_host_layer(LayerId(1))?;
//!
//! let run = store.create_run("first")?;
//! let spec = SandboxSpec {
//!     layers: vec![LayerId(1)],
//!     hostname: "box".into(),
//!     directories: vec![],
//!     changes: vec![],
//!     files: vec![],
//!     side_files: vec![],
//!     temporary_lines: vec![],
//!     shared_memory_bytes: 64 << 20,
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
//!     default_home: None,
//!     cwd: "/".into(),
//!     uid: 0,
//!     gid: 0,
//! })?;
//! assert_eq!(process.exit.blocking_recv()?.code, Some(0));
//!
//! // Its files become a layer on top; the layer below stays unchanged.
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

// The modules, lowest first:
// - `os` wraps the kernel, `tar` reads archives, and `options` holds the caller's choices.
// - `protocol` defines the data that the engine and the init exchange.
// - `ids`, `cgroup`, `host_root`, `store` and `init` each do one part. None of them starts an init.
// - `launch` starts the init. `error` combines the errors of the modules above.
// - `error_code` gives every error its code.
// - `layers` joins `store` with `launch`. `sandbox`, `view`, `compare`, `pack_task` and
//   `unpack_task` use both.
mod cgroup;
mod compare;
mod diagnose;
mod error;
mod error_code;
pub mod host_root;
mod ids;
mod init;
mod launch;
mod layer_error;
mod layers;
mod options;
mod os;
mod pack_task;
mod packet;
mod protocol;
mod sandbox;
mod spec_check;
mod store;
pub mod tar;
mod unpack_task;
mod view;
mod walk;

pub use cgroup::control_groups::ControlGroups;
pub use cgroup::group::ReachedMemoryLimit;
pub use compare::{ComparedLayers, Comparison};
pub use diagnose::{Check, CheckState, diagnose};
pub use error::Error;
pub use host_root::{HostError, HostReport};
pub use ids::{IdMap, MapKind};
pub use launch::error::LaunchError;
pub use launch::unavailable::Unavailable;
pub use layers::LayerStore;
pub use options::StoreOptions;
pub use os::error::OsError;
pub use os::limits::{descriptor_limit, raise_descriptor_limit};
pub use os::terminal::{Terminal, TerminalSize};
pub use os::usage::Usage;
pub use pack_task::PackTask;
pub use packet::{InterceptedPackets, PacketSocket};
pub use protocol::compare::{ComparedSide, Difference};
pub use protocol::entry::{Entry, EntryKind, WalkEntry};
pub use protocol::pack::PackReport;
pub use protocol::spec::{
    Command, Exit, FileCopy, LayerId, Limits, LineFormat, Network, NewDirectory, PathChange,
    PathChangeKind, Process, SandboxOutcome, SandboxSpec, SideFile, SideFileContent,
    TemporaryLines, TerminalProcess,
};
pub use protocol::step::Step;
pub use protocol::unpack::{UnpackLimits, UnpackReport};
pub use protocol::wire::WireError;
pub use sandbox::{Sandbox, SandboxUse};
pub use store::error::StoreError;
pub use store::runs::{RunDir, RunHolder};
pub use unpack_task::UnpackTask;
pub use view::{View, ViewError};
pub use walk::Walk;
