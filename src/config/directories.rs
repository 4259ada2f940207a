//! Where the store of the tools and the data of the engine live.

use std::path::PathBuf;

use super::Environment;

/// No place for a directory was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no home directory to keep data in: set HOME, or CONTREE_DATA_DIR and CONTREE_STATE_DIR"
)]
pub struct DirectoryError;

/// The directories in use. Nothing is created here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Directories {
    /// Images, layers, files and operations of the embedded engine.
    pub data: PathBuf,
    /// What the tools remember between calls.
    pub state: PathBuf,
}

impl Directories {
    /// Finds them: `$CONTREE_DATA_DIR`, else `$XDG_DATA_HOME/contree`, else `~/.local/share/contree`, and
    /// likewise `$CONTREE_STATE_DIR`, `$XDG_STATE_HOME`, `~/.local/state`. A relative `CONTREE_*_DIR` is
    /// taken from the working directory.
    ///
    /// # Errors
    /// When a directory depends on a home directory and there is none.
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

    /// Where they are for a user who has chosen nothing, as far as there is a home directory.
    #[must_use]
    pub fn usual(environment: &Environment) -> Vec<PathBuf> {
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
    own: &str,
    xdg: &str,
    below_home: &str,
) -> Result<PathBuf, DirectoryError> {
    if let Some(path) = environment.get(own) {
        return Ok(std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path)));
    }
    let base = match environment.absolute(xdg) {
        Some(base) => base,
        None => environment.home().ok_or(DirectoryError)?.join(below_home),
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
    fn own_variables_come_first() {
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

    #[test]
    fn a_relative_own_variable_is_made_absolute() {
        let found = directories(&[("HOME", "/h"), ("CONTREE_DATA_DIR", "here")]);
        assert_eq!(found.data, std::env::current_dir().unwrap().join("here"));
    }
}
