//! Reading the output of a process while it is written.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use uuid::Uuid;

use super::{events::decode, runtime};
use crate::{Client, Error, error::Reason, types};

/// The longest wait of one request.
const MAX_REQUEST_WAIT: Duration = Duration::from_secs(20);
/// The most bytes of each stream in one answer.
const MAX_BYTES: u64 = 256 * 1024;
/// The first and the longest pause between two requests to a service without the extension.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The position up to which a client has read the output of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OutputPosition {
    /// Bytes of the standard output.
    pub stdout: u64,
    /// Bytes of the standard error.
    pub stderr: u64,
}

/// A part of the output of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessOutput {
    /// The standard output.
    pub stdout: OutputPart,
    /// The standard error.
    pub stderr: OutputPart,
    /// Whether the process runs. If not, there will be no more output.
    pub running: bool,
    /// The exit code, once the process has ended; none if a signal killed it.
    pub exit_code: Option<i64>,
    /// The signal that killed the process.
    pub signal: Option<i64>,
    /// Whether the kernel killed it because a memory limit was reached.
    pub oom_killed: bool,
}

/// A part of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutputPart {
    /// The position of the first byte. It is beyond the requested one if older bytes are gone.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The bytes that the process has written in all. A backend that has only the record counts the
    /// recorded bytes.
    pub total: u64,
}

impl OutputPart {
    /// The position after this part.
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    fn of(part: types::OutputPart) -> Result<Self, Error> {
        let bytes = decode(part.value, part.encoding)
            .map_err(|error| Error::Protocol(Reason::new(error.to_string(), error)))?;
        Ok(Self {
            offset: part.offset,
            total: part.total,
            bytes,
        })
    }

    /// The part of a record after a position.
    fn of_record(stream: Option<types::StreamRepr>, position: u64) -> Result<Self, Error> {
        let Some(stream) = stream else {
            return Ok(Self::default());
        };
        let mut bytes = decode(stream.value, stream.encoding)
            .map_err(|error| Error::Protocol(Reason::new(error.to_string(), error)))?;
        let total = bytes.len() as u64;
        let offset = position.min(total);
        bytes.drain(..usize::try_from(offset).unwrap_or(usize::MAX));
        Ok(Self {
            offset,
            bytes,
            total,
        })
    }
}

impl ProcessOutput {
    /// The position after this output.
    pub fn end(&self) -> OutputPosition {
        OutputPosition {
            stdout: self.stdout.end(),
            stderr: self.stderr.end(),
        }
    }

    fn has_news(&self) -> bool {
        !self.running || !self.stdout.bytes.is_empty() || !self.stderr.bytes.is_empty()
    }
}

impl Client {
    /// Reads the output of a process of a run after a position. Process 1 is the main one.
    ///
    /// If there is nothing new, it waits up to `wait` for new output or the end of the process. An
    /// embedded engine keeps the newest bytes of each stream. Any other service answers with the
    /// recorded beginning of the output.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such process, and with 425 if the run has not started
    /// in time.
    pub async fn read_output(
        &self,
        operation: Uuid,
        process: u64,
        after: OutputPosition,
        wait: Duration,
    ) -> Result<ProcessOutput, Error> {
        runtime::check()?;
        let deadline = Instant::now() + wait;
        let is_live = self.has_extension("output").await?;
        let mut pause = PAUSES.0;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let read = match is_live {
                true => self.read_live(operation, process, after, rest).await,
                false => self.read_recorded(operation, process, after).await,
            };
            let is_over = Instant::now() >= deadline;
            match read {
                Ok(output) if output.has_news() || is_over => return Ok(output),
                Ok(_) => {}
                Err(error) if error.status() == Some(StatusCode::TOO_EARLY) && !is_over => {}
                Err(error) => return Err(error),
            }
            // An engine waits by itself, but perhaps for a shorter time than requested.
            tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
            if !is_live {
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }

    /// Reads the last bytes that a process has written, without waiting.
    ///
    /// # Errors
    /// Those of [`read_output`](Self::read_output).
    pub async fn read_output_tail(
        &self,
        operation: Uuid,
        process: u64,
        bytes: u64,
    ) -> Result<ProcessOutput, Error> {
        if !self.has_extension("output").await? {
            let start = OutputPosition::default();
            let mut output = self.read_recorded(operation, process, start).await?;
            for part in [&mut output.stdout, &mut output.stderr] {
                let skip = (part.bytes.len() as u64).saturating_sub(bytes);
                part.bytes
                    .drain(..usize::try_from(skip).unwrap_or(usize::MAX));
                part.offset = skip;
            }
            return Ok(output);
        }
        let request = self.get_process_output();
        let request = request.operation_id(operation).spid(process);
        let bytes = bytes.min(MAX_BYTES);
        let answer = request.tail(bytes).max_bytes(bytes.max(1)).send().await?;
        live_output(answer.into_inner())
    }

    async fn read_live(
        &self,
        operation: Uuid,
        process: u64,
        after: OutputPosition,
        wait: Duration,
    ) -> Result<ProcessOutput, Error> {
        let wait = u64::try_from(wait.min(MAX_REQUEST_WAIT).as_millis()).unwrap_or_default();
        let request = self.get_process_output();
        let answer = request
            .operation_id(operation)
            .spid(process)
            .stdout(after.stdout)
            .stderr(after.stderr)
            .max_bytes(MAX_BYTES)
            .wait_ms(wait)
            .send()
            .await?;
        live_output(answer.into_inner())
    }

    /// Reads the record of a process, which has the beginning of its output.
    async fn read_recorded(
        &self,
        operation: Uuid,
        process: u64,
        after: OutputPosition,
    ) -> Result<ProcessOutput, Error> {
        let request = self.operation_subprocess();
        let answer = request.operation_id(operation).spid(process).send().await?;
        let types::InstanceResult {
            state,
            stdout,
            stderr,
            ..
        } = answer.into_inner();
        let state = state.unwrap_or_default();
        let exit_code = state.exit_code.filter(|code| *code >= 0);
        let signal = state.signal.filter(|signal| *signal > 0);
        Ok(ProcessOutput {
            stdout: OutputPart::of_record(stdout, after.stdout)?,
            stderr: OutputPart::of_record(stderr, after.stderr)?,
            running: exit_code.is_none() && signal.is_none(),
            exit_code,
            signal,
            oom_killed: state.x_oom_killed.unwrap_or_default(),
        })
    }
}

fn live_output(answer: types::ProcessOutput) -> Result<ProcessOutput, Error> {
    Ok(ProcessOutput {
        stdout: OutputPart::of(answer.stdout)?,
        stderr: OutputPart::of(answer.stderr)?,
        running: answer.running,
        exit_code: answer.exit_code,
        signal: answer.signal,
        oom_killed: answer.oom_killed.unwrap_or_default(),
    })
}
