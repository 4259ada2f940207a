//! What can go wrong between us and a registry.

use super::Host;
use super::manifest::ManifestError;

/// Why a registry could not be used. No variant carries a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The text names no registry.
    #[error("`{given}` names no registry: {why}")]
    Name {
        /// What was given.
        given: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It could not be reached, or the connection broke.
    #[error("cannot reach {at}: {why}")]
    Unreachable {
        /// A host.
        at: String,
        /// What the connection said.
        why: String,
    },
    /// It does not accept the credentials, or wants some and got none.
    #[error("{registry} did not accept the credentials ({said})")]
    Rejected {
        /// The registry.
        registry: Host,
        /// The status, and the registry's own words.
        said: String,
    },
    /// It asks for credentials and none were given.
    #[error("{registry} asks for credentials")]
    LoginNeeded {
        /// The registry.
        registry: Host,
    },
    /// What answers there does not speak the distribution specification, or asks for what is not safe to give.
    #[error("{registry}: {why}")]
    Protocol {
        /// The registry.
        registry: Host,
        /// What is wrong.
        why: String,
    },
    /// The registry has the image, and it cannot be taken.
    #[error("{registry}: {source}")]
    Image {
        /// The registry.
        registry: Host,
        /// What is wrong with the image.
        source: ManifestError,
    },
}

impl RegistryError {
    /// Whether it is the credentials that are wrong, not the registry or the way to it.
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::Rejected { .. } | Self::LoginNeeded { .. })
    }
}
