//! Parses the source of an image.

use std::path::{Path, PathBuf};

use contree_error_codes::ErrorCode;
use contree_registry::{Reference, ReferenceError};

/// The reason why a text is not an image source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The path is not absolute.
    #[error("`{0}` needs an absolute path on this machine")]
    RelativePath(&'static str),
    /// A push cannot write this form.
    #[error(
        "a push does not write `rootfs:`; give a registry's reference, `oci-layout:DIR` or `docker-archive:FILE`"
    )]
    NoPushTarget,
    /// It is not an image reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

impl SourceError {
    /// The code of the error.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::RelativePath(_) | Self::NoPushTarget => ErrorCode::InvalidArgument,
            Self::Reference(_) => ErrorCode::RegistryNameInvalid,
        }
    }
}

/// The source of an image.
#[derive(Debug)]
pub(crate) enum ImageSource {
    /// An image in a registry, with the text of the request.
    Registry(Box<Reference>, String),
    /// A path on this machine.
    Local(LocalFormat, String),
}

/// The format of a local image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LocalFormat {
    /// An OCI layout directory (OCI image-spec, image-layout.md).
    Layout,
    /// A tar archive that `docker save` wrote.
    Archive,
    /// A tar archive of a root filesystem, compressed or not.
    Rootfs,
}

impl LocalFormat {
    const ALL: [Self; 3] = [Self::Layout, Self::Archive, Self::Rootfs];

    fn prefix(self) -> &'static str {
        match self {
            Self::Layout => "oci-layout:",
            Self::Archive => "docker-archive:",
            Self::Rootfs => "rootfs:",
        }
    }
}

impl ImageSource {
    /// Parses `docker://…`, `oci://…`, a bare reference, or one of the local forms with an absolute
    /// path.
    pub(crate) fn parse(url: &str) -> Result<Self, SourceError> {
        // skopeo and podman spell an OCI layout `oci:PATH`.
        if let Some(path) = url.strip_prefix("oci:")
            && path.starts_with('/')
            && !path.starts_with("//")
        {
            return Self::parse(&format!("{}{path}", LocalFormat::Layout.prefix()));
        }
        for format in LocalFormat::ALL {
            let Some(rest) = url.strip_prefix(format.prefix()) else {
                continue;
            };
            if !rest.starts_with('/') || rest.contains('\0') {
                return Err(SourceError::RelativePath(format.prefix()));
            }
            return Ok(Self::Local(format, rest.to_owned()));
        }
        let reference = url.parse::<Reference>()?;
        Ok(Self::Registry(Box::new(reference), url.to_owned()))
    }

    /// The text that it was parsed from. It holds no password.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Registry(_, url) => url.clone(),
            Self::Local(format, rest) => format!("{}{rest}", format.prefix()),
        }
    }

    /// The place that has the archives of the layers, for later pushes: `docker://HOST/NAME` or
    /// `oci-layout:DIR`. `None` if the archives are not stored one by one.
    pub(super) fn archive_source(&self) -> Option<String> {
        match self {
            Self::Registry(reference, _) => Some(format!(
                "docker://{}/{}",
                reference.host(),
                reference.repository()
            )),
            Self::Local(LocalFormat::Layout, text) => {
                Some(format!("oci-layout:{}", split_name(text).0.display()))
            }
            Self::Local(..) => None,
        }
    }

    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Local(..))
    }
}

/// Splits `PATH[:NAME]`. Either part may contain colons, so the longest existing path wins.
pub(crate) fn split_name(text: &str) -> (PathBuf, Option<String>) {
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
    fn names_are_split_from_paths() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a:b");
        std::fs::write(&path, "").unwrap();
        let text = path.to_str().unwrap();
        assert_eq!(split_name(text), (path.clone(), None));
        assert_eq!(
            split_name(&format!("{text}:x:1")),
            (path.clone(), Some("x:1".into()))
        );
        assert_eq!(
            split_name("/missing:x"),
            (PathBuf::from("/missing:x"), None)
        );
    }

    #[test]
    fn sources_print_as_they_were_parsed() {
        for (url, local) in [
            ("alpine", false),
            ("docker://ghcr.io/a/b", false),
            ("oci://ghcr.io/a/b", false),
            ("rootfs:/a.tar", true),
            ("oci-layout:/a:1", true),
            ("docker-archive:/a", true),
        ] {
            let source = ImageSource::parse(url).unwrap();
            assert_eq!((source.is_local(), source.url()), (local, url.to_owned()));
        }
        assert!(ImageSource::parse("oci-layout:a").is_err());
        let source = ImageSource::parse("oci:/a:1").unwrap();
        assert_eq!(source.url(), "oci-layout:/a:1");
    }
}
