//! Configuration: selects the backend from flags, environment and profile files.
//!
//! `Environment::of_process` and `ProfileFiles::load` read the process and its files.
//! `select_backend` is a pure function, so that tests can check every rule with tables of inputs.
//!
//! Each field comes from the first source that has it: a flag, the environment, the active profile,
//! or the file and variables of the first release. These values select the backend:
//!
//! - Credentials or a URL select the cloud.
//! - If no value is set, the embedded engine is selected.
//! - If values are missing, the error names them.

mod directories;
mod error;
mod files;
#[cfg(feature = "profiles")]
mod read;
mod selection;

pub use directories::{Directories, DirectoryError};
pub use error::{ConfigError, MissingToken};
pub use files::{Profile, ProfileFiles};
pub use selection::{
    BackendSelection, CloudBackend, DEFAULT_IAM_URL, FIRST_RELEASE_URL, SelectedBackend,
    select_backend,
};

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::str::FromStr;

use contree_paths::{HomeError, expand_home};

/// The backend that the user requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendChoice {
    /// The cloud if credentials or a URL are set, else the embedded engine.
    #[default]
    Auto,
    /// A Contree service, hosted or self-hosted.
    Cloud,
    /// The engine inside this process.
    Local,
}

/// An unknown name of a backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the backend is `auto`, `cloud` or `local`, not `{0}`")]
pub struct UnknownBackend(String);

impl FromStr for BackendChoice {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        match text {
            "auto" => Ok(Self::Auto),
            "cloud" => Ok(Self::Cloud),
            "local" => Ok(Self::Local),
            other => Err(UnknownBackend(other.to_owned())),
        }
    }
}

/// How a token authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthType {
    /// A token of the hosted service, which needs a project.
    Iam,
    /// A token that contains its project.
    Jwt,
}

/// An unknown auth type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the auth type is `iam` or `jwt`, not `{0}`")]
pub struct UnknownAuthType(String);

impl FromStr for AuthType {
    type Err = UnknownAuthType;

    fn from_str(text: &str) -> Result<Self, UnknownAuthType> {
        match text.to_ascii_lowercase().as_str() {
            "iam" => Ok(Self::Iam),
            "jwt" => Ok(Self::Jwt),
            _ => Err(UnknownAuthType(text.to_owned())),
        }
    }
}

impl std::fmt::Display for AuthType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Iam => "iam",
            Self::Jwt => "jwt",
        })
    }
}

/// The command-line flags about the backend; a flag that was not given is `None`.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Flags {
    /// `--backend`
    pub backend: Option<BackendChoice>,
    /// `--profile`
    pub profile: Option<String>,
    /// `--token`
    pub token: Option<String>,
    /// `--url`
    pub url: Option<String>,
    /// `--project`
    pub project: Option<String>,
    /// `--auth-type`
    pub auth_type: Option<AuthType>,
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flags")
            .field("backend", &self.backend)
            .field("profile", &self.profile)
            .field("token", &self.token.as_ref().map(|_| "<hidden>"))
            .field("url", &self.url)
            .field("project", &self.project)
            .field("auth_type", &self.auth_type)
            .finish()
    }
}

/// The environment variables of a process. An empty variable counts as unset, since clients that
/// fill in templates set unused variables to empty values.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

/// Variables of directories, which need not be UTF-8.
const DIRECTORY_VARIABLES: [&str; 2] = ["CONTREE_DATA_DIR", "CONTREE_STATE_DIR"];
/// Variables of profile files and their directory.
const PROFILE_VARIABLES: [&str; 2] = ["CONTREE_HOME", "CONTREE_MCP_CONFIG"];

/// A variable of Contree is not text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not UTF-8 text; set it to text, or unset it")]
pub struct NotText(String);

/// The `~` of a variable with a path cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {source}")]
pub struct PathVariableError {
    variable: String,
    source: HomeError,
}

/// An error in a variable of Contree, whichever command uses it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// It is not text.
    #[error(transparent)]
    NotText(#[from] NotText),
    /// It is a path that cannot be expanded.
    #[error(transparent)]
    Path(#[from] PathVariableError),
}

impl Environment {
    /// The variables of this process. Variables whose names are not UTF-8 are omitted.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect()
    }

    /// The value of `name`, unless it is unset, empty or not UTF-8.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.value(name)?.to_str()
    }

    /// The value of `name`, which need not be UTF-8. `None` if it is unset or empty.
    fn value(&self, name: &str) -> Option<&OsStr> {
        self.0
            .get(name)
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// The value of `name` as a path, which need not be UTF-8, with a leading `~` expanded. `None`
    /// if it is unset or empty.
    ///
    /// # Errors
    /// If the `~` cannot be expanded.
    pub fn path(&self, name: &str) -> Result<Option<PathBuf>, PathVariableError> {
        let expand = |value| {
            expand_home(value, || self.home()).map_err(|source| PathVariableError {
                variable: name.to_owned(),
                source,
            })
        };
        self.value(name).map(expand).transpose()
    }

    /// Checks the variables of Contree: a variable that cannot be read must not count as unset.
    ///
    /// # Errors
    /// The first variable that is not text, or is a path whose `~` cannot be expanded.
    pub fn check(&self) -> Result<(), VariableError> {
        let not_text = self.0.iter().find(|(name, value)| {
            let is_ours =
                name.starts_with("CONTREE_") && !DIRECTORY_VARIABLES.contains(&name.as_str());
            is_ours && value.to_str().is_none()
        });
        if let Some((name, _)) = not_text {
            return Err(NotText(name.clone()).into());
        }
        for name in DIRECTORY_VARIABLES.into_iter().chain(PROFILE_VARIABLES) {
            self.path(name)?;
        }
        Ok(())
    }

    /// The value of `name` if it is an absolute path, also one that begins with `~`. The XDG Base
    /// Directory Specification requires that relative paths are ignored.
    #[must_use]
    pub fn absolute(&self, name: &str) -> Option<PathBuf> {
        self.path(name)
            .ok()
            .flatten()
            .filter(|path| path.is_absolute())
    }

    /// The home directory: `$HOME`, else the user's entry in the system's user database.
    #[must_use]
    pub fn home(&self) -> Option<PathBuf> {
        let is_absolute = |path: &PathBuf| path.is_absolute();
        self.value("HOME")
            .map(PathBuf::from)
            .filter(is_absolute)
            .or_else(std::env::home_dir)
            .filter(is_absolute)
    }
}

impl<K: Into<String>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
