//! The error of a tool, by what a caller can do about it.

use std::fmt;
use std::io;
use std::path::Path;

use super::failure::{Failure, names_remedy};
use crate::Error;
use crate::store::StoreError;
use contree_registry::RegistryError;

/// A failed call. Each variant says in words what failed, and what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// The arguments cannot be meant: give others.
    #[error(transparent)]
    InvalidArgument(Failure),
    /// What was asked for does not exist: look for its name.
    #[error(transparent)]
    NotFound(Failure),
    /// The settings of this server do not allow it: its user can change them.
    #[error(transparent)]
    Refused(Failure),
    /// The user does not want it: ask what to do instead.
    #[error(transparent)]
    Declined(Failure),
    /// A file of this machine cannot be used as it is.
    #[error(transparent)]
    LocalFile(Failure),
    /// A registry does not accept the credentials, cannot be reached, or needs some that are not known.
    #[error(transparent)]
    Registry(Failure),
    /// There is no backend: the settings are incomplete, or the embedded engine cannot start.
    #[error(transparent)]
    NoBackend(Failure),
    /// The backend does not answer: check the network, or try later.
    #[error(transparent)]
    Unreachable(Failure),
    /// The backend failed: try again.
    #[error(transparent)]
    BackendFailed(Failure),
    /// The backend refuses the request, or its answer cannot be used.
    #[error(transparent)]
    BackendRefused(Failure),
    /// An operation could not run, or what it ran on is lost.
    #[error(transparent)]
    OperationFailed(Failure),
    /// An operation goes on although nobody waits for it any more: wait again.
    #[error(transparent)]
    StillRunning(Failure),
    /// The caller does not want the answer any more.
    #[error(transparent)]
    Cancelled(Failure),
    /// What tools remember between calls can be neither read nor written.
    #[error(transparent)]
    Store(Failure),
    /// This program failed.
    #[error(transparent)]
    Internal(Failure),
}

impl ToolError {
    /// An error in the arguments.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidArgument(Failure::new(message))
    }

    /// An error in the arguments that another one is behind.
    pub(super) fn invalid_because(
        context: impl fmt::Display,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::InvalidArgument(Failure::new(format!("{context}: {source}")).because_of(source))
    }

    /// An error for something that does not exist.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::NotFound(Failure::new(message))
    }

    /// An error for what the settings of this server do not allow.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::Refused(Failure::new(message))
    }

    /// An error for what the user does not want.
    pub(super) fn declined(message: impl Into<String>) -> Self {
        Self::Declined(Failure::new(message))
    }

    /// An error for a file of this machine that is not what it has to be.
    pub(super) fn unusable_file(message: impl Into<String>) -> Self {
        Self::LocalFile(Failure::new(message))
    }

    /// An error for a file of this machine that cannot be read or written.
    pub(super) fn local_file(path: &Path, source: io::Error) -> Self {
        let failure = Failure::new(format!("{}: {source}", path.display()));
        Self::LocalFile(failure.because_of(source))
    }

    /// An error for a login that a registry needs.
    pub(super) fn no_login(message: impl Into<String>) -> Self {
        Self::Registry(Failure::new(message))
    }

    /// An error for settings that name no backend; the message says what to do.
    pub fn no_backend_because(message: impl Into<String>) -> Self {
        Self::NoBackend(Failure::new(message))
    }

    /// An error for a backend that cannot be had.
    pub fn no_backend(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::NoBackend(Failure::of(source))
    }

    /// An error for an answer of the backend that cannot be used.
    pub(super) fn unusable_answer(message: impl Into<String>) -> Self {
        Self::BackendRefused(Failure::new(message))
    }

    /// An error for an operation that did not come to a good end.
    pub(super) fn operation_failed(message: impl Into<String>) -> Self {
        Self::OperationFailed(Failure::new(message))
    }

    /// An error for a call that was cancelled.
    pub(super) fn cancelled(message: impl Into<String>) -> Self {
        Self::Cancelled(Failure::new(message))
    }

    /// An error of this program.
    pub(super) fn internal(
        context: impl fmt::Display,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Internal(Failure::new(format!("{context}: {source}")).because_of(source))
    }

    /// Whether the fault is with the backend or the way to it rather than with what was asked for.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::BackendFailed(_) | Self::Unreachable(_))
    }

    /// Whether what was asked for does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// Whether the backend did not answer at all.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// Says what to do, as a sentence of its own.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.failure_mut().set_hint(hint.into());
        self
    }

    /// Adds a line to what there is to do.
    pub(super) fn and_hint(mut self, more: impl fmt::Display) -> Self {
        self.failure_mut().add_hint(&more);
        self
    }

    /// Says that the message is to be shown whole, for what bounds its length is the caller's wish.
    pub(super) fn whole(mut self) -> Self {
        self.failure_mut().show_whole();
        self
    }

    /// The same with another name for a file.
    pub(super) fn renamed(mut self, from: &Path, to: &Path) -> Self {
        let (from, to) = (from.display().to_string(), to.display().to_string());
        self.failure_mut().replace(&from, &to);
        self
    }

    /// The message without "the backend answered" and its status, which mean nothing to a user whose backend is this process.
    pub(super) fn in_own_words(mut self) -> Self {
        self.failure_mut().remove_status();
        self
    }

    /// What failed, and what to do about it.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        match self {
            Self::InvalidArgument(failure)
            | Self::NotFound(failure)
            | Self::Refused(failure)
            | Self::Declined(failure)
            | Self::LocalFile(failure)
            | Self::Registry(failure)
            | Self::NoBackend(failure)
            | Self::Unreachable(failure)
            | Self::BackendFailed(failure)
            | Self::BackendRefused(failure)
            | Self::OperationFailed(failure)
            | Self::StillRunning(failure)
            | Self::Cancelled(failure)
            | Self::Store(failure)
            | Self::Internal(failure) => failure,
        }
    }

    fn failure_mut(&mut self) -> &mut Failure {
        match self {
            Self::InvalidArgument(failure)
            | Self::NotFound(failure)
            | Self::Refused(failure)
            | Self::Declined(failure)
            | Self::LocalFile(failure)
            | Self::Registry(failure)
            | Self::NoBackend(failure)
            | Self::Unreachable(failure)
            | Self::BackendFailed(failure)
            | Self::BackendRefused(failure)
            | Self::OperationFailed(failure)
            | Self::StillRunning(failure)
            | Self::Cancelled(failure)
            | Self::Store(failure)
            | Self::Internal(failure) => failure,
        }
    }
}

impl From<Error> for ToolError {
    fn from(error: Error) -> Self {
        let status = error.status().map(|status| status.as_u16());
        let variant = match &error {
            Error::Connection(_) | Error::Timeout(_) => Self::Unreachable,
            Error::Api { status, .. } if *status == 404 => Self::NotFound,
            Error::Api { status, .. } if status.is_server_error() => Self::BackendFailed,
            Error::Api { .. } | Error::Protocol(_) => Self::BackendRefused,
            Error::Io { .. } | Error::FileChanged { .. } => Self::LocalFile,
            Error::InvalidArgument(_) => Self::InvalidArgument,
            Error::WaitTimedOut { .. } => Self::StillRunning,
            Error::Engine(_) => Self::NoBackend,
        };
        let mut failure = Failure::of(error);
        let hint = match status {
            _ if names_remedy(failure.message()) => None,
            Some(401) => {
                Some("The backend did not accept the credentials: ask the user to check them.")
            }
            Some(403) => {
                Some("The credentials do not allow this; `whoami()` lists what they allow.")
            }
            Some(404) => Some(
                "Check the id or path: `list_images()` and `list_operations()` show what there is, `list_files()` looks \
                 into an image.",
            ),
            Some(429) => {
                Some("Too much at once: wait for running operations before starting more.")
            }
            Some(502..=504) => Some("The service is out of reach for the moment: try again later."),
            _ => None,
        };
        if let Some(hint) = hint {
            failure.set_hint(hint.to_owned());
        }
        variant(failure)
    }
}

impl<E> From<progenitor_client::Error<E>> for ToolError
where
    Error: From<progenitor_client::Error<E>>,
{
    fn from(error: progenitor_client::Error<E>) -> Self {
        Error::from(error).into()
    }
}

impl From<RegistryError> for ToolError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Name { .. } => Self::InvalidArgument(Failure::of(error)),
            error => Self::Registry(Failure::of(error)),
        }
    }
}

impl From<StoreError> for ToolError {
    fn from(error: StoreError) -> Self {
        Self::Store(Failure::of(error))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn answered(status: u16, message: &str) -> Error {
        Error::Api {
            status: http::StatusCode::from_u16(status).unwrap(),
            message: message.to_owned(),
            retry_after: None,
        }
    }

    #[test]
    fn errors_of_the_backend_are_told_apart_and_keep_their_source() {
        for (status, ours, missing) in [
            (400, false, false),
            (404, false, true),
            (429, false, false),
            (500, true, false),
            (503, true, false),
        ] {
            let error = ToolError::from(answered(status, "why"));
            assert_eq!((error.is_ours(), error.is_missing()), (ours, missing));
            let source = error.source().and_then(|source| source.downcast_ref());
            assert!(matches!(source, Some(Error::Api { .. })), "{status}");
        }
        let lost = ToolError::from(Error::Connection("refused".into()));
        assert!(lost.is_unreachable() && lost.is_ours());
        let odd = ToolError::from(Error::Protocol("odd".into()));
        assert!(!odd.is_ours() && !odd.is_missing());
    }

    #[test]
    fn a_message_that_names_the_remedy_gets_no_other_hint() {
        let error = ToolError::from(answered(403, "not allowed; ask somebody"));
        assert_eq!(error.failure().hint(), None);
        let error = ToolError::from(answered(403, "not allowed"));
        assert!(
            error
                .to_string()
                .contains("\nThe credentials do not allow this")
        );
    }

    #[test]
    fn a_file_keeps_what_the_system_said() {
        let error = ToolError::local_file(Path::new("/x"), io::ErrorKind::NotFound.into());
        assert!(error.to_string().starts_with("/x: "), "{error}");
        assert!(error.source().is_some());
    }
}
