//! Messages from the init and its helpers.

use serde::{Deserialize, Serialize};

use super::entry::{Entry, WalkEntry};
use super::layer_limit::LayerExcess;
use super::pack::PackReport;
use super::spec::Exit;
use super::step_failure::StepFailure;
use super::unpack::UnpackReport;
use crate::os::usage::Usage;

/// A message from the init or a helper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The first message. It shows that the started program is our init.
    Hello,
    /// The user namespace is made and waits for its map.
    NeedMap,
    /// The helper is ready, or has done its task.
    Ready,
    /// The sandbox is set up. The listener comes with the message, if one was requested, and then
    /// the sockets of the interception, unless the kernel refused it.
    Up {
        /// The side files that exist, as indices into the request.
        side_files: Vec<usize>,
        /// The directories that were missing, as indices into the request.
        directories: Vec<usize>,
        /// The reason why packets are not intercepted, although that was requested.
        interception_refusal: Option<String>,
    },
    /// A step failed: of the set-up, of a helper's task, or while commands run.
    Failed(StepFailure),
    /// A command was started. The engine's ends of its standard streams come with the message, or
    /// its terminal.
    Started { id: u32, pid: i32 },
    /// The socket of a requested connection comes with the message. The connection may not be
    /// established yet.
    Connecting { request: u32 },
    /// The command could not be started.
    NotStarted { id: u32, failure: StepFailure },
    /// The command ended.
    Exited { id: u32, exit: Exit },
    /// A request was carried out, or failed with an error number.
    Done { request: u32, errno: i32 },
    /// Every process except pid 1 has ended, and pid 1 exits.
    Finished { usage: Usage },
    /// From the first stage: pid 1, and with it the process tree and its mounts, is gone.
    TreeGone {
        /// The reason, if the watcher of the writable layer killed the sandbox.
        excess: Option<LayerExcess>,
    },
    /// The result of comparing the upper directory with the image.
    Inspected {
        reason: Option<String>,
        bytes: u64,
        files: u64,
        /// The number of names of files and links, and of whiteouts.
        changed_files: u64,
    },
    /// The layers are merged.
    Squashed,
    /// The trees are removed.
    Removed,
    /// The archive is unpacked.
    Unpacked(UnpackReport),
    /// The layers are packed.
    Packed(PackReport),
    /// The archive cannot be unpacked.
    Refused { reason: String },
    /// A view's answer. An opened file comes with the message.
    Entry { entry: Entry },
    /// A view's answer. The list of entries comes as a file with the message.
    Listed,
    /// A view's answer: the call failed with this error number.
    ViewFailed { errno: i32 },
    /// A view's answer: entries of one directory, `depth` levels below the walk's root. Only the
    /// last can be a directory. The list is empty at the end of the walk.
    WalkEntries {
        depth: usize,
        entries: Vec<WalkEntry>,
    },
    /// Files that differ. The list comes as a file with the message. `done` is true for the last.
    Differences { done: bool },
    /// A view's answer: 0 for each opened file, which comes with the message, or its error number.
    Opened { errnos: Vec<i32> },
}
