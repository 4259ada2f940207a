//! Images in layouts and archives of this machine, whose names look like those in a registry.

use std::path::Path;

use super::build::open_archive;
use super::error::VerbError;

/// Schemes of references to local files.
const LOCAL_SCHEMES: [&str; 8] = [
    "oci-layout",
    "oci-archive",
    "docker-archive",
    "docker-save",
    "rootfs",
    "tar",
    "dir",
    "file",
];

/// Endings of archives.
pub(super) const ARCHIVES: [&str; 3] = [".tar", ".tar.gz", ".tgz"];

/// An image in a layout or an archive, such as `app:1` in the directory `layout`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalImage {
    scheme: &'static str,
    /// The path as the user gave it.
    path: String,
    name: String,
}

impl LocalImage {
    /// Finds the layout or archive at the beginning of a text such as `layout/app:1` or
    /// `layout:app:1`. A text with a scheme is what it says.
    pub(super) fn find(text: &str) -> Option<Self> {
        if text.contains("://") || is_local_scheme(text) || Path::new(text).exists() {
            return None;
        }
        text.match_indices(['/', ':']).find_map(|(at, separator)| {
            let (path, name) = (&text[..at], &text[at + 1..]);
            if path.is_empty() || name.is_empty() {
                return None;
            }
            let file = Path::new(path);
            let scheme = if file.join("oci-layout").is_file() {
                "oci-layout"
            } else if separator == ":" && file.is_file() && is_archive(file) {
                "docker-archive"
            } else {
                return None;
            };
            Some(Self {
                scheme,
                path: path.to_owned(),
                name: name.to_owned(),
            })
        })
    }

    /// Whether the user wrote a path, which no registry has.
    pub(super) fn is_explicit(&self) -> bool {
        self.path.starts_with(['.', '/'])
    }

    /// The name of the image in the layout or archive.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The reference that names the image without doubt.
    pub(super) fn reference(&self) -> String {
        format!("{}:{}:{}", self.scheme, self.path, self.name)
    }

    /// The error of a text that may also be a name in a registry.
    pub(super) fn ambiguity(&self, text: &str) -> VerbError {
        let kind = match self.scheme {
            "oci-layout" => "an OCI layout",
            _ => "an archive",
        };
        VerbError::Usage(format!(
            "`{text}` is a name in a registry, but {} is {kind} here; give {} for the image in it, or docker://{text} for the registry",
            self.path,
            self.reference()
        ))
    }
}

/// Whether a reference names a file or a directory by its scheme.
pub(super) fn is_local_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, path)| {
        LOCAL_SCHEMES.contains(&scheme) || scheme == "oci" && !path.starts_with("//")
    })
}

/// Whether a file is an archive by its name, or one of `docker save` by its content.
fn is_archive(path: &Path) -> bool {
    let name = path.to_string_lossy();
    ARCHIVES.iter().any(|ending| name.ends_with(ending)) || is_docker_archive(path)
}

/// Whether an archive, compressed or not, is one of `docker save`, which has a manifest in its
/// root.
pub(super) fn is_docker_archive(path: &Path) -> bool {
    let Ok(Some(reader)) = open_archive(path) else {
        return false;
    };
    /// Entries before the manifest, which is among the first or the last ones.
    const MAX_ENTRIES: usize = 10_000;
    let mut archive = tar::Archive::new(reader);
    let Ok(entries) = archive.entries() else {
        return false;
    };
    let mut names = entries.take(MAX_ENTRIES).map_while(Result::ok);
    names.any(|entry| entry.path_bytes().as_ref() == b"manifest.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_layouts_and_archives_are_meant() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display();
        std::fs::create_dir_all(folder.path().join("a/layout")).unwrap();
        std::fs::create_dir(folder.path().join("ubuntu")).unwrap();
        std::fs::write(folder.path().join("a/layout/oci-layout"), "{}").unwrap();
        std::fs::write(folder.path().join("text"), "").unwrap();
        for text in ["a/layout/app:1", "a/layout:app:1"] {
            let found = LocalImage::find(&format!("{root}/{text}")).unwrap();
            assert_eq!(
                found.reference(),
                format!("oci-layout:{root}/a/layout:app:1"),
                "{text}"
            );
            assert!(found.is_explicit() && found.name() == "app:1");
        }
        for text in [
            "ubuntu/nginx:1",
            "ubuntu:noble",
            "text:1",
            "missing:1",
            "a/layout",
            "a/layout/",
        ] {
            assert_eq!(LocalImage::find(&format!("{root}/{text}")), None, "{text}");
        }
        assert_eq!(LocalImage::find("docker://layout/app:1"), None);
        assert_eq!(LocalImage::find("oci-layout:a/layout:app:1"), None);
    }
}
