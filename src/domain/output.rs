//! The output of commands, and the use of their changes.

use std::time::Duration;

use contree_error_codes::ErrorCode;
use uuid::Uuid;

use super::image::Image;
use crate::{
    CapturedStream, Client, Error, OperationStatus, Outcome,
    error::code_of_end,
    output::{Captured, ExitStatus, PartialOutput, Resources, RunOutput},
    types,
};

/// The outcome of a command, and the image that it made.
///
/// The output of a command with [`discard`](super::Command::discard) is an `Output<()>`.
pub type Output<I = Image> = RunOutput<I>;

/// The use of a command's changes: [`Keep`], [`Discard`] or [`Attached`].
pub trait Changes: sealed::Sealed + Send + Sync + 'static {
    /// The type of [`Output::image`](RunOutput::image).
    type Image: ResultImage + Send + 'static;

    /// Whether the backend drops the changes.
    #[doc(hidden)]
    const DISPOSABLE: bool;

    /// The image of a successful run.
    #[doc(hidden)]
    fn image(client: &Client, operation: Uuid, image: Option<Uuid>) -> Result<Self::Image, Error>;
}

/// The image of an output: an [`Image`], an optional one, or `()`.
pub trait ResultImage: sealed::Sealed {
    /// The UUID, if there is an image.
    fn into_uuid(self) -> Option<Uuid>;
}

mod sealed {
    pub trait Sealed {}
}

/// The changes of the command become an image.
#[derive(Clone, Copy, Debug)]
pub enum Keep {}

/// The changes of the command are dropped.
#[derive(Clone, Copy, Debug)]
pub enum Discard {}

/// Another handle or process started the command, so either is possible.
#[derive(Clone, Copy, Debug)]
pub enum Attached {}

impl sealed::Sealed for Keep {}
impl sealed::Sealed for Discard {}
impl sealed::Sealed for Attached {}
impl sealed::Sealed for Image {}
impl sealed::Sealed for Option<Image> {}
impl sealed::Sealed for () {}

impl Changes for Keep {
    type Image = Image;
    const DISPOSABLE: bool = false;

    fn image(client: &Client, operation: Uuid, image: Option<Uuid>) -> Result<Image, Error> {
        let image = image.ok_or_else(|| {
            Error::Protocol(format!("operation {operation} succeeded without an image").into())
        })?;
        Ok(client.image(image))
    }
}

impl Changes for Discard {
    type Image = ();
    const DISPOSABLE: bool = true;

    fn image(_: &Client, _: Uuid, _: Option<Uuid>) -> Result<(), Error> {
        Ok(())
    }
}

impl Changes for Attached {
    type Image = Option<Image>;
    const DISPOSABLE: bool = false;

    fn image(client: &Client, _: Uuid, image: Option<Uuid>) -> Result<Option<Image>, Error> {
        Ok(image.map(|image| client.image(image)))
    }
}

impl ResultImage for Image {
    fn into_uuid(self) -> Option<Uuid> {
        match self.reference() {
            Ok(crate::ImageRef::Uuid(uuid)) => Some(*uuid),
            _ => None,
        }
    }
}

impl ResultImage for Option<Image> {
    fn into_uuid(self) -> Option<Uuid> {
        self.and_then(Image::into_uuid)
    }
}

impl ResultImage for () {
    fn into_uuid(self) -> Option<Uuid> {
        None
    }
}

impl<I: ResultImage> RunOutput<I> {
    /// Returns the output if the command exited with status 0.
    ///
    /// # Errors
    /// [`Error::Exit`] with the whole output otherwise.
    pub fn ok(self) -> Result<Self, Error> {
        if self.success() {
            Ok(self)
        } else {
            Err(Error::Exit(Box::new(
                self.with_image(ResultImage::into_uuid),
            )))
        }
    }
}

/// The output of a run that has ended.
///
/// # Errors
/// [`Error::Operation`] unless the run succeeded.
pub(super) fn output<C: Changes>(
    client: &Client,
    outcome: Outcome,
) -> Result<Output<C::Image>, Error> {
    let operation = outcome.operation;
    if outcome.status != OperationStatus::Success {
        let output = PartialOutput {
            stdout: captured(outcome.stdout),
            stderr: captured(outcome.stderr),
        };
        let code = outcome.error_code;
        return Err(failure(
            operation,
            outcome.status,
            outcome.error,
            code,
            output,
        ));
    }
    Ok(RunOutput {
        operation,
        status: exit_status(
            operation,
            outcome.exit_code,
            outcome.signal,
            outcome.timed_out,
        )?,
        stdout: captured(outcome.stdout),
        stderr: captured(outcome.stderr),
        image: C::image(client, operation, outcome.result_image)?,
        duration: outcome.duration,
        resources: outcome.resources.as_ref().map(resources),
    })
}

/// The error of an operation that did not succeed.
pub(super) fn failure(
    operation: Uuid,
    status: OperationStatus,
    reason: Option<String>,
    code: Option<ErrorCode>,
    output: PartialOutput,
) -> Error {
    let code = code.unwrap_or_else(|| code_of_end(&status, None));
    let reason = reason.unwrap_or_else(|| match status {
        OperationStatus::Cancelled => "it was cancelled".to_owned(),
        _ => "the backend gave no reason".to_owned(),
    });
    Error::Operation {
        operation,
        status,
        reason,
        code,
        output: Box::new(output),
    }
}

/// How a process ended.
pub(super) fn exit_status(
    operation: Uuid,
    code: Option<i64>,
    signal: Option<i64>,
    timed_out: bool,
) -> Result<ExitStatus, Error> {
    if timed_out {
        return Ok(ExitStatus::TimedOut);
    }
    let signal = signal.and_then(|signal| i32::try_from(signal).ok());
    let code = code.and_then(|code| u8::try_from(code).ok());
    match (signal, code) {
        (Some(signal), _) => Ok(ExitStatus::Signal(signal.into())),
        (None, Some(code)) => Ok(ExitStatus::Code(code)),
        (None, None) => Err(Error::Protocol(
            format!("operation {operation} succeeded without an exit status").into(),
        )),
    }
}

pub(super) fn captured(stream: CapturedStream) -> Captured {
    Captured::new(stream.bytes, stream.total, stream.truncated)
}

pub(super) fn resources(used: &types::EventResources) -> Resources {
    let time =
        |microseconds: i64| Duration::from_micros(u64::try_from(microseconds).unwrap_or_default());
    Resources {
        user_time: time(used.user_time_us),
        system_time: time(used.sys_time_us),
        max_memory: u64::try_from(used.max_rss_kb)
            .unwrap_or_default()
            .saturating_mul(1024),
    }
}

/// Bytes as text.
pub(super) fn captured_text(bytes: bytes::Bytes) -> Result<String, Error> {
    let total = bytes.len() as u64;
    Ok(Captured::new(bytes, total, false).text()?.to_owned())
}
