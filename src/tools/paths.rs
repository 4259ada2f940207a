//! Paths as arguments give them: on this machine, and in images.

use std::path::PathBuf;

use super::ToolError;

/// The path with `~` as the home directory; none if there is no such directory.
pub(crate) fn expand_home(path: &str) -> Option<PathBuf> {
    match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            Some(std::env::home_dir()?.join(rest.trim_start_matches('/')))
        }
        _ => Some(PathBuf::from(path)),
    }
}

/// A path on this machine: absolute, or below the home directory.
pub(super) fn local_path(argument: &str, path: &str) -> Result<PathBuf, ToolError> {
    let expanded = expand_home(path).ok_or_else(|| {
        ToolError::invalid("there is no home directory for `~`: give the whole path")
    })?;
    if expanded.is_absolute() {
        return Ok(expanded);
    }
    Err(ToolError::invalid(format!(
        "`{argument}` must be absolute or begin with `~/`, not `{path}`"
    )))
}

/// A path in an image: always absolute.
pub(super) fn path_in_image(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_paths_are_absolute_or_at_home() {
        let home = std::env::home_dir().unwrap();
        assert_eq!(local_path("path", "/a/b").unwrap(), PathBuf::from("/a/b"));
        assert_eq!(local_path("path", "~").unwrap(), home);
        assert_eq!(local_path("path", "~/x").unwrap(), home.join("x"));
        for bad in ["x", "./x", "~other/x", ""] {
            assert!(
                local_path("path", bad)
                    .unwrap_err()
                    .to_string()
                    .contains("`path` must be absolute"),
                "{bad}"
            );
        }
    }

    #[test]
    fn paths_in_images_are_absolute() {
        assert_eq!(path_in_image("etc"), "/etc");
        assert_eq!(path_in_image("/etc"), "/etc");
        assert_eq!(path_in_image(""), "/");
    }
}
