//! A process of a running sandbox, to which the tools `exec` and `interact` talk.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use tokio::time::Instant;
use uuid::Uuid;

use crate::tools::convert::{decode_stream, seconds};
use crate::tools::interaction::{NewOutput, OutputPattern, QUIET};
use crate::tools::operation::may_have_taken_effect;
use crate::tools::output_cut::{OutputCut, RecordedStream};
use crate::tools::results::{Exec, Interact};
use crate::tools::{Context, OutputStream, ToolError};
use crate::{Client, Error, OutputPosition, ProcessOutput, types};

/// The main process of a run.
const MAIN_PROCESS: u64 = 1;
/// The exit code of a process that was killed.
const KILLED: i64 = -1;
/// The pause before a request that came before the start of its run is sent again.
const START_PAUSE: Duration = Duration::from_millis(100);
/// The number of new bytes in one answer of the backend that counts as a flood.
const FLOOD_BYTES: usize = 128 * 1024;
/// The pause between two reads of a flood, of which only the newest bytes are shown anyway.
const FLOOD_PAUSE: Duration = Duration::from_millis(20);

/// A process of a run.
pub(super) struct TargetProcess<'a> {
    pub(super) client: &'a Client,
    pub(super) operation: Uuid,
    pub(super) process: u64,
}

impl TargetProcess<'_> {
    /// Starts a process once the run has started. Returns its number.
    pub(super) async fn start(
        &self,
        spec: types::ExecSpec,
        deadline: Instant,
        cx: &Context,
    ) -> Result<u64, ToolError> {
        loop {
            // The request is never dropped, because only its answer has the number of the process.
            let request = self.client.operation_subprocess_create();
            let request = request.operation_id(self.operation).body(spec.clone());
            match request.send().await.map_err(Error::from) {
                Ok(created) => return Ok(created.into_inner().spid),
                Err(error) => {
                    let remedy = || self.start_remedy();
                    pause_before_start(error, deadline, remedy).await?;
                }
            }
            if cx.is_cancelled() {
                return Err(ToolError::cancelled("the call was cancelled"));
            }
        }
    }

    /// Follows the process until it ends or the time is over, and passes on its output.
    pub(super) async fn follow(
        &self,
        deadline: Instant,
        cx: &Context,
    ) -> Result<ProcessOutput, Error> {
        let mut position = OutputPosition::default();
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let (client, operation) = (self.client, self.operation);
            let output = client
                .read_output(operation, self.process, position, rest)
                .await?;
            for (stream, part) in [
                (OutputStream::Stdout, &output.stdout),
                (OutputStream::Stderr, &output.stderr),
            ] {
                if !part.bytes.is_empty() {
                    cx.watcher().output(stream, &part.bytes);
                }
            }
            position = output.end();
            if !output.running || Instant::now() >= deadline {
                return Ok(output);
            }
            pause_in_flood(&output).await;
        }
    }

    /// Returns the answer of `exec`, with the output from the record of the process.
    pub(super) async fn exec_result(
        &self,
        output: &ProcessOutput,
        begun: Instant,
        limit: u64,
        cx: &Context,
    ) -> Result<Exec, ToolError> {
        let record = self.client.operation_subprocess();
        let record = record.operation_id(self.operation).spid(self.process);
        let record = record.send().await?.into_inner();
        let (stdout, stdout_cut) = decode_stream(record.stdout);
        let (stderr, stderr_cut) = decode_stream(record.stderr);
        let cut = OutputCut::of(cx, self.operation, Some(limit));
        let out = cut.show(RecordedStream::new(&stdout, stdout_cut));
        let err = cut.show(RecordedStream::new(&stderr, stderr_cut));
        cx.session().set_output_position(
            self.operation,
            self.process,
            OutputPosition {
                stdout: stdout.len() as u64,
                stderr: stderr.len() as u64,
            },
        );
        let elapsed = record.resources.and_then(|used| used.elapsed_time);
        let elapsed = elapsed.filter(|_| !output.running && elapsed > Some(0.0));
        Ok(Exec {
            operation_id: self.operation.to_string(),
            process_id: self.process,
            running: output.running,
            exit_code: exit_code(output),
            signal: output.signal,
            oom_killed: output.oom_killed,
            duration: seconds(elapsed.unwrap_or_else(|| begun.elapsed().as_secs_f64())),
            stdout: out.text,
            stderr: err.text,
            truncated: out.is_cut || err.is_cut,
            lossy: out.is_lossy || err.is_lossy,
            next: output.running.then(|| self.next_call()),
        })
    }

    /// The call that continues with the process.
    pub(super) fn next_call(&self) -> String {
        format!(
            "interact(operation_id=\"{}\", process_id={})",
            self.operation, self.process
        )
    }

    /// Kills the process of a cancelled call.
    pub(super) async fn kill_cancelled(&self) -> ToolError {
        let request = self.client.operation_subprocess_kill();
        let request = request.operation_id(self.operation).spid(self.process);
        match request.send().await.map_err(Error::from) {
            Ok(_) => ToolError::cancelled(format!(
                "the call was cancelled and process {} was killed",
                self.process
            )),
            // The process has ended by itself.
            Err(error) if error.is_not_found() || error.status() == Some(StatusCode::CONFLICT) => {
                ToolError::cancelled(format!(
                    "the call was cancelled, but process {} had already ended",
                    self.process
                ))
            }
            Err(error) => ToolError::cancelled(format!(
                "the call was cancelled, but process {} may still run: {error}",
                self.process
            ))
            .with_hint(format!("`{}` reads its output", self.next_call())),
        }
    }

    /// Writes to the standard input of the process.
    pub(super) async fn write(
        &self,
        text: String,
        close: bool,
        deadline: Instant,
    ) -> Result<(), ToolError> {
        let body = types::ClosableStreamRepr {
            close: Some(close),
            encoding: Some(types::StreamEncoding::Base64),
            value: STANDARD.encode(text),
        };
        loop {
            let request = self.client.operation_subprocess_stdin();
            let request = request.operation_id(self.operation).spid(self.process);
            match request.body(body.clone()).send().await.map_err(Error::from) {
                Ok(_) => return Ok(()),
                Err(error) if error.status() == Some(StatusCode::CONFLICT) => {
                    return Err(self.closed_input(error));
                }
                Err(error) => {
                    pause_before_start(error, deadline, || {
                        self.remedy("The input may have arrived")
                    })
                    .await
                    .map_err(|error| self.with_reading_hint(error))?;
                }
            }
        }
    }

    /// The remedy of a start whose answer is lost.
    fn start_remedy(&self) -> String {
        format!(
            "The process may run, so look before you repeat the call: `list_operations(status=\"EXECUTING\")` \
             lists the processes of operation {}, and `interact` reads from one.",
            self.operation
        )
    }

    /// The remedy of a request to the process whose answer is lost, with its possible `effect`.
    fn remedy(&self, effect: &str) -> String {
        format!(
            "{effect}: read with `{}` before you repeat the call.",
            self.next_call()
        )
    }

    /// The error of input for a process whose standard input is closed.
    fn closed_input(&self, error: Error) -> ToolError {
        ToolError::from(error).with_hint(match self.process {
            MAIN_PROCESS => "the command of `run` has an open standard input only with stdin_open=true, until it is closed; a process of `exec` has one if `exec` got no `input`".to_owned(),
            _ => format!(
                "a process of `exec` has an open standard input only if `exec` got no `input`, until it is closed; `{}` reads its output",
                self.next_call()
            ),
        })
    }

    /// Adds a hint on reading the rest of the output, if the process may have ended.
    fn with_reading_hint(&self, error: ToolError) -> ToolError {
        match error.is_missing() {
            true => error.with_hint(format!(
                "nothing was sent; `{}` without input reads what it has written",
                self.next_call()
            )),
            false => error,
        }
    }

    /// Sends a signal to the process.
    pub(super) async fn signal(&self, signal: String, deadline: Instant) -> Result<(), ToolError> {
        loop {
            let request = self.client.operation_subprocess_kill();
            let request = request.operation_id(self.operation).spid(self.process);
            match request.signal(&signal).send().await.map_err(Error::from) {
                Ok(_) => return Ok(()),
                Err(error) => {
                    pause_before_start(error, deadline, || {
                        self.remedy("The signal may have been sent")
                    })
                    .await
                    .map_err(|error| self.with_reading_hint(error))?;
                }
            }
        }
    }

    /// Reads what the process has written since the last answer. It waits until the process is
    /// quiet, until it has ended, until the pattern appears, or until the time is over. `first` is
    /// the time for the first byte.
    pub(super) async fn read_new(
        &self,
        until: Option<&OutputPattern>,
        first: Duration,
        deadline: Instant,
        cx: &Context,
    ) -> Result<Interact, ToolError> {
        let (mut stdout, mut stderr) = (NewOutput::default(), NewOutput::default());
        let mut position = cx.session().output_position(self.operation, self.process);
        let mut quiet_at = Instant::now() + first;
        let mut found = false;
        // The end of the output of an ended process. Others that it started may keep writing.
        let mut last: Option<OutputPosition> = None;
        let output = loop {
            let end = match until {
                Some(_) => deadline,
                None => deadline.min(quiet_at),
            };
            let rest = end.saturating_duration_since(Instant::now());
            let (client, operation) = (self.client, self.operation);
            let output = client
                .read_output(operation, self.process, position, rest)
                .await?;
            let has_bytes = !(output.stdout.bytes.is_empty() && output.stderr.bytes.is_empty());
            found |= stdout.add(position.stdout, &output.stdout, until);
            found |= stderr.add(position.stderr, &output.stderr, until);
            position = output.end();
            let now = Instant::now();
            if has_bytes {
                quiet_at = now + QUIET;
                // The last output of an ended process comes in parts too, without any waiting.
                if !output.running {
                    let last = last.get_or_insert(OutputPosition {
                        stdout: output.stdout.total,
                        stderr: output.stderr.total,
                    });
                    if position.stdout < last.stdout || position.stderr < last.stderr {
                        continue;
                    }
                }
            }
            if found || !output.running || now >= deadline || (!has_bytes && now >= end) {
                break output;
            }
            pause_in_flood(&output).await;
        };
        let (out, err) = (stdout.show(output.running), stderr.show(output.running));
        let shown = OutputPosition {
            stdout: position.stdout.saturating_sub(out.held_back),
            stderr: position.stderr.saturating_sub(err.held_back),
        };
        cx.session()
            .set_output_position(self.operation, self.process, shown);
        Ok(Interact {
            stdout: out.text,
            stderr: err.text,
            running: output.running,
            exit_code: exit_code(&output),
            signal: output.signal,
            oom_killed: output.oom_killed,
            found: until.map(|_| found),
            dropped_bytes: stdout.dropped + stderr.dropped,
            lossy: out.is_lossy || err.is_lossy,
        })
    }
}

/// The exit code of an ended process. One that was killed has -1, as in the answers of `run`.
fn exit_code(output: &ProcessOutput) -> Option<i64> {
    (!output.running).then(|| output.exit_code.unwrap_or(KILLED))
}

/// Pauses if a process writes faster than anyone can read.
async fn pause_in_flood(output: &ProcessOutput) {
    if output.stdout.bytes.len() + output.stderr.bytes.len() >= FLOOD_BYTES {
        tokio::time::sleep(FLOOD_PAUSE).await;
    }
}

/// Builds the error of a request. If it may have taken effect nevertheless, `hint` says what to do.
pub(super) fn with_effect_hint(error: Error, hint: impl FnOnce() -> String) -> ToolError {
    match may_have_taken_effect(&error) {
        true => ToolError::from(error).with_hint(hint()),
        false => error.into(),
    }
}

/// Pauses after a request that came before the start of its run, so that it can be sent again.
/// `remedy` is the hint of an error after which the request may have taken effect.
async fn pause_before_start(
    error: Error,
    deadline: Instant,
    remedy: impl FnOnce() -> String,
) -> Result<(), ToolError> {
    if error.status() != Some(StatusCode::TOO_EARLY) {
        return Err(with_effect_hint(error, remedy));
    }
    if Instant::now() >= deadline {
        let error = ToolError::from(error);
        return Err(error.with_hint("the run still waits in the queue; try again later"));
    }
    tokio::time::sleep(START_PAUSE).await;
    Ok(())
}
