//! Paths in arguments: on this machine, and in images.

use std::path::PathBuf;

use contree_paths::expand_home;

use super::ToolError;

/// Returns a path on this machine. It must be absolute or begin with `~/`.
pub(super) fn local_path(argument: &str, path: &str) -> Result<PathBuf, ToolError> {
    let expanded = expand_home(path, std::env::home_dir)
        .map_err(|error| ToolError::invalid_because(format_args!("`{argument}`"), error))?;
    if expanded.is_absolute() {
        return Ok(expanded);
    }
    Err(ToolError::invalid(format!(
        "`{argument}` must be absolute or begin with `~/`, not `{path}`"
    )))
}

/// Reports whether a path can name only a directory: it ends in `/`, `/.` or `/..`.
pub(super) fn names_directory(path: &str) -> bool {
    path.rsplit_once('/')
        .is_some_and(|(_, last)| matches!(last, "" | "." | ".."))
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
        let other = local_path("path", "~other/x").unwrap_err().to_string();
        assert!(
            other.contains("`path`") && other.contains("another user"),
            "{other}"
        );
        for bad in ["x", "./x", ""] {
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
    fn a_path_with_a_slash_at_its_end_names_a_directory() {
        for path in ["/a/", "/", "/a/.", "/a/..", "~/", "/a//"] {
            assert!(names_directory(path), "{path}");
        }
        for path in ["/a", "/a/.b", "/a/b..", "~", "/a/..."] {
            assert!(!names_directory(path), "{path}");
        }
    }

    #[test]
    fn paths_in_images_are_absolute() {
        assert_eq!(path_in_image("etc"), "/etc");
        assert_eq!(path_in_image("/etc"), "/etc");
        assert_eq!(path_in_image(""), "/");
    }
}
