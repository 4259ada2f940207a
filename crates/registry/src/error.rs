//! The errors of using a registry.

use std::io;
use std::path::PathBuf;

use contree_error_codes::ErrorCode;

use super::RegistryHost;
use super::manifest::ManifestError;

/// The reason why a registry cannot be used. No variant carries a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The text does not name a registry.
    #[error("`{input}` does not name a registry: {why}")]
    Name {
        /// The text.
        input: String,
        /// The reason, or the advice on a valid text.
        why: &'static str,
    },
    /// The registry or its token server cannot be reached, or the connection failed.
    #[error("cannot reach {host}: {why}")]
    Unreachable {
        /// The host.
        host: String,
        /// The error of the connection.
        why: String,
    },
    /// The certificate of the registry, its token server or its blob store is not valid, or this
    /// machine has no certificates to check it with. A retry does not help.
    #[error(
        "cannot verify the certificate of {host}: {why}; check its dates and its name, and that this machine trusts the authority that signed it"
    )]
    Certificate {
        /// The host.
        host: String,
        /// The error of the check.
        why: String,
    },
    /// The registry does not accept the credentials.
    #[error("{registry} did not accept the credentials ({message})")]
    Rejected {
        /// The registry.
        registry: RegistryHost,
        /// The status and message of the registry, or another reason.
        message: String,
    },
    /// The registry requires credentials, and the caller gave none.
    #[error("{registry} requires credentials")]
    LoginNeeded {
        /// The registry.
        registry: RegistryHost,
    },
    /// The server does not follow the distribution specification, or it requests something unsafe.
    #[error("{registry}: {why}")]
    Protocol {
        /// The registry.
        registry: RegistryHost,
        /// The reason, as a sentence about the registry. It may leave out the subject.
        why: String,
    },
    /// The downloaded content cannot be written to this machine's disk.
    #[error("cannot write {}: {source}", path.display())]
    LocalFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The registry has the image, but the image cannot be used.
    #[error("{registry}: {source}")]
    Image {
        /// The registry.
        registry: RegistryHost,
        /// The reason why the image cannot be used.
        source: ManifestError,
    },
}

impl RegistryError {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Name { .. } => ErrorCode::RegistryNameInvalid,
            Self::Unreachable { .. } | Self::Certificate { .. } => ErrorCode::RegistryUnreachable,
            Self::Rejected { .. } => ErrorCode::RegistryCredentialsRejected,
            Self::LoginNeeded { .. } => ErrorCode::RegistryLoginNeeded,
            Self::Protocol { .. } => ErrorCode::RegistryAnswerInvalid,
            Self::LocalFile { source, .. } => {
                ErrorCode::of_io(source).unwrap_or(ErrorCode::DataDirectoryUnusable)
            }
            Self::Image { source, .. } => source.code(),
        }
    }

    /// Returns whether the cause is wrong or missing credentials, and not the registry or the
    /// connection to it.
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::Rejected { .. } | Self::LoginNeeded { .. })
    }
}
