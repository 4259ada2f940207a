//! Parses where an image is pushed to.

use std::path::{Path, PathBuf};

use contree_registry::Reference;

use crate::import::source::{ImageSource, LocalFormat, SourceError};

/// Where an image is pushed to.
#[derive(Debug)]
pub(crate) enum PushTarget {
    /// A repository of a registry.
    Registry(Box<Reference>),
    /// An OCI layout directory, and the name of the image in it.
    Layout {
        directory: PathBuf,
        name: Option<String>,
    },
    /// A new archive of the form that `docker save` writes, and the name of the image in it.
    Archive {
        path: PathBuf,
        name: Option<String>,
    },
}

impl PushTarget {
    /// Parses the same forms as an import, except for `rootfs:`.
    pub(crate) fn parse(url: &str) -> Result<Self, SourceError> {
        Ok(match ImageSource::parse(url)? {
            ImageSource::Registry(reference, _) => Self::Registry(reference),
            ImageSource::Local(LocalFormat::Layout, text) => {
                let (directory, name) = split_new_name(&text);
                Self::Layout { directory, name }
            }
            ImageSource::Local(LocalFormat::Archive, text) => {
                let (path, name) = split_new_name(&text);
                Self::Archive { path, name }
            }
            ImageSource::Local(LocalFormat::Rootfs, _) => return Err(SourceError::NoPushTarget),
        })
    }

    pub(crate) fn is_local(&self) -> bool {
        !matches!(self, Self::Registry(_))
    }
}

/// Splits `PATH[:NAME]` of a path that may not exist yet. An existing path wins; otherwise the name
/// begins at the first colon of the last component.
fn split_new_name(text: &str) -> (PathBuf, Option<String>) {
    let mut end = text.len();
    loop {
        let candidate = &text[..end];
        // The root and other parents exist, but they are not what the text means.
        if Path::new(candidate).exists() && (end == text.len() || text[end..].starts_with(':')) {
            let name = text.get(end + 1..).filter(|name| !name.is_empty());
            return (candidate.into(), name.map(str::to_owned));
        }
        match candidate.rfind(':') {
            Some(colon) => end = colon,
            None => break,
        }
    }
    // The longest part before a colon whose parent directory exists.
    let mut end = text.len();
    let mut best = None;
    while let Some(colon) = text[..end].rfind(':') {
        let parent = Path::new(&text[..colon]).parent();
        if parent.is_some_and(Path::is_dir) {
            best = Some(colon);
        }
        end = colon;
    }
    match best {
        Some(colon) => {
            let name = Some(text[colon + 1..].to_owned()).filter(|name| !name.is_empty());
            (text[..colon].into(), name)
        }
        None => (text.into(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_from_new_and_existing_paths() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display().to_string();
        let new = split_new_name(&format!("{root}/new:app:1"));
        assert_eq!(new, (folder.path().join("new"), Some("app:1".into())));
        let slash = split_new_name(&format!("{root}/new:org/app:1"));
        assert_eq!(slash, (folder.path().join("new"), Some("org/app:1".into())));
        let alone = split_new_name(&format!("{root}/new"));
        assert_eq!(alone, (folder.path().join("new"), None));
        std::fs::write(folder.path().join("a:b"), "").unwrap();
        let existing = split_new_name(&format!("{root}/a:b:x"));
        assert_eq!(existing, (folder.path().join("a:b"), Some("x".into())));
    }

    #[test]
    fn targets_are_parsed_like_sources() {
        assert!(matches!(PushTarget::parse("localhost:5000/a:1"), Ok(PushTarget::Registry(_))));
        assert!(matches!(PushTarget::parse("oci-layout:/a:1"), Ok(PushTarget::Layout { .. })));
        assert!(matches!(PushTarget::parse("docker-archive:/a"), Ok(PushTarget::Archive { .. })));
        let error = PushTarget::parse("rootfs:/a").unwrap_err().to_string();
        assert!(error.contains("oci-layout:"), "{error}");
        assert!(PushTarget::parse("oci-layout:a").is_err());
    }
}
