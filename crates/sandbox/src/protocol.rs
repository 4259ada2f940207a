//! What the engine and the init say to each other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::spec::{Exit, MakeDir, Network, Place, Usage};
use crate::step::Step;
use crate::unpack::{UnpackLimits, Unpacked};
use crate::view::Entry;
use crate::walk::Item;
use crate::wire::text;

/// argv[0] of the init; with a SOCK_SEQPACKET socket as its standard input it is what the constructor acts on.
pub(crate) const NAME: &str = "contree-sandbox-init";

/// From the engine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// With the store's directory and a [`Boot`], and the contents of a sandbox's side files. Only ever sent after [`Reply::Hello`].
    Boot,
    /// The map is written.
    Mapped,
    /// With a [`crate::Command`].
    Exec { id: u32 },
    /// To the process group of a command.
    Signal {
        request: u32,
        process: u32,
        signal: i32,
    },
    /// Everything but pid 1.
    KillAll { request: u32 },
    /// Kill everything, and leave.
    Finish,
    /// To the first stage, when the tree is gone.
    Inspect,
    /// With the stream that an archive comes through.
    Unpack,
    /// To a view.
    Look {
        how: Look,
        #[serde(with = "text::path")]
        path: PathBuf,
    },
    /// To a view: begins a walk in place of the one before. Answered like [`Look::Follow`]; there is only something to
    /// walk if that is a directory.
    Walk {
        #[serde(with = "text::path")]
        path: PathBuf,
    },
    /// To a view: the next entries of the walk. `enter` is about the directory that the entries before ended with.
    Next { enter: bool },
    /// To a view: opens regular files among the entries that it answered last, by their places.
    Take { which: Vec<usize> },
}

/// From the init.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// It is our init, and not some other program that was started by mistake.
    Hello,
    /// The user namespace waits for its map.
    NeedMap,
    /// The view is set up, or the errand is done.
    Ready,
    /// The sandbox is set up; with its listener, if it was to have one.
    Up {
        /// Which side files there are, by their place in the request.
        side_files: Vec<usize>,
    },
    /// Setting up failed.
    Failed(Failure),
    /// With the engine's ends of the three standard streams.
    Started { id: u32, pid: i32 },
    /// The command could not be started.
    NotStarted { id: u32, step: Step, errno: i32 },
    /// The command ended.
    Exited { id: u32, exit: Exit },
    /// A signal was sent, or could not be.
    Done { request: u32, errno: i32 },
    /// Nothing is left but pid 1, which leaves.
    Over { usage: Usage },
    /// From the first stage: pid 1 and with it the whole tree and its mounts are gone.
    TreeGone {
        /// The size of the writable layer, if it was ended for that.
        over: Option<u64>,
    },
    /// What the comparison with the image gave.
    Inspected { reason: Option<String>, bytes: u64 },
    /// The layers are one.
    Squashed,
    /// The archive is unpacked.
    Unpacked(Unpacked),
    /// The archive cannot be unpacked.
    Refused { reason: String },
    /// A view's answer, with the file when one was to be opened.
    Found { entry: Entry },
    /// A view's answer, with the list of entries.
    Listed,
    /// A view's answer.
    NotFound { errno: i32 },
    /// A view's answer: entries of one directory, which is so many levels below the walk's root. Only the last can be a
    /// directory. None at the walk's end.
    Walked { depth: usize, items: Vec<Item> },
    /// A view's answer: for each file that was asked for 0, and the file beside the message, or why it was not opened.
    Taken { errnos: Vec<i32> },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Look {
    /// The last component is not followed.
    Stat,
    /// It is.
    Follow,
    List,
    Open,
}

/// A step that failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub step: Step,
    pub subject: Option<String>,
    pub errno: i32,
}

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
