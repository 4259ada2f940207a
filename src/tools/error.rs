//! The error of a tool. Its variants differ in what the caller can do.

use std::fmt;
use std::io;
use std::path::Path;

use super::error_details::{ErrorDetails, names_remedy};
use crate::Error;
use crate::store::StoreError;
use contree_error_codes::ErrorCode;
use contree_registry::RegistryError;

/// The error of a failed call. Its message says what failed and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// The arguments are invalid: send others.
    #[error(transparent)]
    InvalidArgument(ErrorDetails),
    /// The named object does not exist: look up its name.
    #[error(transparent)]
    NotFound(ErrorDetails),
    /// The settings of this server forbid it: its user can change them.
    #[error(transparent)]
    Refused(ErrorDetails),
    /// The user declined: ask what to do instead.
    #[error(transparent)]
    Declined(ErrorDetails),
    /// A local file cannot be used.
    #[error(transparent)]
    LocalFile(ErrorDetails),
    /// A registry rejected the credentials, is unreachable, or needs credentials that are not
    /// stored.
    #[error(transparent)]
    Registry(ErrorDetails),
    /// There is no backend: the settings are incomplete, or the embedded engine cannot start.
    #[error(transparent)]
    NoBackend(ErrorDetails),
    /// The backend does not answer: check the network, or retry later.
    #[error(transparent)]
    Unreachable(ErrorDetails),
    /// The backend failed: retry.
    #[error(transparent)]
    BackendFailed(ErrorDetails),
    /// The backend may have acted on a request that must not be repeated blindly: look first.
    #[error(transparent)]
    Unconfirmed(ErrorDetails),
    /// The backend refused the request, or its answer cannot be used.
    #[error(transparent)]
    BackendRefused(ErrorDetails),
    /// An operation could not run, or its input is lost.
    #[error(transparent)]
    OperationFailed(ErrorDetails),
    /// An operation still runs after the wait ended: wait again.
    #[error(transparent)]
    StillRunning(ErrorDetails),
    /// The call was cancelled.
    #[error(transparent)]
    Cancelled(ErrorDetails),
    /// The state store cannot be read or written.
    #[error(transparent)]
    Store(ErrorDetails),
    /// This program failed.
    #[error(transparent)]
    Internal(ErrorDetails),
}

/// The details of an error. They are mutable if the reference to the error is.
macro_rules! details_of {
    ($error:expr) => {
        match $error {
            Self::InvalidArgument(details)
            | Self::NotFound(details)
            | Self::Refused(details)
            | Self::Declined(details)
            | Self::LocalFile(details)
            | Self::Registry(details)
            | Self::NoBackend(details)
            | Self::Unreachable(details)
            | Self::BackendFailed(details)
            | Self::Unconfirmed(details)
            | Self::BackendRefused(details)
            | Self::OperationFailed(details)
            | Self::StillRunning(details)
            | Self::Cancelled(details)
            | Self::Store(details)
            | Self::Internal(details) => details,
        }
    };
}

impl ToolError {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        let of_kind = match self {
            Self::InvalidArgument(_) => ErrorCode::InvalidArgument,
            Self::NotFound(_) => ErrorCode::NotFound,
            Self::Refused(_) => ErrorCode::PathNotAllowed,
            Self::Declined(_) => ErrorCode::UserDeclined,
            Self::LocalFile(_) => ErrorCode::LocalFileUnusable,
            Self::Registry(_) => ErrorCode::LoginNotStored,
            Self::NoBackend(_) => ErrorCode::EngineFailed,
            Self::Unreachable(_) => ErrorCode::ConnectionFailed,
            Self::BackendFailed(_) => ErrorCode::ServiceFailed,
            Self::Unconfirmed(_) => ErrorCode::Unconfirmed,
            Self::BackendRefused(_) => ErrorCode::InvalidAnswer,
            Self::OperationFailed(_) => ErrorCode::OperationFailed,
            Self::StillRunning(_) => ErrorCode::WaitTimedOut,
            Self::Cancelled(_) => ErrorCode::Cancelled,
            Self::Store(_) => ErrorCode::StoreUnusable,
            Self::Internal(_) => ErrorCode::ProgramError,
        };
        self.details().code().unwrap_or(of_kind)
    }

    /// Replaces the code.
    #[must_use]
    pub fn with_code(mut self, code: ErrorCode) -> Self {
        self.details_mut().set_code(code);
        self
    }

    /// Creates an error for invalid arguments.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidArgument(ErrorDetails::new(message))
    }

    /// Creates an error for invalid arguments that `source` caused.
    pub(super) fn invalid_because(
        context: impl fmt::Display,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::InvalidArgument(ErrorDetails::new(format!("{context}: {source}")).because_of(source))
    }

    /// Creates an error for an object that does not exist.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::NotFound(ErrorDetails::new(message))
    }

    /// Creates an error for an action that the server's settings forbid.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::Refused(ErrorDetails::new(message))
    }

    /// Creates an error for an action that the user declined.
    pub(super) fn declined(message: impl Into<String>) -> Self {
        Self::Declined(ErrorDetails::new(message))
    }

    /// Creates an error for a local file of the wrong kind.
    pub(super) fn unusable_file(message: impl Into<String>) -> Self {
        Self::LocalFile(ErrorDetails::new(message))
    }

    /// Creates an error for a local file that cannot be read or written.
    pub(super) fn local_file(path: &Path, source: io::Error) -> Self {
        let mut details = ErrorDetails::new(format!("{}: {source}", path.display()));
        if let Some(code) = ErrorCode::of_io(&source) {
            details.set_code(code);
        }
        Self::LocalFile(details.because_of(source))
    }

    /// Creates an error for missing registry credentials.
    pub(super) fn no_login(message: impl Into<String>) -> Self {
        Self::Registry(ErrorDetails::new(message))
    }

    /// Creates an error for settings that select no backend. The message must say what to do.
    pub fn no_backend_because(message: impl Into<String>) -> Self {
        Self::NoBackend(ErrorDetails::new(message))
    }

    /// Creates an error for a backend that cannot be used.
    pub fn no_backend(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::NoBackend(ErrorDetails::of(source))
    }

    /// Creates an error for an unusable answer of the backend.
    pub(super) fn unusable_answer(message: impl Into<String>) -> Self {
        Self::BackendRefused(ErrorDetails::new(message))
    }

    /// Creates an error for a failed operation.
    pub(super) fn operation_failed(message: impl Into<String>) -> Self {
        Self::OperationFailed(ErrorDetails::new(message))
    }

    /// Creates an error for a cancelled call.
    pub(crate) fn cancelled(message: impl Into<String>) -> Self {
        Self::Cancelled(ErrorDetails::new(message))
    }

    /// Creates an error for a failure of this program.
    pub(super) fn internal(
        context: impl fmt::Display,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Internal(ErrorDetails::new(format!("{context}: {source}")).because_of(source))
    }

    /// Reports whether the backend or the network is at fault, not the request.
    #[must_use]
    pub fn is_backend_fault(&self) -> bool {
        matches!(
            self,
            Self::BackendFailed(_) | Self::Unreachable(_) | Self::Unconfirmed(_)
        )
    }

    /// Reports whether the named object does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// Reports whether the backend refused the request itself, so that a repeat would fail too.
    pub(super) fn is_refused_by_backend(&self) -> bool {
        matches!(
            self,
            Self::BackendRefused(_) | Self::NotFound(_) | Self::InvalidArgument(_)
        )
    }

    /// Reports whether the backend did not answer at all.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// Sets the hint: a sentence that says what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.details_mut().set_hint(hint.into());
        self
    }

    /// Adds a line to the hint.
    pub(super) fn and_hint(mut self, more: impl fmt::Display) -> Self {
        self.details_mut().add_hint(&more);
        self
    }

    /// Adds a hint to the error of a request that the backend may have carried out nevertheless,
    /// and that is safe to repeat. `effect` is a sentence that says what may have happened.
    pub(super) fn safe_to_repeat(self, effect: &str) -> Self {
        match self {
            Self::Unreachable(_) | Self::BackendFailed(_) => {
                self.and_hint(format_args!("{effect} The same call is safe to repeat."))
            }
            error => error,
        }
    }

    /// Exempts the message from shortening, because the caller chose the bound of its length.
    pub(super) fn without_shortening(mut self) -> Self {
        self.details_mut().show_whole();
        self
    }

    /// Replaces a file's path in the message.
    pub(super) fn with_path_replaced(mut self, from: &Path, to: &Path) -> Self {
        let (from, to) = (from.display().to_string(), to.display().to_string());
        self.details_mut().replace(&from, &to);
        self
    }

    /// Removes "the backend answered" and the status from the message. They mean nothing to a user
    /// whose backend is this process.
    pub(super) fn without_status(mut self) -> Self {
        self.details_mut().remove_status();
        self
    }

    /// Returns the message, hint and cause.
    #[must_use]
    pub fn details(&self) -> &ErrorDetails {
        details_of!(self)
    }

    fn details_mut(&mut self) -> &mut ErrorDetails {
        details_of!(self)
    }
}

impl From<Error> for ToolError {
    fn from(error: Error) -> Self {
        let status = error.status().map(|status| status.as_u16());
        let code = error.code();
        let variant = match &error {
            error if error.is_unconfirmed() => Self::Unconfirmed,
            Error::Connection(_) | Error::Timeout(_) | Error::NotContree(_) => Self::Unreachable,
            Error::Api { status, .. } if *status == 404 => Self::NotFound,
            Error::Api { status, .. } if status.is_server_error() => Self::BackendFailed,
            Error::Api { .. }
            | Error::Protocol(_)
            | Error::Unconfirmed(_)
            | Error::Unsupported(_) => Self::BackendRefused,
            Error::Registry(_) => Self::Registry,
            Error::Io { .. } | Error::FileChanged { .. } => Self::LocalFile,
            Error::InvalidArgument(_) => Self::InvalidArgument,
            Error::WaitTimedOut { .. } => Self::StillRunning,
            Error::Engine(_) | Error::NoRuntime => Self::NoBackend,
            Error::Exit(_) | Error::Operation { .. } => Self::OperationFailed,
            Error::NotUtf8(_) => Self::BackendRefused,
            Error::Other(_) => Self::Internal,
        };
        let mut details = ErrorDetails::of(error);
        details.set_code(code);
        let hint = match status {
            _ if names_remedy(details.message()) => None,
            Some(401) => {
                Some("The backend rejected the credentials: ask the user to check the token.")
            }
            Some(403) => {
                Some("The credentials do not allow this; `whoami()` lists what they allow.")
            }
            Some(404) => Some(
                "Check the id or path: `list_images()`, `list_operations()` and `list_files(image=…)` show which exist.",
            ),
            Some(429) => Some(
                "Too many requests or operations at once: wait for running operations before you start more.",
            ),
            Some(502..=504) => Some("The service is temporarily unavailable: retry later."),
            _ => None,
        };
        if let Some(hint) = hint {
            details.set_hint(hint.to_owned());
        }
        variant(details)
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
        let code = error.code();
        match error {
            RegistryError::Name { .. } => Self::InvalidArgument(ErrorDetails::of(error)),
            error => Self::Registry(ErrorDetails::of(error)),
        }
        .with_code(code)
    }
}

impl From<StoreError> for ToolError {
    fn from(error: StoreError) -> Self {
        let code = error.code();
        Self::Store(ErrorDetails::of(error)).with_code(code)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn api_error(status: u16, message: &str) -> Error {
        Error::Api {
            status: http::StatusCode::from_u16(status).unwrap(),
            code: ErrorCode::NotPermitted,
            message: message.to_owned(),
            retry_after: None,
            unconfirmed: false,
        }
    }

    #[test]
    fn backend_errors_are_classified_and_keep_their_source() {
        for (status, backend_fault, missing) in [
            (400, false, false),
            (404, false, true),
            (429, false, false),
            (500, true, false),
            (503, true, false),
        ] {
            let error = ToolError::from(api_error(status, "why"));
            assert_eq!(
                (error.is_backend_fault(), error.is_missing()),
                (backend_fault, missing)
            );
            let source = error.source().and_then(|source| source.downcast_ref());
            assert!(matches!(source, Some(Error::Api { .. })), "{status}");
        }
        let lost = ToolError::from(Error::Connection("refused".into()));
        assert!(lost.is_unreachable() && lost.is_backend_fault());
        let odd = ToolError::from(Error::Protocol("odd".into()));
        assert!(!odd.is_backend_fault() && !odd.is_missing());
    }

    #[test]
    fn a_message_that_names_the_remedy_gets_no_other_hint() {
        let error = ToolError::from(api_error(403, "not allowed; ask somebody"));
        assert_eq!(error.details().hint(), None);
        let error = ToolError::from(api_error(403, "not allowed"));
        assert!(
            error
                .to_string()
                .contains("\nThe credentials do not allow this")
        );
    }

    #[test]
    fn a_file_error_keeps_its_source() {
        let error = ToolError::local_file(Path::new("/x"), io::ErrorKind::NotFound.into());
        assert!(error.to_string().starts_with("/x: "), "{error}");
        assert!(error.source().is_some());
    }
}
