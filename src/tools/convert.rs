//! Converts the API's types to results of tools.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::output::{DecodedText, character_start};
use super::output_cut::{OutputCut, RecordedStream};
use super::results::{
    Image, ListOperations, LiveProcess, Operation, OperationResult, OperationSummary, Upload,
};
use crate::types;
use crate::{Outcome, OutputPart, ProcessOutput};

/// Exit code that the API reports for a command killed by a signal.
const KILLED: i64 = -1;

/// Rounds a time in seconds to whole milliseconds. The result is in seconds.
pub(super) fn seconds(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn text<T: ToString>(value: Option<T>) -> Option<String> {
    value.map(|value| value.to_string())
}

impl From<types::Image> for Image {
    fn from(image: types::Image) -> Self {
        Self {
            uuid: text(image.uuid).unwrap_or_default(),
            tag: image.tag,
            created_at: image.created_at.unwrap_or_default(),
            operation_uuid: text(image.operation_uuid),
        }
    }
}

impl From<types::FileResponse> for Upload {
    fn from(file: types::FileResponse) -> Self {
        Self {
            uuid: file.uuid.to_string(),
            sha256: file.sha256,
            size: u64::try_from(file.size).unwrap_or_default(),
        }
    }
}

impl From<types::OperationSummary> for OperationSummary {
    fn from(operation: types::OperationSummary) -> Self {
        Self {
            uuid: text(operation.uuid).unwrap_or_default(),
            kind: text(operation.kind).unwrap_or_default(),
            status: text(operation.status).unwrap_or_default(),
            error: operation.error,
            created_at: operation.created_at.unwrap_or_default(),
            duration: operation.duration.map(seconds),
            image_uuid: text(operation.image_uuid),
            result_image_uuid: text(operation.result_image_uuid),
            ..Self::default()
        }
        .with_live(operation.x_live)
    }
}

impl OperationSummary {
    /// Adds the facts about a run that only the engine that executes it knows.
    fn with_live(self, live: Option<types::LiveRun>) -> Self {
        let Some(live) = live else { return self };
        Self {
            client: Some(live.client),
            process_count: live.process_count,
            memory_bytes: live.memory_bytes,
            ports: live.ports.into_iter().map(Into::into).collect(),
            processes: live
                .processes
                .into_iter()
                .map(|process| LiveProcess {
                    process_id: process.spid,
                    command: process.command,
                    seconds: seconds(process.seconds),
                })
                .collect(),
            ..self
        }
    }
}

impl From<Vec<types::OperationSummary>> for ListOperations {
    fn from(operations: Vec<types::OperationSummary>) -> Self {
        Self {
            operations: operations.into_iter().map(Into::into).collect(),
        }
    }
}

impl Operation {
    /// Creates the result of an operation from its record.
    pub(super) fn of_record(operation: types::OperationResponse, cut: &OutputCut) -> Self {
        let result = operation.result.map(|result| OperationResult {
            image: text(result.image),
            tag: result.tag,
        });
        let mut answer = Self {
            uuid: text(operation.uuid).unwrap_or_default(),
            status: text(operation.status).unwrap_or_default(),
            kind: text(operation.kind).unwrap_or_default(),
            error: operation.error,
            error_code: operation.x_code.and_then(|code| code.parse().ok()),
            push: operation.x_push.map(Into::into),
            created_at: operation.created_at.unwrap_or_default(),
            // A run's result image has its own field; only an import's result adds something, the
            // tag.
            result: result.filter(|result| result.tag.is_some()),
            duration: operation.duration.map(seconds),
            image_size: operation.image_size,
            consumed_cpu: operation.consumed_cpu.map(seconds),
            consumed_memory: operation.consumed_memory,
            image_uuid: text(operation.image_uuid),
            result_image_uuid: text(operation.result_image_uuid),
            ..Self::default()
        };
        if let Some(types::OperationMetadata::OperationInstanceMetadata(metadata)) =
            operation.metadata
            && let Some(result) = metadata.result
        {
            answer.add_instance(result, cut);
        }
        if answer.kind == crate::OperationKind::Instance.to_string() {
            answer.settle_exit();
        }
        answer
    }

    fn add_instance(&mut self, result: types::InstanceResult, cut: &OutputCut) {
        if let Some(state) = result.state {
            // The API writes -1 for "none".
            self.signal = state.signal.filter(|signal| *signal > 0);
            self.exit_code = state.exit_code.filter(|code| *code >= 0);
            self.timed_out = state.timed_out.unwrap_or_default();
            self.oom_killed = state.x_oom_killed.unwrap_or_default();
        }
        let (stdout, stdout_cut) = decode_stream(result.stdout);
        let (stderr, stderr_cut) = decode_stream(result.stderr);
        self.add_streams(
            RecordedStream::new(&stdout, stdout_cut),
            RecordedStream::new(&stderr, stderr_cut),
            cut,
        );
    }

    /// Sets both streams and the fields about them.
    fn add_streams(
        &mut self,
        stdout: RecordedStream<'_>,
        stderr: RecordedStream<'_>,
        cut: &OutputCut,
    ) {
        let (out, err) = (cut.show(stdout), cut.show(stderr));
        let size = |stream: RecordedStream<'_>| match stream.is_truncated {
            true => stream.total,
            false => Some(stream.bytes.len() as u64),
        };
        self.stdout_bytes = size(stdout).filter(|_| out.is_cut);
        self.stderr_bytes = size(stderr).filter(|_| err.is_cut);
        self.truncated = out.is_cut || err.is_cut;
        self.lossy = out.is_lossy || err.is_lossy;
        self.next = cut.next(&self.uuid, stdout.bytes.len().max(stderr.bytes.len()));
        self.stdout = out.text;
        self.stderr = err.text;
    }

    /// Replaces the output of a running command by its last bytes, which its record may lack.
    pub(super) fn set_live_tail(&mut self, live: &ProcessOutput) {
        for (part, text) in [
            (&live.stdout, &mut self.stdout),
            (&live.stderr, &mut self.stderr),
        ] {
            let decoded = DecodedText::new(character_start(&part.bytes, part.offset > 0), true);
            self.lossy |= decoded.lossy;
            self.truncated |= part.offset > 0;
            *text = decoded.text;
        }
        let size = |part: &OutputPart| (part.offset > 0).then_some(part.total);
        self.stdout_bytes = size(&live.stdout);
        self.stderr_bytes = size(&live.stderr);
        self.next = None;
    }

    /// Creates the result of a followed run from its outcome.
    pub(super) fn of_outcome(outcome: &Outcome, cut: &OutputCut) -> Self {
        let mut answer = Self {
            uuid: outcome.operation.to_string(),
            status: outcome.status.to_string(),
            error: outcome.error.clone(),
            error_code: outcome.error_code,
            duration: Some(seconds(outcome.duration.as_secs_f64())),
            result_image_uuid: text(outcome.result_image),
            exit_code: outcome.exit_code,
            signal: outcome.signal,
            timed_out: outcome.timed_out,
            oom_killed: outcome.oom_killed,
            ..Self::default()
        };
        answer.add_streams(
            RecordedStream::of(&outcome.stdout),
            RecordedStream::of(&outcome.stderr),
            cut,
        );
        answer.settle_exit();
        answer
    }

    /// Sets exit code -1 for a killed command, so that every ended command has one.
    fn settle_exit(&mut self) {
        if self.status == crate::OperationStatus::Success.as_str() {
            self.exit_code.get_or_insert(KILLED);
        }
    }
}

/// Decodes a recorded stream. The flag is true if bytes of it are missing.
pub(super) fn decode_stream(stream: Option<types::StreamRepr>) -> (Vec<u8>, bool) {
    let Some(stream) = stream else {
        return (Vec::new(), false);
    };
    let bytes = match stream.encoding {
        types::StreamEncoding::Base64 => STANDARD
            .decode(stream.value.as_bytes())
            .unwrap_or_else(|_| stream.value.into_bytes()),
        // An encoding of a newer service: the text is better than nothing.
        _ => stream.value.into_bytes(),
    };
    (bytes, stream.truncated.unwrap_or_default())
}
