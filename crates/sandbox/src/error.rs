//! The crate's error, with messages for users.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

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
    #[error("{}", describe_setup(step, .subject.as_deref(), *errno))]
    Setup {
        /// The failed step.
        step: Step,
        /// The path or name that the step worked on.
        subject: Option<String>,
        /// The kernel's error number.
        errno: i32,
    },
    /// A command could not be started.
    #[error("cannot start {}: {step}: {}", program.display(), io::Error::from_raw_os_error(*errno))]
    Exec {
        /// The failed step.
        step: Step,
        /// The kernel's error number.
        errno: i32,
        /// The program as the caller named it.
        program: OsString,
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
    /// The process has ended, or never existed.
    #[error("no process {0} in this sandbox")]
    NoProcess(u32),
    /// The sandbox wrote more than its limit and was killed.
    #[error(
        "the writable layer reached {bytes} bytes, more than max_layer_bytes allows ({limit}), so the sandbox was ended and nothing is kept: \
         write less, or allow more"
    )]
    LayerTooLarge {
        /// The size of the layer when the watcher noticed the excess. If a single call would have
        /// allocated too much, the size that the layer would have reached.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
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
    #[error("the sandbox is gone")]
    Gone,
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

fn describe_setup(step: &Step, subject: Option<&str>, errno: i32) -> String {
    let error = io::Error::from_raw_os_error(errno);
    match subject {
        Some(subject) => format!("set up the sandbox: {step} {subject}: {error}"),
        None => format!("set up the sandbox: {step}: {error}"),
    }
}
