//! The route that reads the output of a process while it is written.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use contree_error_codes::ErrorCode;
use uuid::Uuid;

use crate::api::extract::{Path, Query};
use crate::api::routes::forward;
use crate::api::routes::subprocesses::{SandboxLocation, check_spid, locate};
use crate::api::types::{GetProcessOutputQuery, OutputPart, ProcessOutput};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::events::{self, stream};
use crate::run::live_output::{OutputParts, OutputRange, ProcessEnd, StreamPart};
use crate::run::running_sandbox::MAIN;

/// The most bytes of each stream in an answer. An answer that another engine forwards has a limit.
const MAX_BYTES: u64 = 256 * 1024;
/// The longest wait, which is shorter than the time-out of forwarding.
const MAX_WAIT_MS: u64 = 30_000;

/// `GET /x/operations/{operationId}/processes/{spid}/output`.
pub(in crate::api::routes) async fn output(
    State(engine): State<Arc<Engine>>,
    Path((uuid, spid)): Path<(Uuid, u64)>,
    Query(query): Query<GetProcessOutputQuery>,
    request: Request,
) -> Result<Response, ApiError> {
    check_spid(spid)?;
    for (name, value, least, most) in [
        ("max_bytes", query.max_bytes, 1, MAX_BYTES),
        ("wait_ms", query.wait_ms, 0, MAX_WAIT_MS),
    ] {
        if !(least..=most).contains(&value) {
            return Err(ApiError::bad(format!(
                "`{name}` must be from {least} to {most}, not {value}"
            )));
        }
    }
    let location = locate(&engine, uuid, request.headers()).await?;
    let live = match location {
        SandboxLocation::Local(sandbox) => sandbox.output(spid),
        SandboxLocation::Remote(socket) => return forward::forward(&socket, request).await,
        // The engine may still be recording its end.
        SandboxLocation::Ended => engine
            .running(uuid)
            .and_then(|running| running.sandbox()?.output(spid)),
    };
    let live = live.or_else(|| {
        let kept = (spid == MAIN).then(|| engine.last_outputs.get(uuid));
        kept.flatten()
    });
    let range = |position| {
        query
            .tail
            .map_or(OutputRange::From(position), OutputRange::Tail)
    };
    let (stdout, stderr) = (range(query.stdout), range(query.stderr));
    let max_bytes = usize::try_from(query.max_bytes).unwrap_or(usize::MAX);
    let parts = match live {
        Some(live) => {
            let wait = Duration::from_millis(query.wait_ms);
            live.read_new(stdout, stderr, max_bytes, wait).await
        }
        None => recorded(&engine, uuid, spid, [stdout, stderr], max_bytes).await?,
    };
    Ok(Answer(answer(parts)).into_response())
}

/// The output of an ended process, from the event log.
async fn recorded(
    engine: &Arc<Engine>,
    uuid: Uuid,
    spid: u64,
    [stdout, stderr]: [OutputRange; 2],
    max_bytes: usize,
) -> Result<OutputParts, ApiError> {
    let path = engine.log_path(uuid);
    let process = blocking(move || Ok(events::read_process(&path, spid)?)).await?;
    if process.pid.is_none() {
        return Err(ApiError::missing(
            ErrorCode::ProcessNotFound,
            format!("the operation {uuid} has no process {spid}"),
        ));
    }
    let exit = process.exit.as_ref();
    let number = |name: &str| exit?.get(name)?.as_i64().filter(|number| *number >= 0);
    let oom_killed = exit.and_then(|exit| exit.get("x-oom-killed")?.as_bool());
    Ok(OutputParts {
        stdout: part(&process.stdout, process.stdout_dropped, stdout, max_bytes),
        stderr: part(&process.stderr, process.stderr_dropped, stderr, max_bytes),
        end: Some(ProcessEnd {
            code: number("code"),
            signal: number("signal"),
            oom_killed: oom_killed.unwrap_or(false),
        }),
    })
}

/// A part of a recorded stream, after which `dropped` bytes are missing.
fn part(bytes: &[u8], dropped: u64, range: OutputRange, max_bytes: usize) -> StreamPart {
    let length = bytes.len() as u64;
    let total = length + dropped;
    let offset = match range {
        // No bytes follow a position in the missing part.
        OutputRange::From(position) if position >= length => {
            return StreamPart {
                offset: total,
                bytes: Vec::new(),
                total,
            };
        }
        OutputRange::From(position) => position,
        OutputRange::Tail(count) => length.saturating_sub(count.min(max_bytes as u64)),
    };
    let rest = usize::try_from(offset).map_or(&[][..], |start| &bytes[start..]);
    StreamPart {
        offset,
        bytes: rest[..rest.len().min(max_bytes)].to_vec(),
        total,
    }
}

fn answer(parts: OutputParts) -> ProcessOutput {
    let to_answer = |part: StreamPart| {
        let text = stream(&part.bytes);
        OutputPart {
            offset: part.offset,
            value: text.value,
            encoding: text.encoding,
            total: part.total,
        }
    };
    let end = parts.end;
    ProcessOutput {
        stdout: to_answer(parts.stdout),
        stderr: to_answer(parts.stderr),
        running: end.is_none(),
        exit_code: end.and_then(|end| end.code),
        signal: end.and_then(|end| end.signal).filter(|signal| *signal > 0),
        oom_killed: end.map(|end| end.oom_killed).filter(|killed| *killed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_what_it_lacks() {
        let part = |range, max| {
            let part = part(b"0123456789", 90, range, max);
            (part.offset, part.bytes.len(), part.total)
        };
        assert_eq!(part(OutputRange::From(4), 3), (4, 3, 100));
        assert_eq!(part(OutputRange::From(10), 3), (100, 0, 100));
        assert_eq!(part(OutputRange::From(50), 3), (100, 0, 100));
        assert_eq!(part(OutputRange::Tail(4), 100), (6, 4, 100));
        assert_eq!(part(OutputRange::Tail(40), 3), (7, 3, 100));
    }
}
