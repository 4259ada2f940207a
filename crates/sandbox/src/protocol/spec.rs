//! What a caller asks for and what it gets: plain data, no behaviour.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::wire::{payload, text};
use crate::os::usage::Usage;

/// The number of a layer in its store; `layers/<n>/d` on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LayerId(pub u64);

/// A sandbox to start.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    /// The image's layers, the topmost first; at least one.
    pub layers: Vec<LayerId>,
    /// The host name inside.
    pub hostname: String,
    /// Directories to make before anything runs, in this order.
    pub directories: Vec<MakeDir>,
    /// Files to put in place before anything runs, in this order.
    pub places: Vec<Place>,
    /// Files that are there while the sandbox runs and no part of the image; at most [`SideFile::MOST`].
    pub side_files: Vec<SideFile>,
    /// What its commands reach.
    pub network: Network,
    /// How many processes and threads may exist inside at once, the init among them.
    pub max_processes: u32,
    /// How many bytes the writable layer may take on disk: beyond it the sandbox is killed, and [`crate::Error::LayerTooLarge`] says so.
    /// It may have grown somewhat further in the meantime.
    pub max_layer_bytes: Option<u64>,
    /// Bounds that must be enforced; what is left out is bounded where it can be.
    pub limits: Limits,
}

/// Bounds of a sandbox as a whole, by control groups. [`ControlGroups`](crate::ControlGroups) says which can be had; a sandbox with
/// others does not start.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Bytes of memory, swap included. When they do not suffice the kernel kills a process of the sandbox. Without it
    /// [`ControlGroups::memory_bytes`](crate::ControlGroups::memory_bytes) holds.
    pub memory_bytes: Option<u64>,
    /// How many processes and threads may exist inside at once, the init among them. Without it
    /// [`SandboxSpec::max_processes`] holds.
    pub processes: Option<u32>,
    /// Processor time in processors, as 0.5; in steps of 0.01 at the least. Without it there is no bound.
    pub cpus: Option<f64>,
}

/// What the commands of a sandbox reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Network {
    /// Their own loopback interface, and nothing else.
    #[default]
    Loopback,
    /// Their own loopback interface, on which whoever started the sandbox listens at [`Network::LISTENER`]:
    /// [`Sandbox::take_listener`](crate::Sandbox::take_listener) has the listening socket, and nothing inside has.
    Listener {
        /// The TCP port; one below 1024 can be had as well, since the sandbox's root makes it.
        port: u16,
    },
    /// All that this machine reaches, its own loopback interface and its abstract unix sockets among it: no network
    /// namespace is made.
    Host,
}

impl Network {
    /// Where the listener of [`Network::Listener`] is, seen from inside.
    pub const LISTENER: Ipv4Addr = Ipv4Addr::LOCALHOST;
}

/// A directory to make, with its missing parents (0755, owned by root). One that exists is left as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MakeDir {
    /// Absolute, inside the image.
    #[serde(with = "text::path")]
    pub path: PathBuf,
    /// Its owner, as seen inside.
    pub uid: u32,
    /// Its group, as seen inside.
    pub gid: u32,
}

/// A file of the store to copy into the image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Place {
    /// Relative to the store's root.
    #[serde(with = "text::path")]
    pub source: PathBuf,
    /// Absolute, inside the image. What is there is replaced, never written through.
    #[serde(with = "text::path")]
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Its owner, as seen inside.
    pub uid: u32,
    /// Its group, as seen inside.
    pub gid: u32,
}

/// A file that commands can read below `/dev`, and that never becomes part of an image.
///
/// [`StoreOptions::side_directory`](crate::StoreOptions::side_directory) names its directory.
#[derive(Debug, Clone)]
pub struct SideFile {
    /// Letters, digits, `.`, `-` and `_`, not beginning with a dot.
    pub name: String,
    /// What is in it.
    pub content: Content,
    /// It is left out if the image has one of these paths.
    pub unless: Vec<PathBuf>,
    /// It also covers this file of the image, if that is a regular file (a symlink on the way is not followed).
    pub over: Option<PathBuf>,
}

impl SideFile {
    /// How many there can be.
    pub const MOST: usize = 5;
}

/// The content of a [`SideFile`], shared by all sandboxes that it is given to.
#[derive(Debug, Clone)]
pub struct Content(pub(crate) Arc<OwnedFd>);

impl Content {
    /// Takes a copy, at most 16 MiB.
    ///
    /// # Errors
    /// When there is no memory for it, or it is too large.
    pub fn new(bytes: &[u8]) -> std::io::Result<Self> {
        payload::seal(bytes)
            .map(|memfd| Self(Arc::new(memfd)))
            .map_err(std::io::Error::other)
    }
}

/// A command to start in a sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Command {
    /// With a `/` a path inside; without one, a name looked up in `PATH` of `env`.
    #[serde(with = "text::os")]
    pub program: OsString,
    /// The arguments after the program's name.
    #[serde(with = "text::list")]
    pub args: Vec<OsString>,
    /// The whole environment; nothing is added to it.
    #[serde(with = "text::pairs")]
    pub env: Vec<(OsString, OsString)>,
    /// The directory to start in; it must exist.
    #[serde(with = "text::path")]
    pub cwd: PathBuf,
    /// The user, as seen inside.
    pub uid: u32,
    /// The group, as seen inside; there are no supplementary ones.
    pub gid: u32,
}

/// A command that runs.
#[derive(Debug)]
pub struct Process {
    /// Names it in calls on its sandbox.
    pub id: u32,
    /// Its process id inside the sandbox.
    pub pid: i32,
    /// The writing end of its standard input.
    pub stdin: OwnedFd,
    /// The reading end of its standard output.
    pub stdout: OwnedFd,
    /// The reading end of its standard error.
    pub stderr: OwnedFd,
    /// How it ended; an error here means that the sandbox went down with it.
    pub exit: oneshot::Receiver<Exit>,
}

/// How a command ended: with a code, or by a signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The status it ended with, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether a core dump was written; never inside a sandbox of ours.
    pub core_dump: bool,
    /// What it and the children it waited for have used.
    pub usage: Usage,
}

/// What a sandbox left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finished {
    /// Whether the image was changed; `None` if it was not asked for.
    pub changed: Option<bool>,
    /// The first change found, as a short text.
    pub reason: Option<String>,
    /// Disk space of the new layer in bytes; 0 if it was not asked for.
    pub upper_bytes: u64,
    /// What the whole process tree has used.
    pub usage: Usage,
}
