//! Why no backend can be used.

use std::path::PathBuf;

use super::{UnknownAuthType, UnknownBackend};

/// Why no backend can be used. The sentence names what is missing and how to give it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The variable names no backend.
    #[error("CONTREE_BACKEND: {0}")]
    Backend(#[source] UnknownBackend),
    /// A profile file is there, and cannot be used.
    #[error("{0}; mend it, or choose `--backend local`")]
    File(String),
    /// A profile was named that no file has.
    #[error("{named_by} names the profile `{name}`, which {} does not have (known: {known})", folder.display())]
    Profile {
        /// The option, variable or file that names it.
        named_by: String,
        /// The name.
        name: String,
        /// The directory of the profile files.
        folder: PathBuf,
        /// The profiles that there are.
        known: String,
    },
    /// The active profile has a kind of token that there is none of.
    #[error("profile `{profile}`: {source}")]
    AuthType {
        /// The profile.
        profile: String,
        /// What is wrong with the kind.
        source: UnknownAuthType,
    },
    /// A service was chosen, and there is no token for it.
    #[error(
        "{given}: set CONTREE_TOKEN, pass --token, or add `token` to a profile in {}; \
         or choose `--backend local`", folder.display()
    )]
    Token {
        /// What there is instead.
        given: MissingToken,
        /// The directory of the profile files.
        folder: PathBuf,
    },
    /// An IAM token needs a project.
    #[error(
        "there is an IAM token ({token}) but no project: set CONTREE_PROJECT, pass --project, or add `project` \
         to the profile"
    )]
    Project {
        /// Where the token comes from.
        token: String,
    },
    /// A JWT token needs a URL.
    #[error(
        "there is a token ({token}) but no URL, and JWT tokens have no default one: set CONTREE_URL, pass \
         --url, or add `url` to the profile (a token of the hosted service needs --project as well)"
    )]
    Url {
        /// Where the token comes from.
        token: String,
    },
}

/// What is given where the token is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingToken {
    /// A URL, from this place.
    Url(String),
    /// A project, from this place.
    Project(String),
    /// Nothing.
    Nothing,
}

impl std::fmt::Display for MissingToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(place) => write!(f, "there is a URL ({place}) but no token"),
            Self::Project(place) => write!(f, "there is a project ({place}) but no token"),
            Self::Nothing => f.write_str("there is no token"),
        }
    }
}
