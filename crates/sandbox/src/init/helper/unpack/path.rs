//! Checks paths of an archive's members.

use std::collections::HashSet;

use super::error::UnpackError;

/// The longest path of a member in bytes (PATH_MAX without its NUL).
const MAX_PATH: usize = 4095;
/// The deepest nesting of directories.
const MAX_DEPTH: usize = 512;

/// The most bytes of paths in a [`PathSet`]. Real images have some kilobytes.
const MAX_SET_BYTES: usize = 16 << 20;

/// A set of paths that takes a limited amount of memory.
#[derive(Default)]
pub(super) struct PathSet {
    paths: HashSet<Vec<u8>>,
    bytes: usize,
}

impl PathSet {
    pub(super) fn contains(&self, path: &[u8]) -> bool {
        self.paths.contains(path)
    }

    /// Adds a path.
    ///
    /// # Errors
    /// Fails if the paths take too much memory.
    pub(super) fn insert(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        self.bytes += path.len();
        if self.bytes > MAX_SET_BYTES {
            return Err(UnpackError::member(
                path,
                "is one device node, or hard link to a file of a lower layer, too many: their paths may take 16 MiB",
            ));
        }
        self.paths.insert(path.to_vec());
        Ok(())
    }

    /// Removes a path. Returns true if the set had it.
    pub(super) fn remove(&mut self, path: &[u8]) -> bool {
        self.paths.remove(path)
    }
}

/// Normalizes a path relative to the layer's root: it removes `.`, repeated and outer slashes. The
/// result is empty for the root. A leading slash means the image's root.
pub(super) fn clean(path: &[u8]) -> Result<Vec<u8>, UnpackError> {
    if path.contains(&0) {
        return Err(UnpackError::member(path, "has a NUL byte in its path"));
    }
    let mut clean = Vec::with_capacity(path.len());
    let mut depth = 0;
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => continue,
            b".." => {
                return Err(UnpackError::member(
                    path,
                    "leads out of the image with `..`",
                ));
            }
            name => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(name);
                depth += 1;
            }
        }
    }
    if clean.len() > MAX_PATH {
        return Err(UnpackError::member(
            path,
            "has a path of more than 4095 bytes",
        ));
    }
    if depth > MAX_DEPTH {
        return Err(UnpackError::member(
            path,
            "lies more than 512 directories deep",
        ));
    }
    Ok(clean)
}

pub(super) fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

pub(super) fn directory_of(path: &[u8]) -> &[u8] {
    path.iter()
        .rposition(|&byte| byte == b'/')
        .map_or(&b""[..], |end| &path[..end])
}

pub(super) fn or_dot(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (given, expected) in [
            ("./", ""),
            ("/", ""),
            ("a/./b//c/", "a/b/c"),
            ("/etc/passwd", "etc/passwd"),
            ("...", "..."),
        ] {
            let cleaned = clean(given.as_bytes()).map_err(|error| error.0);
            assert_eq!(cleaned.as_deref(), Ok(expected.as_bytes()), "{given}");
        }
        for bad in [
            &b".."[..],
            b"a/../b",
            b"/..",
            b"a\0b",
            &[b'x'; 5000],
            &b"a/".repeat(600),
        ] {
            assert!(clean(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert_eq!(
            (directory_of(b"a/b/c"), file_name(b"a/b/c")),
            (&b"a/b"[..], &b"c"[..])
        );
        assert_eq!((directory_of(b"c"), file_name(b"c")), (&b""[..], &b"c"[..]));
    }

    #[test]
    fn a_set_of_paths_takes_a_limited_amount_of_memory() {
        let mut set = PathSet::default();
        assert!(set.insert(b"a").is_ok() && set.contains(b"a"));
        assert!(set.remove(b"a") && !set.contains(b"a"));
        let path = [b'x'; 4096];
        let accepted = (0..MAX_SET_BYTES).take_while(|_| set.insert(&path).is_ok());
        assert_eq!(accepted.count(), MAX_SET_BYTES / path.len() - 1);
    }
}
