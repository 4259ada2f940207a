//! Paths in arguments: on this machine, and in images.

use std::path::PathBuf;

use super::ToolError;

/// Replaces a leading `~` with the home directory. `None` if there is no home directory.
pub(crate) fn expand_home(path: &str) -> Option<PathBuf> {
    match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            Some(std::env::home_dir()?.join(rest.trim_start_matches('/')))
        }
        _ => Some(PathBuf::from(path)),
    }
}

/// Returns a path on this machine. It must be absolute or begin with `~/`.
pub(super) fn local_path(argument: &str, path: &str) -> Result<PathBuf, ToolError> {
    let expanded = expand_home(path).ok_or_else(|| {
        ToolError::invalid("there is no home directory for `~`; give an absolute path")
    })?;
    if expanded.is_absolute() {
        return Ok(expanded);
    }
    Err(ToolError::invalid(format!(
        "`{argument}` must be absolute or begin with `~/`, not `{path}`"
    )))
}

/// Returns a path in an image as an absolute path.
pub(super) fn path_in_image(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_paths_are_absolute_or_below_home() {
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
