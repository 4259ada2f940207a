//! The tasks of an init, and their parameters.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::compare::CompareBoot;
use super::spec::{FileCopy, Network, NewDirectory, PathChange, TemporaryLines};
use super::unpack::UnpackLimits;

/// The init's argv[0]. The constructor acts on this name together with a SOCK_SEQPACKET socket as
/// standard input.
pub(crate) const INIT_NAME: &str = "contree-sandbox-init";

/// The task of an init.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Boot {
    Sandbox(Box<SandboxBoot>),
    /// Serves a view. The lower directories are topmost first, relative to the store.
    View {
        lowers: Vec<PathBuf>,
        old_mount: bool,
    },
    /// Removes trees, given relative to the store.
    Remove {
        paths: Vec<PathBuf>,
    },
    Unpack(UnpackBoot),
    Squash(SquashBoot),
    /// Serves a comparison.
    Compare(CompareBoot),
    /// Makes only the user namespace and its map, to test whether that works.
    Probe,
}

/// A [`crate::SideFile`] without its content, which is passed as an open file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SideFileBoot {
    pub name: String,
    pub unless_exists: Vec<PathBuf>,
    pub mount_over: Option<PathBuf>,
    pub after: Vec<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UnpackBoot {
    /// The layers below, topmost first, relative to the store. Empty for the bottom of an image.
    pub lowers: Vec<PathBuf>,
    /// The directory to unpack into, relative to the store.
    pub target: PathBuf,
    pub limits: UnpackLimits,
    /// True if only root exists inside.
    pub single: bool,
    pub old_mount: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SquashBoot {
    /// The layers to merge, topmost first, relative to the store.
    pub layers: Vec<PathBuf>,
    /// The layers below them, topmost first, relative to the store.
    pub below: Vec<PathBuf>,
    /// The empty directory for the merged layer, relative to the store.
    pub target: PathBuf,
}

/// The user id of this machine to which the kernel charges resources of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ChargedUser {
    /// The engine's user, whose own programs the kernel charges to the same id.
    Engine,
    /// One of `count` ids from `first`, which no user of this machine has.
    Separate { first: u32, count: u32 },
}

impl ChargedUser {
    /// Returns true if nothing but the sandbox is charged to the id.
    pub(crate) fn is_exclusive(self) -> bool {
        matches!(self, Self::Separate { count, .. } if count > 1)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SandboxBoot {
    /// The engine's user namespace, as the link in /proc names it.
    pub user_namespace: PathBuf,
    pub charged_user: ChargedUser,
    /// The lower directories, topmost first, relative to the store.
    pub lowers: Vec<PathBuf>,
    /// The run directory, relative to the store.
    pub run: PathBuf,
    pub hostname: String,
    pub directories: Vec<NewDirectory>,
    pub changes: Vec<PathChange>,
    pub files: Vec<FileCopy>,
    /// The directory of side files, relative to the image's root.
    pub side_directory: String,
    pub side_files: Vec<SideFileBoot>,
    pub temporary_lines: Vec<TemporaryLines>,
    pub shared_memory_bytes: u64,
    /// The directory with the description of the machine for /sys, relative to the store.
    pub machine_view: Option<PathBuf>,
    pub network: Network,
    pub max_processes: u32,
    pub max_layer_bytes: Option<u64>,
    /// The number of passed files, at the end, through which the init joins control groups.
    pub control_group_files: usize,
    /// True if groups other than 0 exist inside.
    pub has_other_groups: bool,
    pub old_mount: bool,
    /// True if the init must test that the file system supports upper directories.
    pub probe_upper: bool,
}
