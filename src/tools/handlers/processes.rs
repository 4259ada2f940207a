//! Handlers of the tools for running sandboxes: starting processes, talking to them, and snapshots.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;

use super::target_process::{TargetProcess, with_effect_hint};
use crate::tools::interaction::{FIRST_BYTE, OutputPattern, QUIET};
use crate::tools::output_cut::MAX_RECORDED_BYTES;
use crate::tools::results::{Exec, Interact, Snapshot};
use crate::tools::{Context, Handlers, ProcessesTools, ToolError, params};
use crate::types;

impl ProcessesTools for Handlers {
    async fn exec(&self, arguments: params::Exec, cx: &Context) -> Result<Exec, ToolError> {
        let params::Exec {
            operation_id,
            command,
            shell,
            env,
            cwd,
            uid,
            gid,
            input,
            wait_seconds,
            truncate_output_at,
        } = arguments;
        let begun = Instant::now();
        let deadline = begun + wait_time(wait_seconds);
        let client = cx.client().await?;
        let recorded = truncate_output_at.max(MAX_RECORDED_BYTES);
        let spec = types::ExecSpec {
            args: Vec::new(),
            command,
            cwd: Some(cwd).filter(|cwd| !cwd.is_empty()),
            x_terminal: None,
            env: Some(env.into_iter().collect::<BTreeMap<_, _>>()).filter(|env| !env.is_empty()),
            gid: Some(gid),
            shell: Some(shell),
            stdin: Some(types::ClosableStreamRepr {
                close: Some(input.is_some()),
                encoding: Some(types::StreamEncoding::Base64),
                value: STANDARD.encode(input.unwrap_or_default()),
            }),
            truncate_output_at: i64::try_from(recorded).ok(),
            uid: Some(uid),
        };
        let target = TargetProcess {
            client,
            operation: operation_id,
            process: 0,
        };
        let process = target.start(spec, deadline, cx).await?;
        let target = TargetProcess { process, ..target };
        let followed = tokio::select! {
            biased;
            () = cx.cancelled() => None,
            followed = target.follow(deadline, cx) => Some(followed),
        };
        let Some(followed) = followed else {
            return Err(target.kill_cancelled().await);
        };
        let output = followed.map_err(|error| {
            ToolError::from(error).with_hint(format!(
                "process {process} may still run: `{}` continues with it",
                target.next_call()
            ))
        })?;
        target
            .exec_result(&output, begun, truncate_output_at, cx)
            .await
    }

    async fn interact(
        &self,
        arguments: params::Interact,
        cx: &Context,
    ) -> Result<Interact, ToolError> {
        let params::Interact {
            operation_id,
            process_id,
            input,
            close,
            signal,
            until,
            wait_seconds,
        } = arguments;
        let until = until.as_deref().map(OutputPattern::parse).transpose()?;
        let deadline = Instant::now() + wait_time(wait_seconds);
        let target = TargetProcess {
            client: cx.client().await?,
            operation: operation_id,
            process: process_id,
        };
        let talk = async {
            let has_input = input.is_some() || close || signal.is_some();
            if input.is_some() || close {
                target
                    .write(input.unwrap_or_default(), close, deadline)
                    .await?;
            }
            if let Some(signal) = signal {
                target.signal(signal, deadline).await?;
            }
            let first = if has_input { FIRST_BYTE } else { QUIET };
            target.read_new(until.as_ref(), first, deadline, cx).await
        };
        cx.unless_cancelled(talk).await
    }

    async fn snapshot(
        &self,
        arguments: params::Snapshot,
        cx: &Context,
    ) -> Result<Snapshot, ToolError> {
        let params::Snapshot { operation_id } = arguments;
        let client = cx.client().await?;
        // It may take minutes.
        let made = tokio::select! {
            biased;
            () = cx.cancelled() => {
                return Err(ToolError::cancelled(
                    "the call was cancelled, but the image may be made nevertheless",
                ));
            }
            made = client.snapshot(operation_id) => made.map_err(|error| {
                with_effect_hint(error, || {
                    "An image may exist nevertheless: look with `list_images()` before you repeat the call.".to_owned()
                })
            })?,
        };
        Ok(Snapshot {
            image_uuid: made.image_uuid.to_string(),
            changed_files: made.changed_files,
            bytes: made.bytes,
            note: made.note,
        })
    }
}

/// The longest time that a call waits.
fn wait_time(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
