//! Why an init cannot be started.

use crate::os::error::OsError;

/// The init could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The crate is in a shared library.
    #[error(
        "this program cannot start itself as the init of a sandbox, because the sandbox sits in a shared library: \
         set {setting} to a program that links it"
    )]
    SharedLibrary {
        /// What to set.
        setting: String,
    },
    /// Another program was started, or none that answers.
    #[error("{program} does not answer as the init of a sandbox: it must link contree-sandbox")]
    NotInit {
        /// The program.
        program: String,
    },
    /// The ids could not be mapped.
    #[error("map the ids of the sandbox: {0}")]
    Map(String),
    /// The kernel refused.
    #[error(transparent)]
    Os(#[from] OsError),
}
