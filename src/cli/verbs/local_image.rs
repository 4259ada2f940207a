//! Images in layouts and archives of this machine, whose names look like those in a registry.

use std::path::Path;

use super::error::VerbError;
use super::import::{is_archive, is_local_scheme};

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
