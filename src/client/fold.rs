//! From the events of a run to its outcome.

use std::time::Duration;

use uuid::Uuid;

use super::events::{Chunk, Event, Payload, decode};
use crate::{Error, OperationKind, OperationStatus, types};

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// The operation.
    pub operation: Uuid,
    /// Success, also of a command that exits with another status than 0; failed, if it could not run; or cancelled.
    pub status: OperationStatus,
    /// The main process's exit status; none if it was killed or never ran.
    pub exit_code: Option<i64>,
    /// The signal that killed the main process.
    pub signal: Option<i64>,
    /// Whether it was killed because its time was up.
    pub timed_out: bool,
    /// What the main process wrote to its standard output.
    pub stdout: Captured,
    /// What it wrote to its standard error.
    pub stderr: Captured,
    /// The image that resulted: the source if nothing changed; none if the run was disposable or failed.
    pub result_image: Option<Uuid>,
    /// Size of the result image in bytes, where the backend says it.
    pub image_size: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
    /// How long the operation took.
    pub duration: Duration,
    /// What the main process used, where its exit was seen.
    pub resources: Option<types::EventResources>,
}

/// A recorded stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Captured {
    /// The recorded bytes, exactly as written.
    pub bytes: Vec<u8>,
    /// How many bytes were written, as far as the backend says; at least what is recorded.
    pub total: u64,
    /// Whether something is missing from the record.
    pub truncated: bool,
}

impl Captured {
    fn push(&mut self, chunk: &Chunk) {
        self.bytes.extend_from_slice(&chunk.bytes);
        self.total = self.total.max(self.bytes.len() as u64);
        self.truncated |= chunk.truncated;
    }

    fn cut(&mut self, data: &types::EventDataTruncated) {
        let written = data.bytes_emitted.saturating_add(data.bytes_dropped);
        self.total = self.total.max(u64::try_from(written).unwrap_or_default());
        self.truncated = true;
    }

    fn from_repr(stream: Option<types::StreamRepr>) -> Result<Self, Error> {
        let Some(stream) = stream else {
            return Ok(Self::default());
        };
        let bytes = decode(stream.value, stream.encoding).map_err(Error::Protocol)?;
        Ok(Self {
            total: bytes.len() as u64,
            bytes,
            truncated: stream.truncated.unwrap_or_default(),
        })
    }
}

/// Folds events into an [`Outcome`], one at a time.
///
/// ```
/// use contree::{Fold, events::Event};
///
/// let mut fold = Fold::new("018f2b5c-0000-7000-8000-000000000001".parse()?);
/// for event in [
///     r#"{"id":1,"spid":1,"type":"stdout","data":{"value":"hi\n","encoding":"ascii"}}"#,
///     r#"{"id":2,"spid":0,"type":"completion","data":{"status":"SUCCESS","duration_ms":7}}"#,
/// ] {
///     fold.apply(&Event::from_json(event)?);
/// }
/// assert_eq!(fold.finish()?.stdout.bytes, b"hi\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fold {
    operation: Uuid,
    stdout: Captured,
    stderr: Captured,
    exit: Option<types::EventDataExit>,
    completion: Option<types::EventDataCompletion>,
}

impl Fold {
    /// Begins with no event.
    pub fn new(operation: Uuid) -> Self {
        Self {
            operation,
            stdout: Captured::default(),
            stderr: Captured::default(),
            exit: None,
            completion: None,
        }
    }

    /// Takes the next event. Those of other processes than the main one change nothing.
    pub fn apply(&mut self, event: &Event) {
        match &event.payload {
            Payload::Completion(completion) => self.completion = Some(completion.clone()),
            _ if event.spid != 1 => {}
            Payload::Stdout(chunk) => self.stdout.push(chunk),
            Payload::Stderr(chunk) => self.stderr.push(chunk),
            Payload::Truncated(data) => match data.stream.as_str() {
                "stdout" => self.stdout.cut(data),
                "stderr" => self.stderr.cut(data),
                _ => {}
            },
            Payload::Exit(exit) => self.exit = Some(exit.clone()),
            _ => {}
        }
    }

    /// The outcome.
    ///
    /// # Errors
    /// [`Error::Protocol`] if the completion has not been seen.
    pub fn finish(self) -> Result<Outcome, Error> {
        let completion = self.completion.ok_or_else(|| {
            Error::Protocol(format!(
                "the events of operation {} lack its completion",
                self.operation
            ))
        })?;
        let exit = self.exit.as_ref();
        Ok(Outcome {
            operation: self.operation,
            status: completion.status,
            exit_code: exit.map(|exit| exit.code).filter(|code| *code >= 0),
            signal: exit.map(|exit| exit.signal).filter(|signal| *signal > 0),
            timed_out: exit.is_some_and(|exit| exit.timed_out),
            stdout: self.stdout,
            stderr: self.stderr,
            result_image: completion.result_image_uuid,
            image_size: completion.image_size_bytes,
            error: completion.error,
            duration: Duration::from_millis(completion.duration_ms),
            resources: self.exit.map(|exit| exit.resources),
        })
    }
}

impl TryFrom<types::OperationResponse> for Outcome {
    type Error = Error;

    /// The outcome of a run from the record of its operation.
    ///
    /// # Errors
    /// [`Error::Protocol`] if it is not over, or a stream cannot be decoded.
    fn try_from(operation: types::OperationResponse) -> Result<Self, Error> {
        let (Some(uuid), Some(status)) = (operation.uuid, operation.status) else {
            return Err(Error::Protocol(
                "an operation without uuid or status".into(),
            ));
        };
        if !status.is_terminal() {
            return Err(Error::Protocol(format!(
                "operation {uuid} is {status}, not over"
            )));
        }
        let result = match operation.metadata {
            Some(types::OperationMetadata::OperationInstanceMetadata(metadata)) => metadata.result,
            // What is no run's metadata reads as an import's, of which every field is optional.
            Some(_) if operation.kind == Some(OperationKind::Instance) => {
                return Err(Error::Protocol(format!(
                    "the record of run {uuid} cannot be read"
                )));
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
        Ok(Self {
            operation: uuid,
            status,
            exit_code: state.exit_code.filter(|code| *code >= 0),
            signal: state.signal.filter(|signal| *signal > 0),
            timed_out: state.timed_out.unwrap_or_default(),
            stdout: Captured::from_repr(stdout)?,
            stderr: Captured::from_repr(stderr)?,
            result_image: operation
                .result_image_uuid
                .or(operation.result.and_then(|result| result.image)),
            image_size: operation.image_size.and_then(|size| size.try_into().ok()),
            error: operation.error,
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
    fn records_that_cannot_be_read_are_no_empty_outcomes() {
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
    fn an_outcome_needs_its_completion() {
        assert!(matches!(
            Fold::new(Uuid::nil()).finish(),
            Err(Error::Protocol(_))
        ));
    }
}
