//! What the init and its helpers answer.

use serde::{Deserialize, Serialize};

use super::entry::{Entry, Item};
use super::failure::Failure;
use super::spec::Exit;
use super::step::Step;
use super::unpacked::Unpacked;
use crate::os::usage::Usage;

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
