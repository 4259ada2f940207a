//! What can go wrong, in the words that a user reads.

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

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This machine cannot run a sandbox; the text says why and what to do.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The layer store.
    #[error(transparent)]
    Store(StoreError),
    /// Starting the init process.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Talking to the init process.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The tree of this machine's own programs could not be made.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A step of setting the sandbox up failed.
    #[error("{}", describe_setup(step, .subject.as_deref(), *errno))]
    Setup {
        /// What was being done.
        step: Step,
        /// What it was done on.
        subject: Option<String>,
        /// The kernel's answer.
        errno: i32,
    },
    /// A command could not be started.
    #[error("cannot start {}: {step}: {}", program.display(), io::Error::from_raw_os_error(*errno))]
    Exec {
        /// What was being done.
        step: Step,
        /// The kernel's answer.
        errno: i32,
        /// The program as it was asked for.
        program: OsString,
    },
    /// A sandbox or a command was described in a way that cannot be carried out.
    #[error("{0}")]
    Invalid(String),
    /// A path inside the image where nothing may be placed.
    #[error("cannot place {}: {reason}", path.display())]
    Place {
        /// The path inside the image.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// An archive was refused; the text says what is wrong with it.
    #[error("{0}")]
    Archive(String),
    /// The process is over, or never was.
    #[error("no process {0} in this sandbox")]
    NoProcess(u32),
    /// It wrote more than it may, and was killed for that.
    #[error(
        "the writable layer reached {bytes} bytes, more than max_layer_bytes allows ({limit}), so the sandbox was ended and nothing is kept: \
         write less, or allow more"
    )]
    LayerTooLarge {
        /// What the layer had reached when it was noticed; with a call that would have allocated more, what it would have reached.
        bytes: u64,
        /// What was allowed.
        limit: u64,
    },
    /// The sandbox ended by itself or was killed.
    #[error("the sandbox is gone")]
    Gone,
    /// The sandbox did not answer in time and was killed.
    #[error("the sandbox did not {0} in time and was killed")]
    TimedOut(&'static str),
    /// Any other call to the kernel.
    #[error(transparent)]
    Os(#[from] OsError),
}

impl From<StoreError> for Error {
    /// A failed kernel call is the same error wherever it was made.
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
