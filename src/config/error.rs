//! Errors of the selection of a backend.

use std::path::PathBuf;

use contree_error_codes::ErrorCode;

use super::{UnknownAuthType, UnknownBackend};

/// An error that prevents the use of a backend. The message names the missing value and how to
/// provide it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `CONTREE_BACKEND` has an unknown value.
    #[error("CONTREE_BACKEND: {0}")]
    Backend(#[source] UnknownBackend),
    /// A profile file exists but cannot be used.
    #[error("{0}; correct it, or choose `--backend local`")]
    File(String),
    /// An option, variable or file names a profile that is in no profile file.
    #[error(
        "{named_by} names the profile `{name}`, which is not in {} (known: {known}): name a known profile, or \
         add `[profile:{name}]`", folder.display()
    )]
    Profile {
        /// The option, variable or file that names it.
        named_by: String,
        /// The name.
        name: String,
        /// The directory of the profile files.
        folder: PathBuf,
        /// The existing profiles.
        known: String,
    },
    /// The active profile has an unknown auth type.
    #[error("profile `{profile}`: {source}")]
    AuthType {
        /// The profile.
        profile: String,
        /// The unknown auth type.
        source: UnknownAuthType,
    },
    /// A service is selected, but no token is set.
    #[error(
        "{given}: set CONTREE_TOKEN, pass --token, or add `token` to a profile in {}; \
         or choose `--backend local`", folder.display()
    )]
    Token {
        /// The value that is set without a token.
        given: MissingToken,
        /// The directory of the profile files.
        folder: PathBuf,
    },
    /// An IAM token is set without a project.
    #[error(
        "there is an IAM token ({token}) but no project: set CONTREE_PROJECT, pass --project, or add `project` \
         to the profile"
    )]
    Project {
        /// The source of the token.
        token: String,
    },
    /// A JWT token is set without a URL.
    #[error(
        "there is a token ({token}) but no URL, and JWT tokens have no default one: set CONTREE_URL, pass \
         --url, or add `url` to the profile (a token of the hosted service needs --project as well)"
    )]
    Url {
        /// The source of the token.
        token: String,
    },
}

impl ConfigError {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Backend(_) => ErrorCode::SettingInvalid,
            Self::File(_) | Self::AuthType { .. } => ErrorCode::ProfileFileInvalid,
            Self::Profile { .. } => ErrorCode::ProfileUnknown,
            Self::Token { .. } => ErrorCode::TokenMissing,
            Self::Project { .. } => ErrorCode::ProjectMissing,
            Self::Url { .. } => ErrorCode::UrlMissing,
        }
    }
}

/// The value that is set although the token is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingToken {
    /// A URL, with its source.
    Url(String),
    /// A project, with its source.
    Project(String),
    /// No value.
    Nothing,
}

impl std::fmt::Display for MissingToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(source) => write!(f, "there is a URL ({source}) but no token"),
            Self::Project(source) => write!(f, "there is a project ({source}) but no token"),
            Self::Nothing => f.write_str("there is no token"),
        }
    }
}
