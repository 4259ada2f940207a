//! The contents of the profile files, which the other Contree clients share, and of the first
//! release's file.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The section `[profile:NAME]`, merged from both files.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// The access token.
    pub token: Option<String>,
    /// The base URL.
    pub url: Option<String>,
    /// The project.
    pub project: Option<String>,
    /// The auth type as written in the file, such as `iam` or `jwt`.
    pub auth_type: Option<String>,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile")
            .field("token", &self.token.as_ref().map(|_| "<hidden>"))
            .field("url", &self.url)
            .field("project", &self.project)
            .field("auth_type", &self.auth_type)
            .finish()
    }
}

/// The contents of the profile files.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ProfileFiles {
    /// The profiles by name.
    pub profiles: BTreeMap<String, Profile>,
    /// `[DEFAULT] profile`.
    pub active: Option<String>,
    /// Token and URL of the first release's file.
    pub first_release: Profile,
    /// The directory of the profile files.
    pub folder: PathBuf,
    /// The path of the first release's file.
    pub first_release_path: PathBuf,
    /// Problems of existing files. Any of them is an error unless the user selects the embedded
    /// engine.
    pub problems: Vec<String>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

#[cfg(not(feature = "profiles"))]
impl ProfileFiles {
    /// Reads no files, since the feature `profiles` is off.
    #[must_use]
    pub fn load(_: &super::Environment) -> Self {
        Self::default()
    }
}
