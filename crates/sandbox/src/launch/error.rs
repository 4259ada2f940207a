//! The error of starting an init.

use crate::os::error::OsError;

/// The error of starting an init.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The crate is in a shared library, so the running program cannot be the init.
    #[error(
        "this program cannot start itself as the init of a sandbox, because contree-sandbox is linked into a shared library: \
         set {setting} to a program that links it"
    )]
    SharedLibrary {
        /// The setting that chooses another program.
        setting: String,
    },
    /// The started program does not answer as an init.
    #[error("{program} does not answer as the init of a sandbox: it must link contree-sandbox")]
    NotInit {
        /// The program.
        program: String,
    },
    /// The ids of the sandbox could not be mapped.
    #[error("map the ids of the sandbox: {0}")]
    Map(String),
    /// A kernel call failed.
    #[error(transparent)]
    Os(#[from] OsError),
}
