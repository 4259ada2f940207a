//! The descriptions that a caller gives and the results that it receives, as plain data.

use std::ffi::OsString;
use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::wire::{payload, text};
use crate::os::usage::Usage;

/// The number of a layer in its store. Its files are in `layers/<n>/d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LayerId(pub u64);

/// The description of a sandbox to start.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    /// The image's layers, topmost first; at least one.
    pub layers: Vec<LayerId>,
    /// The host name inside the sandbox.
    pub hostname: String,
    /// Directories to make before anything runs, in this order.
    pub directories: Vec<NewDirectory>,
    /// Paths to remove or to make before the files are put in place, in this order.
    pub changes: Vec<PathChange>,
    /// Files to put in place before anything runs, in this order.
    pub files: Vec<FileCopy>,
    /// Files that exist while the sandbox runs but are not part of the image; at most
    /// [`SideFile::MAX_COUNT`].
    pub side_files: Vec<SideFile>,
    /// Lines that files of the image have while the sandbox runs, in this order. Files of
    /// [`SandboxSpec::files`] get none.
    pub temporary_lines: Vec<TemporaryLines>,
    /// The size of `/dev/shm` in bytes, rounded up to whole pages; at least one page. Its content
    /// counts as memory of the sandbox.
    pub shared_memory_bytes: u64,
    /// The network that its commands reach.
    pub network: Network,
    /// The most processes and threads inside at once, including the init.
    pub max_processes: u32,
    /// The most disk space of the writable layer, in bytes.
    ///
    /// A sandbox that exceeds it is killed, and [`crate::Error::LayerTooLarge`] reports it. By then
    /// the layer may have grown somewhat further.
    pub max_layer_bytes: Option<u64>,
    /// Limits that must be enforced. Resources without one are limited where possible.
    pub limits: Limits,
}

/// Limits of a whole sandbox, enforced by control groups.
///
/// [`ControlGroups`](crate::ControlGroups) reports which limits this machine can enforce. A sandbox
/// with any other limit does not start.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Memory in bytes, including swap. If it runs out, the kernel kills a process of the sandbox.
    /// The default is [`ControlGroups::memory_bytes`](crate::ControlGroups::memory_bytes).
    pub memory_bytes: Option<u64>,
    /// The most processes and threads inside at once, including the init. The default is
    /// [`SandboxSpec::max_processes`].
    pub processes: Option<u32>,
    /// Processor time as a number of processors, such as 0.5, in steps of 0.01. By default there is
    /// no limit.
    pub cpus: Option<f64>,
}

/// The network that the commands of a sandbox reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Network {
    /// Only their own loopback interface.
    #[default]
    Loopback,
    /// Their own loopback interface, with a listener at [`Network::LISTENER`].
    /// [`Sandbox::take_listener`](crate::Sandbox::take_listener) returns its socket to the
    /// sandbox's caller. No process inside has it.
    Listener {
        /// The TCP port. It may be below 1024, because the sandbox's root binds it.
        port: u16,
    },
    /// This machine's network, including its loopback interface and abstract unix sockets. No
    /// network namespace is made.
    Host,
}

impl Network {
    /// The address of the listener of [`Network::Listener`], seen from inside.
    pub const LISTENER: Ipv4Addr = Ipv4Addr::LOCALHOST;
}

/// A directory to make, with its missing parents (0755, owned by root). An existing directory stays
/// unchanged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewDirectory {
    /// The absolute path inside the image.
    #[serde(with = "text::path")]
    pub path: PathBuf,
    /// The owner, as seen inside.
    pub uid: u32,
    /// The group, as seen inside.
    pub gid: u32,
}

/// A change of one path of the image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PathChange {
    /// The absolute path inside the image.
    #[serde(with = "text::path")]
    pub path: PathBuf,
    /// The kind of the change.
    pub kind: PathChangeKind,
    /// The owner, as seen inside.
    pub uid: u32,
    /// The group, as seen inside.
    pub gid: u32,
}

/// The kind of a change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PathChangeKind {
    /// Nothing is there afterwards. A directory stays unless it is empty. A link at the path itself
    /// is removed, and not followed.
    Absent,
    /// A directory with these permission bits. It replaces a file, and keeps the content of a
    /// directory. A link to a directory stays as it is.
    Directory {
        /// The permission bits.
        mode: u32,
    },
    /// A symbolic link. It replaces a file or an empty directory.
    Symlink {
        /// The target, as the link has it.
        #[serde(with = "text::path")]
        target: PathBuf,
    },
}

/// A file of the store to copy into the image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileCopy {
    /// The file's path, relative to the store's root.
    #[serde(with = "text::path")]
    pub source: PathBuf,
    /// The absolute path inside the image. An existing file or symlink is removed first, so the
    /// copy never follows it.
    #[serde(with = "text::path")]
    pub path: PathBuf,
    /// The permission bits.
    pub mode: u32,
    /// The owner, as seen inside.
    pub uid: u32,
    /// The group, as seen inside.
    pub gid: u32,
}

/// A file that commands can read below `/dev` and that never becomes part of an image.
///
/// [`StoreOptions::side_directory`](crate::StoreOptions::side_directory) names its directory.
#[derive(Debug, Clone)]
pub struct SideFile {
    /// The file's name: letters, digits, `.`, `-` and `_`, not beginning with a dot.
    pub name: String,
    /// The file's content.
    pub content: SideFileContent,
    /// The file is left out if the image has anything but an empty file at one of these paths.
    pub unless_exists: Vec<PathBuf>,
    /// A path of the image over which the file is also mounted, if it is a regular file. A symlink
    /// on the way is not followed.
    pub mount_over: Option<PathBuf>,
    /// The content of the first of these files that the image has comes before the file's own.
    pub after: Vec<PathBuf>,
}

/// Lines that a file has while the sandbox runs, and that never become part of an image.
///
/// They follow a comment at the end of the file. Commands may change the file, and the change
/// becomes part of the image without these lines.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TemporaryLines {
    /// The absolute path inside the image. A `*` stands for any text within one name. Only regular
    /// files get lines, and no symlink is followed.
    #[serde(with = "text::path")]
    pub path: PathBuf,
    /// The format of the file, which decides the lines that it lacks.
    pub format: LineFormat,
    /// The lines, without line breaks.
    pub lines: Vec<String>,
    /// The condition for making a missing file: this directory exists in the image. A missing file
    /// is not made without it.
    pub make_if: Option<PathBuf>,
    /// The permission bits of a file that is made.
    pub mode: u32,
}

/// The format of a file with [`TemporaryLines`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LineFormat {
    /// `ADDRESS NAME…`, as in `/etc/hosts`. The file gets the lines whose first name it lacks.
    Hosts,
    /// `NAME=VALUE`. The file gets the lines whose name it does not set.
    Assignments,
    /// Any text. An existing file gets the lines only if [`TemporaryLines::make_if`] is `None`.
    Text,
}

impl SideFile {
    /// The most side files of a sandbox.
    pub const MAX_COUNT: usize = 5;
}

/// The content of a [`SideFile`]. All sandboxes that get it share one copy.
#[derive(Debug, Clone)]
pub struct SideFileContent(pub(crate) Arc<OwnedFd>);

impl SideFileContent {
    /// Copies the bytes into a sealed in-memory file.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(bytes: &[u8]) -> std::io::Result<Self> {
        payload::seal(bytes)
            .map(|memfd| Self(Arc::new(memfd)))
            .map_err(std::io::Error::other)
    }
}

/// A command to start in a sandbox. `Debug` shows no values of its environment.
#[derive(Clone, Serialize, Deserialize)]
pub struct Command {
    /// The program: a path inside if it has a `/`, otherwise a name looked up in `PATH` of `env`.
    #[serde(with = "text::os")]
    pub program: OsString,
    /// The arguments after the program's name.
    #[serde(with = "text::list")]
    pub args: Vec<OsString>,
    /// The whole environment. Only [`Command::default_home`] adds to it.
    #[serde(with = "text::pairs")]
    pub env: Vec<(OsString, OsString)>,
    /// If `env` has no `HOME`, it becomes the home directory of `uid` in the image's
    /// `/etc/passwd`, or else this. `None` adds nothing.
    #[serde(with = "text::optional")]
    pub default_home: Option<OsString>,
    /// The directory to start in; it must exist.
    #[serde(with = "text::path")]
    pub cwd: PathBuf,
    /// The user id, as seen inside.
    pub uid: u32,
    /// The group id, as seen inside. The command has no supplementary groups.
    pub gid: u32,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &names)
            .field("cwd", &self.cwd)
            .field("uid", &self.uid)
            .field("gid", &self.gid)
            .finish()
    }
}

/// A running command.
#[derive(Debug)]
pub struct Process {
    /// The command's number in calls on its sandbox.
    pub id: u32,
    /// The process id inside the sandbox.
    pub pid: i32,
    /// The writing end of its standard input.
    pub stdin: OwnedFd,
    /// The reading end of its standard output.
    pub stdout: OwnedFd,
    /// The reading end of its standard error.
    pub stderr: OwnedFd,
    /// Receives the exit code or signal that ended the command. It fails if the sandbox is gone.
    pub exit: oneshot::Receiver<Exit>,
}

/// The end of a command: an exit code or a signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, if the command exited by itself.
    pub code: Option<i32>,
    /// The signal that killed the command.
    pub signal: Option<i32>,
    /// True if a core dump was written. Sandboxes of this crate never write one.
    pub core_dump: bool,
    /// The resources used by the command and the children it waited for.
    pub usage: Usage,
}

/// The result of a finished sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxOutcome {
    /// True if the sandbox changed the image; `None` if [`Sandbox::finish`](crate::Sandbox::finish)
    /// did not inspect it.
    pub changed: Option<bool>,
    /// The first change found, as a short text.
    pub reason: Option<String>,
    /// Disk space of the upper directory in bytes; 0 without inspection.
    pub upper_bytes: u64,
    /// The number of files and links in the upper directory, and of removed names; 0 without
    /// inspection.
    pub changed_files: u64,
    /// The resources used by the whole process tree.
    pub usage: Usage,
}
