//! Expands a leading `~` in paths that users write into variables, options, settings files and
//! arguments.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

/// A path whose `~` cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// No home directory is known, or it is not an absolute path.
    #[error(
        "there is no home directory for the `~` of `{}`: set HOME, or give an absolute path",
        .0.display()
    )]
    NoHome(PathBuf),
    /// The path begins with the name of another user, as in `~user/x`.
    #[error(
        "`{}` names another user after `~`, and only `~` and `~/…` are expanded: give an absolute path",
        .0.display()
    )]
    OtherUser(PathBuf),
}

/// Replaces a leading `~` with the home directory. Other paths stay unchanged.
///
/// `home` is called only for a path that begins with `~`. A relative result counts as no home.
///
/// ```
/// use contree_paths::expand_home;
///
/// let home = || Some("/home/me".into());
/// assert_eq!(expand_home("~/x", home)?, std::path::Path::new("/home/me/x"));
/// assert_eq!(expand_home("/~/x", home)?, std::path::Path::new("/~/x"));
/// assert!(expand_home("~you/x", home).is_err());
/// # Ok::<(), contree_paths::HomeError>(())
/// ```
///
/// # Errors
/// - [`HomeError::NoHome`] if there is no home directory.
/// - [`HomeError::OtherUser`] for the home directory of another user, such as `~user`.
pub fn expand_home(
    path: impl AsRef<Path>,
    home: impl FnOnce() -> Option<PathBuf>,
) -> Result<PathBuf, HomeError> {
    let path = path.as_ref();
    if !path.as_os_str().as_encoded_bytes().starts_with(b"~") {
        return Ok(path.to_owned());
    }
    let Ok(below) = path.strip_prefix("~") else {
        return Err(HomeError::OtherUser(path.to_owned()));
    };
    let home = home().filter(|home| home.is_absolute());
    let home = home.ok_or_else(|| HomeError::NoHome(path.to_owned()))?;
    Ok(match below.as_os_str().is_empty() {
        true => home,
        false => home.join(below),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(path: &str) -> Result<PathBuf, HomeError> {
        expand_home(path, || Some("/h".into()))
    }

    #[test]
    fn only_a_leading_tilde_is_expanded() {
        for (path, expected) in [
            ("~", "/h"),
            ("~/", "/h"),
            ("~/x", "/h/x"),
            ("~//x/", "/h/x"),
            ("~/~", "/h/~"),
            ("/a/~/b", "/a/~/b"),
            ("./~user", "./~user"),
            ("x~", "x~"),
            ("", ""),
        ] {
            assert_eq!(expanded(path), Ok(PathBuf::from(expected)), "{path}");
        }
    }

    #[test]
    fn the_home_of_another_user_is_an_error() {
        for path in ["~user", "~user/x", "~~", "~.", "~\u{e4}/x"] {
            assert_eq!(expanded(path), Err(HomeError::OtherUser(path.into())));
        }
    }

    #[test]
    fn a_missing_or_relative_home_is_an_error() {
        for home in [None, Some(PathBuf::from("h")), Some(PathBuf::new())] {
            let error = expand_home("~/x", || home).unwrap_err();
            assert_eq!(error, HomeError::NoHome("~/x".into()));
        }
        assert_eq!(expand_home("/x", || None), Ok("/x".into()));
    }

    #[cfg(unix)]
    #[test]
    fn a_path_need_not_be_utf_8() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;
        let expand = |bytes| expand_home(OsStr::from_bytes(bytes), || Some("/h".into()));
        assert_eq!(expand(b"~/\xff"), Ok(OsStr::from_bytes(b"/h/\xff").into()));
        assert!(expand(b"~\xff/x").is_err());
    }
}
