//! What an init is started for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::spec::{MakeDir, Network, Place};
use super::unpacked::UnpackLimits;

/// argv[0] of the init; with a SOCK_SEQPACKET socket as its standard input it is what the constructor acts on.
pub(crate) const INIT_NAME: &str = "contree-sandbox-init";

/// What the init is for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Boot {
    Sandbox(Box<SandboxBoot>),
    /// Lower directories, the topmost first, relative to the store.
    View {
        lowers: Vec<PathBuf>,
        old_mount: bool,
    },
    /// Trees to remove, relative to the store.
    Remove {
        paths: Vec<PathBuf>,
    },
    Unpack(UnpackBoot),
    Squash(SquashBoot),
    /// Only the user namespace and its map, to see whether they can be had.
    Probe,
}

/// A [`crate::SideFile`] but its content, which comes as an open file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SideBoot {
    pub name: String,
    pub unless: Vec<PathBuf>,
    pub over: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UnpackBoot {
    /// The layers below, the topmost first, relative to the store; none for the bottom of an image.
    pub lowers: Vec<PathBuf>,
    /// The directory to unpack into, relative to the store.
    pub target: PathBuf,
    pub limits: UnpackLimits,
    /// Whether only root exists inside.
    pub single: bool,
    pub old_mount: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SquashBoot {
    /// The layers to make one of, the topmost first, relative to the store.
    pub layers: Vec<PathBuf>,
    /// What lies below them.
    pub below: Vec<PathBuf>,
    /// The empty directory to make it in, relative to the store.
    pub target: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SandboxBoot {
    /// The engine's user namespace, as /proc names it.
    pub user_namespace: PathBuf,
    /// Lower directories, the topmost first, relative to the store.
    pub lowers: Vec<PathBuf>,
    /// The run directory, relative to the store.
    pub run: PathBuf,
    pub hostname: String,
    pub directories: Vec<MakeDir>,
    pub places: Vec<Place>,
    /// Where the side files are, from the root.
    pub side_directory: String,
    pub side_files: Vec<SideBoot>,
    pub network: Network,
    pub max_processes: u32,
    pub max_layer_bytes: Option<u64>,
    /// How many of the files that come last lead into control groups.
    pub group_doors: usize,
    /// Whether groups other than 0 exist inside.
    pub groups: bool,
    pub old_mount: bool,
    /// Whether to find out if the writable layer's file system takes extended attributes.
    pub probe_upper: bool,
}
