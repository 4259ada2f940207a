//! The operations of a stub service, and their records and events.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use uuid::Uuid;

use super::scripted_run::{DURATION, End, Output, ScriptedRun};
use crate::{OperationKind, OperationStatus, types};

/// The time of everything in a stub service.
pub(super) const TIME: &str = "2026-01-01T00:00:00Z";

/// The number of SIGKILL.
const KILL: i64 = 9;

/// A run that a stub service has accepted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StubOperation {
    /// Its id.
    pub operation: Uuid,
    /// Its image.
    pub image: Uuid,
    /// Its command.
    pub command: String,
    /// The request.
    pub request: types::InstanceSpawnRequest,
    /// Its status.
    pub status: OperationStatus,
    /// The result image, if there is one.
    pub result_image: Option<Uuid>,
    pub(super) script: ScriptedRun,
}

/// An event, as the service writes it.
#[derive(Serialize)]
struct EventJson<T> {
    id: u64,
    ts: &'static str,
    spid: u64,
    #[serde(rename = "type")]
    kind: &'static str,
    data: T,
}

impl StubOperation {
    /// The record of the operation.
    pub(super) fn record(&self) -> types::OperationResponse {
        let metadata = types::OperationInstanceMetadata {
            args: self.request.args.clone(),
            command: self.command.clone(),
            cwd: None,
            disposable: self.request.disposable,
            env: None,
            files: Default::default(),
            gid: None,
            hostname: None,
            image: self.image,
            networking: None,
            preserve_cwd: None,
            preserve_env: None,
            resources_limits: None,
            result: self.status.is_terminal().then(|| self.result()),
            shell: self.request.shell,
            stdin: None,
            timeout: self.request.timeout,
            truncate_output_at: None,
            uid: None,
            x_limits: None,
            x_network: None,
            x_detached: None,
            x_ports: Vec::new(),
            x_terminal: None,
        };
        types::OperationResponse {
            uuid: Some(self.operation),
            kind: Some(OperationKind::Instance),
            status: Some(self.status.clone()),
            error: self.error(),
            created_at: Some(TIME.to_owned()),
            duration: Some(DURATION.as_secs_f64()),
            image_uuid: Some(self.image),
            result_image_uuid: self.result_image,
            metadata: Some(metadata.into()),
            ..types::OperationResponse::default()
        }
    }

    fn result(&self) -> types::InstanceResult {
        let stream = |is_error| {
            let pieces = self.script.output.iter();
            let bytes: Vec<u8> = pieces
                .filter(|output| output.is_error == is_error)
                .flat_map(|output| output.bytes.iter().copied())
                .collect();
            let (value, encoding) = encode(&bytes);
            types::StreamRepr {
                value,
                encoding,
                truncated: Some(false),
            }
        };
        types::InstanceResult {
            state: self
                .exit()
                .map(|(code, signal, timed_out)| types::ProcessState {
                    exit_code: Some(code),
                    signal: Some(signal),
                    timed_out: Some(timed_out),
                    ..types::ProcessState::default()
                }),
            stdout: Some(stream(false)),
            stderr: Some(stream(true)),
            resources: None,
        }
    }

    /// The reason of a failure.
    fn error(&self) -> Option<String> {
        match (&self.status, &self.script.end) {
            (OperationStatus::Cancelled, _) => Some("cancelled on request".to_owned()),
            (OperationStatus::Failed, End::Failure(reason)) => Some(reason.clone()),
            _ => None,
        }
    }

    /// Exit code, signal and time-out of the command, if it has ended.
    fn exit(&self) -> Option<(i64, i64, bool)> {
        if self.status != OperationStatus::Success {
            return None;
        }
        match self.script.end {
            End::Exit(code) => Some((code, -1, false)),
            End::Signal(signal) => Some((-1, signal, false)),
            End::TimeOut => Some((-1, KILL, true)),
            End::Failure(_) | End::Never => None,
        }
    }

    /// The frames of all events so far.
    pub(super) fn frames(&self) -> Vec<String> {
        let mut frames = Vec::new();
        push(&mut frames, 0, "init", types::EventDataInit::default());
        for Output { is_error, bytes } in &self.script.output {
            let (value, encoding) = encode(bytes);
            let data = types::EventDataStream {
                value,
                encoding,
                truncated: None,
            };
            push(
                &mut frames,
                1,
                if *is_error { "stderr" } else { "stdout" },
                data,
            );
        }
        if let Some((code, signal, timed_out)) = self.exit() {
            let data = types::EventDataExit {
                code,
                signal,
                timed_out,
                pid: 2,
                core_dump: None,
                x_oom_killed: None,
                duration_ms: 1,
                resources: no_resources(),
            };
            push(&mut frames, 1, "exit", data);
        }
        if self.status.is_terminal() {
            let data = types::EventDataCompletion {
                status: self.status.clone(),
                error: self.error(),
                duration_ms: 1,
                image_size_bytes: None,
                result_image_uuid: self.result_image,
                x_code: None,
            };
            push(&mut frames, 0, "completion", data);
        }
        frames
    }
}

/// Adds the frame of the next event.
fn push(frames: &mut Vec<String>, spid: u64, kind: &'static str, data: impl Serialize) {
    let id = frames.len() as u64 + 1;
    let event = EventJson {
        id,
        ts: TIME,
        spid,
        kind,
        data,
    };
    // These types have no maps with keys that JSON cannot have.
    let event = serde_json::to_string(&event).unwrap_or_default();
    frames.push(format!("id: {id}\nevent: {kind}\ndata: {event}\n\n"));
}

fn encode(bytes: &[u8]) -> (String, types::StreamEncoding) {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => (text.to_owned(), types::StreamEncoding::Ascii),
        _ => (STANDARD.encode(bytes), types::StreamEncoding::Base64),
    }
}

fn no_resources() -> types::EventResources {
    types::EventResources {
        block_input_ops: 0,
        block_output_ops: 0,
        involuntary_ctx_switches: 0,
        ipc_msgs_received: 0,
        ipc_msgs_sent: 0,
        major_faults: 0,
        max_rss_kb: 0,
        minor_faults: 0,
        shared_memory: 0,
        signals_received: 0,
        swaps: 0,
        sys_time_us: 0,
        unshared_memory: 0,
        user_time_us: 0,
        voluntary_ctx_switches: 0,
    }
}
