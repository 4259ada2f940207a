//! A failed step, as the init reports it.

use std::io;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::step::Step;
use super::wire::WireError;

/// A failed step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepFailure {
    pub step: Step,
    pub subject: Option<String>,
    pub cause: FailureCause,
}

/// The cause of a failed step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FailureCause {
    /// The kernel's error number.
    Errno(i32),
    /// The text of an error without an error number.
    Text(String),
}

impl FailureCause {
    /// The kernel's error number, if the kernel caused the failure.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Errno(errno) => Some(Errno::from_raw_os_error(*errno)),
            Self::Text(_) => None,
        }
    }
}

impl std::fmt::Display for FailureCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Errno(errno) => io::Error::from_raw_os_error(*errno).fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<Errno> for FailureCause {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno.raw_os_error())
    }
}

impl From<io::Error> for FailureCause {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::Errno(errno),
            None => Self::Text(error.to_string()),
        }
    }
}

impl From<WireError> for FailureCause {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Os(error) => error.into(),
            other => Self::Text(other.to_string()),
        }
    }
}

impl From<FailureCause> for io::Error {
    fn from(cause: FailureCause) -> Self {
        match cause {
            FailureCause::Errno(errno) => Self::from_raw_os_error(errno),
            FailureCause::Text(text) => Self::other(text),
        }
    }
}

/// Adds the step to a failed call.
pub(crate) trait StepContext<T> {
    fn at_step(self, step: Step) -> Result<T, StepFailure>;
    fn at_step_on(self, step: Step, subject: impl Into<String>) -> Result<T, StepFailure>;
}

impl<T, E: Into<FailureCause>> StepContext<T> for Result<T, E> {
    fn at_step(self, step: Step) -> Result<T, StepFailure> {
        self.map_err(|error| StepFailure {
            step,
            subject: None,
            cause: error.into(),
        })
    }

    fn at_step_on(self, step: Step, subject: impl Into<String>) -> Result<T, StepFailure> {
        self.map_err(|error| StepFailure {
            step,
            subject: Some(subject.into()),
            cause: error.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_without_an_error_number_keeps_its_text() {
        let refused = WireError::Os(Errno::TOOMANYREFS.into());
        let nested = io::Error::other(refused);
        let failure = Err::<(), _>(nested).at_step(Step::Watch).unwrap_err();
        let sent = serde_json::to_string(&failure).unwrap();
        let received: StepFailure = serde_json::from_str(&sent).unwrap();
        assert_eq!(received, failure);
        let text = io::Error::from(received.cause).to_string();
        assert!(text.contains("Too many references"), "{text}");
    }

    #[test]
    fn a_failure_of_the_kernel_keeps_its_error_number() {
        let refused = WireError::Os(Errno::TOOMANYREFS.into());
        for failure in [
            Err::<(), _>(refused).at_step(Step::Talk),
            Err(Errno::TOOMANYREFS).at_step(Step::Talk),
            Err(io::Error::from(Errno::TOOMANYREFS)).at_step(Step::Talk),
        ] {
            let cause = failure.unwrap_err().cause;
            assert_eq!(cause.errno(), Some(Errno::TOOMANYREFS));
        }
    }
}
