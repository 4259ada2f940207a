//! Errors of the commands.

use contree_error_codes::ErrorCode;

use super::install::InstallError;
use super::network::NetworkError;
use super::process::ProcessError;
use super::sandbox::SandboxOptionError;
use super::token_file::TokenFileError;
use super::verbs::VerbError;
use crate::config::DirectoryError;
use crate::mcp::ServeError;
use crate::tools::AllowedPathError;

/// The message of a program without the embedded engine.
#[cfg(not(all(feature = "engine", target_os = "linux")))]
pub(super) const NO_ENGINE: &str = "this program has no embedded engine, which needs Linux and the feature `engine`: \
    set CONTREE_TOKEN and CONTREE_URL to use a Contree service";

/// An error in the engine's settings.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Sandbox(#[from] SandboxOptionError),
}

/// An error of a command. The program prints it and exits with status 1.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    TokenFile(#[from] TokenFileError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Report(#[from] serde_json::Error),
    #[error(transparent)]
    Verb(#[from] VerbError),
    /// A path of `--allow-path` cannot be used.
    #[error(transparent)]
    AllowedPath(#[from] AllowedPathError),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[cfg(all(feature = "engine", target_os = "linux"))]
    #[error(transparent)]
    Engine(#[from] crate::engine::EngineError),
    #[cfg(all(feature = "engine", target_os = "linux"))]
    #[error(
        "{0} has no effect on `engine serve`, which serves the whole API of the embedded engine to every client: leave it out"
    )]
    ToolsOnlyOption(&'static str),
    #[cfg(not(all(feature = "engine", target_os = "linux")))]
    #[error("{NO_ENGINE}")]
    NoEngine,
}

impl SettingsError {
    /// The code of the error.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Directory(error) => error.code(),
            Self::Network(_) | Self::Sandbox(_) => ErrorCode::SettingInvalid,
        }
    }
}

impl CommandError {
    /// The code of the error.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Process(error) => error.code(),
            Self::Settings(error) => error.code(),
            Self::TokenFile(_) => ErrorCode::TokenFileUnusable,
            Self::Serve(error) => error.code(),
            Self::Report(_) => ErrorCode::ProgramError,
            Self::Verb(error) => error.code(),
            Self::AllowedPath(_) => ErrorCode::LocalFileUnusable,
            Self::Install(error) => error.code(),
            #[cfg(all(feature = "engine", target_os = "linux"))]
            Self::Engine(error) => error.code(),
            #[cfg(all(feature = "engine", target_os = "linux"))]
            Self::ToolsOnlyOption(_) => ErrorCode::Usage,
            #[cfg(not(all(feature = "engine", target_os = "linux")))]
            Self::NoEngine => ErrorCode::NoEngine,
        }
    }
}
