//! Where an image comes from.

use std::path::{Path, PathBuf};

use contree_registry::{BadReference, Reference};

/// Why a text names no image that could be imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// A path counts from nowhere.
    #[error("`{0}` takes an absolute path of this machine")]
    RelativePath(&'static str),
    /// It is no reference to an image of a registry.
    #[error(transparent)]
    Reference(#[from] BadReference),
}

/// Where an image comes from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A registry; with the text as it was given.
    Registry(Box<Reference>, String),
    /// A path of this machine.
    Local(Kind, String),
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory as of the OCI image-spec, image-layout.md.
    Layout,
    /// A tar archive as `docker save` writes it.
    Archive,
    /// A tar archive of files, packed or not.
    Rootfs,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Layout, Self::Archive, Self::Rootfs];

    fn prefix(self) -> &'static str {
        match self {
            Self::Layout => "oci-layout:",
            Self::Archive => "docker-archive:",
            Self::Rootfs => "rootfs:",
        }
    }
}

impl Origin {
    /// Reads `docker://…`, `oci://…`, a bare reference, or one of the local forms, whose paths are absolute.
    pub(crate) fn read(url: &str) -> Result<Self, SourceError> {
        for kind in Kind::ALL {
            let Some(rest) = url.strip_prefix(kind.prefix()) else {
                continue;
            };
            if !rest.starts_with('/') || rest.contains('\0') {
                return Err(SourceError::RelativePath(kind.prefix()));
            }
            return Ok(Self::Local(kind, rest.to_owned()));
        }
        let reference = url.parse::<Reference>()?;
        Ok(Self::Registry(Box::new(reference), url.to_owned()))
    }

    /// The text that it was read from. It holds no password.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Registry(_, url) => url.clone(),
            Self::Local(kind, rest) => format!("{}{rest}", kind.prefix()),
        }
    }

    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Local(..))
    }
}

/// Splits `PATH[:NAME]`. Either may hold colons: the longest path that is there counts.
pub(crate) fn split(text: &str) -> (PathBuf, Option<String>) {
    let mut end = text.len();
    loop {
        let (path, name) = (&text[..end], text.get(end + 1..));
        if Path::new(path).exists() {
            return (
                path.into(),
                name.filter(|name| !name.is_empty()).map(str::to_owned),
            );
        }
        match path.rfind(':') {
            Some(colon) => end = colon,
            None => return (text.into(), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_after_paths() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a:b");
        std::fs::write(&path, "").unwrap();
        let text = path.to_str().unwrap();
        assert_eq!(split(text), (path.clone(), None));
        assert_eq!(
            split(&format!("{text}:x:1")),
            (path.clone(), Some("x:1".into()))
        );
        assert_eq!(split("/missing:x"), (PathBuf::from("/missing:x"), None));
    }

    #[test]
    fn forms() {
        for (url, local) in [
            ("alpine", false),
            ("docker://ghcr.io/a/b", false),
            ("oci://ghcr.io/a/b", false),
            ("rootfs:/a.tar", true),
            ("oci-layout:/a:1", true),
            ("docker-archive:/a", true),
        ] {
            let origin = Origin::read(url).unwrap();
            assert_eq!((origin.is_local(), origin.url()), (local, url.to_owned()));
        }
        assert!(Origin::read("oci-layout:a").is_err());
    }
}
