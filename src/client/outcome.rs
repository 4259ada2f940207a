//! The outcome of a run, from its events or from its record.

use std::time::Duration;

use contree_error_codes::ErrorCode;
use uuid::Uuid;

use super::events::{Chunk, Event, Payload, decode};
use crate::{
    Error, OperationKind, OperationStatus,
    error::{Reason, code_of_end},
    types,
};

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// The operation.
    pub operation: Uuid,
    /// The final status. A command that exits with a non-zero status is a success; a failed run
    /// could not run its command.
    pub status: OperationStatus,
    /// The main process's exit status; none if it was killed or never ran.
    pub exit_code: Option<i64>,
    /// The signal that killed the main process.
    pub signal: Option<i64>,
    /// Whether the main process was killed because its time limit expired.
    pub timed_out: bool,
    /// Whether the kernel killed a process of the run because a memory limit was reached.
    pub oom_killed: bool,
    /// The standard output of the main process.
    pub stdout: CapturedStream,
    /// The standard error of the main process.
    pub stderr: CapturedStream,
    /// The result image. It is the source image if nothing changed, and none if the run was
    /// disposable or failed.
    pub result_image: Option<Uuid>,
    /// Size of the result image in bytes, if the backend reports it.
    pub image_size: Option<u64>,
    /// The reason of a failure.
    pub error: Option<String>,
    /// The code of a failure or cancellation.
    pub error_code: Option<ErrorCode>,
    /// How long the operation took.
    pub duration: Duration,
    /// The resources that the main process used, if its exit was reported.
    pub resources: Option<types::EventResources>,
}

/// Maximum number of bytes that are recorded of a stream, as in the API.
const MAX_RECORDED: usize = 10 * 1024 * 1024;

/// A recorded stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CapturedStream {
    /// The recorded bytes, exactly as written.
    pub bytes: Vec<u8>,
    /// Number of bytes written. It is the number of recorded bytes unless the backend reports a
    /// larger one.
    pub total: u64,
    /// Whether bytes are missing from the record.
    pub truncated: bool,
}

impl CapturedStream {
    pub(crate) fn push(&mut self, chunk: &Chunk) {
        let room = MAX_RECORDED.saturating_sub(self.bytes.len());
        let (recorded, dropped) = chunk.bytes.split_at(room.min(chunk.bytes.len()));
        self.bytes.extend_from_slice(recorded);
        self.total = self.total.max(self.bytes.len() as u64) + dropped.len() as u64;
        self.truncated |= chunk.truncated || !dropped.is_empty();
    }

    pub(crate) fn mark_truncated(&mut self, data: &types::EventDataTruncated) {
        let written = data.bytes_emitted.saturating_add(data.bytes_dropped);
        self.total = self.total.max(u64::try_from(written).unwrap_or_default());
        self.truncated = true;
    }

    fn from_repr(stream: Option<types::StreamRepr>) -> Result<Self, Error> {
        let Some(stream) = stream else {
            return Ok(Self::default());
        };
        let bytes = decode(stream.value, stream.encoding)
            .map_err(|error| Error::Protocol(Reason::new(error.to_string(), error)))?;
        Ok(Self {
            total: bytes.len() as u64,
            bytes,
            truncated: stream.truncated.unwrap_or_default(),
        })
    }
}

/// Builds an [`Outcome`] from events, one at a time.
///
/// ```
/// use contree::{OutcomeBuilder, events::Event};
///
/// let mut builder = OutcomeBuilder::new("018f2b5c-0000-7000-8000-000000000001".parse()?);
/// for event in [
///     r#"{"id":1,"spid":1,"type":"stdout","data":{"value":"hi\n","encoding":"ascii"}}"#,
///     r#"{"id":2,"spid":0,"type":"completion","data":{"status":"SUCCESS","duration_ms":7}}"#,
/// ] {
///     builder.apply(&Event::from_json(event)?);
/// }
/// assert_eq!(builder.finish()?.stdout.bytes, b"hi\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct OutcomeBuilder {
    operation: Uuid,
    stdout: CapturedStream,
    stderr: CapturedStream,
    exit: Option<types::EventDataExit>,
    completion: Option<types::EventDataCompletion>,
}

impl OutcomeBuilder {
    /// Creates a builder without events.
    pub fn new(operation: Uuid) -> Self {
        Self {
            operation,
            stdout: CapturedStream::default(),
            stderr: CapturedStream::default(),
            exit: None,
            completion: None,
        }
    }

    /// Adds the next event. Output and exits of subprocesses are ignored.
    pub fn apply(&mut self, event: &Event) {
        match &event.payload {
            Payload::Completion(completion) => self.completion = Some(completion.clone()),
            _ if event.spid != 1 => {}
            Payload::Stdout(chunk) => self.stdout.push(chunk),
            Payload::Stderr(chunk) => self.stderr.push(chunk),
            Payload::Truncated(data) => match data.stream.as_str() {
                "stdout" => self.stdout.mark_truncated(data),
                "stderr" => self.stderr.mark_truncated(data),
                _ => {}
            },
            Payload::Exit(exit) => self.exit = Some(exit.clone()),
            _ => {}
        }
    }

    /// Returns the outcome.
    ///
    /// # Errors
    /// [`Error::Protocol`] if no completion event was added.
    pub fn finish(self) -> Result<Outcome, Error> {
        let completion = self.completion.ok_or_else(|| {
            Error::Protocol(
                format!(
                    "the events of operation {} have no completion event",
                    self.operation
                )
                .into(),
            )
        })?;
        let exit = self.exit.as_ref();
        let error_code = failure_code(&completion.status, completion.x_code.as_deref());
        Ok(Outcome {
            operation: self.operation,
            status: completion.status,
            exit_code: exit.map(|exit| exit.code).filter(|code| *code >= 0),
            signal: exit.map(|exit| exit.signal).filter(|signal| *signal > 0),
            timed_out: exit.is_some_and(|exit| exit.timed_out),
            oom_killed: exit.is_some_and(|exit| exit.x_oom_killed.unwrap_or_default()),
            stdout: self.stdout,
            stderr: self.stderr,
            result_image: completion.result_image_uuid,
            image_size: completion.image_size_bytes,
            error: completion.error,
            error_code,
            duration: Duration::from_millis(completion.duration_ms),
            resources: self.exit.map(|exit| exit.resources),
        })
    }
}

/// The code of an ended operation; none if it succeeded.
fn failure_code(status: &OperationStatus, given: Option<&str>) -> Option<ErrorCode> {
    (*status != OperationStatus::Success).then(|| code_of_end(status, given))
}

impl TryFrom<types::OperationResponse> for Outcome {
    type Error = Error;

    /// The outcome of a run from the record of its operation.
    ///
    /// # Errors
    /// [`Error::Protocol`] if the operation has not ended, or a stream cannot be decoded.
    fn try_from(operation: types::OperationResponse) -> Result<Self, Error> {
        let (Some(uuid), Some(status)) = (operation.uuid, operation.status) else {
            return Err(Error::Protocol(
                "the record of an operation has no uuid or no status".into(),
            ));
        };
        if !status.is_terminal() {
            return Err(Error::Protocol(
                format!("operation {uuid} is {status} and has not ended").into(),
            ));
        }
        let result = match operation.metadata {
            Some(types::OperationMetadata::OperationInstanceMetadata(metadata)) => metadata.result,
            // Invalid metadata of a run is parsed as that of an import, whose fields are all
            // optional.
            Some(_) if operation.kind == Some(OperationKind::Instance) => {
                return Err(Error::Protocol(
                    format!("the record of run {uuid} cannot be read").into(),
                ));
            }
            _ => None,
        };
        let types::InstanceResult {
            state,
            stdout,
            stderr,
            ..
        } = result.unwrap_or_default();
        let state = state.unwrap_or_default();
        let error_code = failure_code(&status, operation.x_code.as_deref());
        Ok(Self {
            operation: uuid,
            status,
            exit_code: state.exit_code.filter(|code| *code >= 0),
            signal: state.signal.filter(|signal| *signal > 0),
            timed_out: state.timed_out.unwrap_or_default(),
            oom_killed: state.x_oom_killed.unwrap_or_default(),
            stdout: CapturedStream::from_repr(stdout)?,
            stderr: CapturedStream::from_repr(stderr)?,
            result_image: operation
                .result_image_uuid
                .or(operation.result.and_then(|result| result.image)),
            image_size: operation.image_size.and_then(|size| size.try_into().ok()),
            error: operation.error,
            error_code,
            duration: operation
                .duration
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .unwrap_or_default(),
            resources: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(record: serde_json::Value) -> Result<Outcome, Error> {
        let record: types::OperationResponse = serde_json::from_value(record).unwrap();
        record.try_into()
    }

    #[test]
    fn invalid_records_do_not_become_empty_outcomes() {
        let uuid = Uuid::nil();
        let mut record = json!({"uuid": uuid, "kind": "instance", "status": "SUCCESS", "metadata": {"command": 7}});
        assert!(matches!(outcome(record.clone()), Err(Error::Protocol(_))));
        record["status"] = json!("EXECUTING");
        record["metadata"] = json!({"command": "x", "image": uuid});
        assert!(matches!(outcome(record.clone()), Err(Error::Protocol(_))));
        record["status"] = json!("CANCELLED");
        assert_eq!(outcome(record).unwrap().exit_code, None);
    }

    #[test]
    fn output_without_end_is_truncated() {
        let mut stream = CapturedStream::default();
        let chunk = Chunk {
            bytes: vec![b'x'; MAX_RECORDED / 2 + 1].into(),
            truncated: false,
        };
        stream.push(&chunk);
        assert!(!stream.truncated);
        stream.push(&chunk);
        stream.push(&chunk);
        assert_eq!(stream.bytes.len(), MAX_RECORDED);
        assert_eq!(stream.total, 3 * chunk.bytes.len() as u64);
        assert!(stream.truncated);
    }

    #[test]
    fn an_outcome_needs_a_completion_event() {
        assert!(matches!(
            OutcomeBuilder::new(Uuid::nil()).finish(),
            Err(Error::Protocol(_))
        ));
    }
}
