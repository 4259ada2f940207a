//! The directories of the engine's data and of the server's state store.

use std::path::PathBuf;

use contree_error_codes::ErrorCode;

use super::{Environment, PathVariableError};

/// A directory cannot be determined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// A default directory needs a home directory, and there is none.
    #[error(
        "there is no home directory to keep data in: set HOME, or CONTREE_DATA_DIR and CONTREE_STATE_DIR"
    )]
    NoHome,
    /// The `~` of a variable cannot be expanded.
    #[error(transparent)]
    Variable(#[from] PathVariableError),
}

impl DirectoryError {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoHome => ErrorCode::NoHomeDirectory,
            Self::Variable(_) => ErrorCode::SettingInvalid,
        }
    }
}

/// The directories in use. Their users create them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Directories {
    /// The data directory of the embedded engine: images, layers, files and operations.
    pub data: PathBuf,
    /// The directory of the state store: cache, lineage and credentials.
    pub state: PathBuf,
}

impl Directories {
    /// Determines both directories.
    ///
    /// - Data: `$CONTREE_DATA_DIR`, else `$XDG_DATA_HOME/contree`, else `~/.local/share/contree`.
    /// - State: `$CONTREE_STATE_DIR`, else `$XDG_STATE_HOME/contree`, else
    ///   `~/.local/state/contree`.
    ///
    /// A path may begin with `~/`. A relative `CONTREE_*_DIR` is resolved from the working
    /// directory.
    ///
    /// # Errors
    /// When a directory depends on a home directory and there is none, or when a `~` cannot be
    /// expanded.
    pub fn find(environment: &Environment) -> Result<Self, DirectoryError> {
        Ok(Self {
            data: find(
                environment,
                "CONTREE_DATA_DIR",
                "XDG_DATA_HOME",
                ".local/share",
            )?,
            state: find(
                environment,
                "CONTREE_STATE_DIR",
                "XDG_STATE_HOME",
                ".local/state",
            )?,
        })
    }

    /// The default directories below the home directory; none without a home directory.
    #[must_use]
    pub fn defaults(environment: &Environment) -> Vec<PathBuf> {
        let home = environment.home();
        let below = |path: &str| home.as_ref().map(|home| home.join(path).join("contree"));
        [".local/share", ".local/state"]
            .into_iter()
            .filter_map(below)
            .collect()
    }
}

fn find(
    environment: &Environment,
    contree_variable: &str,
    xdg_variable: &str,
    below_home: &str,
) -> Result<PathBuf, DirectoryError> {
    if let Some(path) = environment.path(contree_variable)? {
        return Ok(std::path::absolute(&path).unwrap_or(path));
    }
    let base = match environment.absolute(xdg_variable) {
        Some(base) => base,
        None => environment
            .home()
            .ok_or(DirectoryError::NoHome)?
            .join(below_home),
    };
    Ok(base.join("contree"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directories(pairs: &[(&str, &str)]) -> Directories {
        Directories::find(&pairs.iter().copied().collect()).unwrap()
    }

    #[test]
    fn contree_variables_come_first() {
        let found = directories(&[
            ("HOME", "/h"),
            ("XDG_DATA_HOME", "/x"),
            ("CONTREE_DATA_DIR", "/d"),
            ("CONTREE_STATE_DIR", "/s"),
        ]);
        assert_eq!((found.data, found.state), ("/d".into(), "/s".into()));
    }

    #[test]
    fn then_xdg_then_home() {
        let found = directories(&[("HOME", "/h"), ("XDG_DATA_HOME", "/x")]);
        assert_eq!(
            (found.data, found.state),
            ("/x/contree".into(), "/h/.local/state/contree".into())
        );
    }

    #[test]
    fn a_relative_xdg_variable_is_ignored() {
        let found = directories(&[("HOME", "/h"), ("XDG_STATE_HOME", "state")]);
        assert_eq!(found.state, PathBuf::from("/h/.local/state/contree"));
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_is_not_utf_8_is_not_replaced_by_the_default() {
        use std::ffi::{OsStr, OsString};
        use std::os::unix::ffi::OsStrExt as _;
        let path = OsStr::from_bytes(b"/d\xff").to_owned();
        let pairs = [
            ("HOME", OsString::from("/h")),
            ("CONTREE_DATA_DIR", path.clone()),
        ];
        let environment: Environment = pairs.into_iter().collect();
        let found = Directories::find(&environment).unwrap();
        assert_eq!(found.data, PathBuf::from(path.clone()));
        assert_eq!(environment.check(), Ok(()));
        let environment: Environment = [("CONTREE_EGRESS_DENY", path)].into_iter().collect();
        let error = environment.check().unwrap_err().to_string();
        assert!(error.contains("CONTREE_EGRESS_DENY"), "{error}");
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let found = directories(&[
            ("HOME", "/h"),
            ("XDG_STATE_HOME", "~/s"),
            ("CONTREE_DATA_DIR", "~/d"),
        ]);
        assert_eq!(
            (found.data, found.state),
            ("/h/d".into(), "/h/s/contree".into())
        );
        let found = directories(&[("HOME", "/h"), ("CONTREE_STATE_DIR", "~")]);
        assert_eq!(found.state, PathBuf::from("/h"));
    }

    #[test]
    fn the_home_of_another_user_is_an_error_that_names_the_variable() {
        for name in [
            "CONTREE_DATA_DIR",
            "CONTREE_STATE_DIR",
            "CONTREE_HOME",
            "CONTREE_MCP_CONFIG",
        ] {
            let variables = [("HOME", "/h"), (name, "~other/x")];
            let environment: Environment = variables.into_iter().collect();
            let error = environment.check().unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains("`~other/x`"),
                "{error}"
            );
        }
        // The specification requires that such a path is ignored.
        let found = directories(&[("HOME", "/h"), ("XDG_DATA_HOME", "~other/x")]);
        assert_eq!(found.data, PathBuf::from("/h/.local/share/contree"));
    }

    #[test]
    fn a_relative_contree_variable_is_made_absolute() {
        let found = directories(&[("HOME", "/h"), ("CONTREE_DATA_DIR", "here")]);
        assert_eq!(found.data, std::env::current_dir().unwrap().join("here"));
    }
}
