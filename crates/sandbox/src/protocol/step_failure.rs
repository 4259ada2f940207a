//! A failed step, as the init reports it.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::step::Step;

/// A failed step.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StepFailure {
    pub step: Step,
    pub subject: Option<String>,
    pub errno: i32,
}

/// Adds the step to a failed call.
pub(crate) trait StepContext<T> {
    fn at_step(self, step: Step) -> Result<T, StepFailure>;
    fn at_step_on(self, step: Step, subject: impl Into<String>) -> Result<T, StepFailure>;
}

impl<T> StepContext<T> for Result<T, Errno> {
    fn at_step(self, step: Step) -> Result<T, StepFailure> {
        self.map_err(|errno| StepFailure {
            step,
            subject: None,
            errno: errno.raw_os_error(),
        })
    }

    fn at_step_on(self, step: Step, subject: impl Into<String>) -> Result<T, StepFailure> {
        self.map_err(|errno| StepFailure {
            step,
            subject: Some(subject.into()),
            errno: errno.raw_os_error(),
        })
    }
}
