//! The crate's error, with messages for users.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::host_root::HostError;
use crate::launch::error::LaunchError;
use crate::launch::unavailable::Unavailable;
use crate::os::error::OsError;
use crate::protocol::step::Step;
use crate::protocol::wire::WireError;
use crate::store::error::StoreError;

/// The error of every call of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This machine cannot run a sandbox. The message says why and what to do.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The layer store failed.
    #[error(transparent)]
    Store(StoreError),
    /// The init process could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The connection to the init process failed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The layer of this machine's own programs could not be made.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A step of setting the sandbox up failed.
    #[error("{}", describe_setup(step, .subject.as_deref(), error))]
    Setup {
        /// The failed step.
        step: Step,
        /// The path or name that the step worked on.
        subject: Option<String>,
        /// The kernel's error, or the init's own.
        error: io::Error,
    },
    /// A command could not be started.
    #[error("{}", describe_start(program, step, directory, error))]
    Exec {
        /// The failed step.
        step: Step,
        /// The kernel's error, or the init's own.
        error: io::Error,
        /// The program as the caller named it.
        program: OsString,
        /// The directory in which it should start.
        directory: PathBuf,
    },
    /// The description of a sandbox or command is invalid or cannot be carried out.
    #[error("{0}")]
    Invalid(String),
    /// A file or directory cannot be placed at a path inside the image.
    #[error("cannot place {}: {reason}", path.display())]
    Placement {
        /// The path inside the image.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// An archive was refused. The message says what is wrong with it.
    #[error("{0}")]
    Archive(String),
    /// Nothing could be connected to inside the sandbox.
    #[error("cannot connect to {address} in the sandbox: {error}")]
    Connect {
        /// The address, as seen inside.
        address: std::net::SocketAddr,
        /// The kernel's error.
        error: io::Error,
    },
    /// The process has ended, or never existed.
    #[error("no process {0} in this sandbox")]
    NoProcess(u32),
    /// The sandbox wrote more than its limit and was killed.
    #[error(
        "the writable layer reached {bytes} bytes, more than max_layer_bytes allows ({limit}), so the sandbox was ended and nothing is kept: \
         write less, or allow more"
    )]
    LayerTooLarge {
        /// The size of the layer when the watcher noticed the excess.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The sandbox made more files than its limit and was killed.
    #[error(
        "the writable layer reached {files} files and directories, more than the {limit} that max_layer_bytes ({max_layer_bytes}) allows \
         (one for each 16 KiB, and at least 10000), so the sandbox was ended and nothing is kept: make fewer files, or allow more bytes"
    )]
    LayerTooManyFiles {
        /// The number of files, directories and links when the watcher noticed the excess.
        files: u64,
        /// The most that are allowed.
        limit: u64,
        /// The limit in bytes, from which the other follows.
        max_layer_bytes: u64,
    },
    /// The sandbox hid its writes and was killed.
    #[error(
        "the writable layer may have grown to {bytes} bytes or {files} files beyond what max_layer_bytes ({limit}) allows, and it cannot be measured: \
         its directories never stop changing, or it holds files without names in unix sockets; the sandbox was ended and nothing is kept"
    )]
    LayerNotMeasurable {
        /// The most bytes that the layer can have.
        bytes: u64,
        /// The most files that the layer can have.
        files: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The file system of the store is nearly full, and the sandbox was killed.
    #[error(
        "the data directory's file system has {free} {unit} left, and a sandbox that writes ends below {floor}, \
         so the sandbox was ended and nothing is kept: free space on that file system"
    )]
    DiskNearlyFull {
        /// The free bytes or inodes.
        free: u64,
        /// The number below which the sandbox ends.
        floor: u64,
        /// The unit of both numbers: `bytes` or `inodes`.
        unit: &'static str,
    },
    /// The data directory's file system is full.
    #[error(
        "no {exhausted} is free on the file system of {}, apart from those that it reserves for the root user: \
         free some space, then try again",
        path.display()
    )]
    DiskFull {
        /// The data directory.
        path: PathBuf,
        /// The exhausted resource: `block` or `inode`.
        exhausted: &'static str,
    },
    /// The sandbox ended by itself or was killed.
    #[error("the sandbox has ended")]
    Gone,
    /// The processes of the sandbox could not be paused for a snapshot. They continue.
    #[error("there is no snapshot, because {0} in time; the sandbox continues, so try again")]
    NotStill(&'static str),
    /// The caller has abandoned the work.
    #[error("the sandbox ends, so the snapshot was abandoned")]
    Abandoned,
    /// The sandbox did not answer in time and was killed.
    #[error("the sandbox did not {0} in time and was killed")]
    TimedOut(&'static str),
    /// Any other kernel call failed.
    #[error(transparent)]
    Os(#[from] OsError),
}

impl From<StoreError> for Error {
    /// Converts a failed kernel call of the store into [`Error::Os`], as for any other module.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Os(error) => Self::Os(error),
            other => Self::Store(other),
        }
    }
}

fn describe_start(program: &OsStr, step: &Step, directory: &Path, error: &io::Error) -> String {
    let program = program.display();
    match step {
        Step::ChangeDirectory => {
            let directory = directory.display();
            format!("cannot start {program}: {step} {directory}: {error}")
        }
        step => format!("cannot start {program}: {step}: {error}"),
    }
}

fn describe_setup(step: &Step, subject: Option<&str>, error: &io::Error) -> String {
    match subject {
        Some(subject) => format!("cannot set up the sandbox: {step} {subject}: {error}"),
        None => format!("cannot set up the sandbox: {step}: {error}"),
    }
}
