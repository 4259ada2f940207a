//! A failed step, as the init reports it.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::step::Step;

/// A failed step.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub step: Step,
    pub subject: Option<String>,
    pub errno: i32,
}

/// Adds the step to a failed call.
pub(crate) trait During<T> {
    fn during(self, step: Step) -> Result<T, Failure>;
    fn during_with(self, step: Step, subject: impl Into<String>) -> Result<T, Failure>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, step: Step) -> Result<T, Failure> {
        self.map_err(|errno| Failure {
            step,
            subject: None,
            errno: errno.raw_os_error(),
        })
    }

    fn during_with(self, step: Step, subject: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|errno| Failure {
            step,
            subject: Some(subject.into()),
            errno: errno.raw_os_error(),
        })
    }
}
