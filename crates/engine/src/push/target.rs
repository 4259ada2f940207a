//! Parses the target of a push.

use std::path::PathBuf;

use contree_registry::Reference;
use contree_registry::push::local_path::split_new_name;

use crate::import::source::{ImageSource, LocalFormat, SourceError};

/// The target of a push.
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
    Archive { path: PathBuf, name: Option<String> },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_parsed_like_sources() {
        assert!(matches!(
            PushTarget::parse("localhost:5000/a:1"),
            Ok(PushTarget::Registry(_))
        ));
        assert!(matches!(
            PushTarget::parse("oci-layout:/a:1"),
            Ok(PushTarget::Layout { .. })
        ));
        assert!(matches!(
            PushTarget::parse("docker-archive:/a"),
            Ok(PushTarget::Archive { .. })
        ));
        let error = PushTarget::parse("rootfs:/a").unwrap_err().to_string();
        assert!(error.contains("oci-layout:"), "{error}");
        assert!(PushTarget::parse("oci-layout:a").is_err());
    }
}
