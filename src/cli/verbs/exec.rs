//! `contree exec`: runs another command in a running sandbox.

use std::sync::Arc;

use clap::Args;
use contree_error_codes::ErrorCode;
use futures_util::StreamExt as _;
use serde::Serialize;
use uuid::Uuid;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::exit_status::CLOSED;
use super::image_name::short;
use super::input::{self, InputKind};
use super::process_options::ProcessOptions;
use super::rows::print_record;
use super::run::{
    ConnectionEnd, RECORDED_BYTES, connect, is_on_terminal, shell_words, status_of, terminal_size,
    terminal_variables, written_status,
};
use super::session_state::join;
use crate::cli::habits::without_effect;
use crate::cli::output::{RawOutput, print_message};
use crate::events::Payload;
use crate::tools::{OutputStream, Watcher as _};
use crate::types::OperationMetadata;
use crate::{OutputPosition, Process};

/// How long one request waits for the end of a process.
const READ_TIME: std::time::Duration = std::time::Duration::from_secs(20);

/// Run another command in a running sandbox
#[derive(Args, Debug)]
#[command(
    override_usage = "contree exec [OPTIONS] OPERATION -- CMD…\n       contree exec [OPTIONS] OPERATION -s 'TEXT'",
    after_help = "\
Examples:
  contree exec @ -- ps aux               in the sandbox of the last `contree run -d`
  contree exec -i 1a2b3c -- bash         on this terminal

It starts in the directory of the run, with the variables of the session, and ends with the run. Exit
status: that of the command, 125 if it could not run, 128+N after signal N.",
    arg = without_effect("tty", Some('t')),
    mut_arg("cwd", |cwd| cwd.help("Directory to start in; default: that of the run"))
)]
pub(in crate::cli) struct Exec {
    /// UUID of the run, the beginning of it, or @N; @ is the last run of the session
    #[arg(add = complete::values(Known::Running))]
    operation: String,
    /// The command
    #[arg(value_name = "CMD", required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// Run TEXT with the image's shell
    #[arg(short, long)]
    shell: bool,
    #[command(flatten)]
    process: ProcessOptions,
    /// Connect the command to this terminal
    #[arg(short, long)]
    interactive: bool,
}

/// The result of a command as JSON.
#[derive(Serialize)]
struct ExecRecord {
    operation_uuid: Uuid,
    process_id: u64,
    exit_code: Option<i64>,
    signal: Option<i64>,
    duration: f64,
    stdout: String,
    stderr: String,
    truncated: bool,
}

/// The end of a process.
struct ProcessEnd {
    code: Option<i64>,
    signal: Option<i64>,
    seconds: f64,
}

/// The output of a process, as its record in JSON has it.
#[derive(Default)]
struct RecordedOutput {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    truncated: bool,
}

impl Exec {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        match self.start(cx).await {
            Ok(status) => Ok(status),
            Err(error) => cx.could_not_run(error).await,
        }
    }

    async fn start(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let operation = cx.operation(&self.operation).await?;
        let directory = start_directory(cx, operation).await?;
        let state = cx.state().await?;
        let run = cx.client.attach(operation);
        let mut exec = match &self.command[..] {
            words if self.shell && words.len() > 1 => run.shell(shell_words(words)),
            [text, ..] if self.shell => run.shell(text),
            [program, arguments @ ..] => run.exec(program, arguments),
            [] => return Err(VerbError::Usage("there is no command".to_owned())),
        };
        let own = self.process.variables()?;
        let is_on_terminal =
            self.interactive && is_on_terminal() && cx.client.has_extension("terminal").await?;
        if is_on_terminal {
            let (columns, rows) = terminal_size();
            exec = exec.terminal(columns, rows).stdin_open();
            for (name, value) in terminal_variables() {
                exec = exec.env(name, value);
            }
        }
        let own = own.iter().map(|(name, value)| (name, value));
        for (name, value) in state.env.iter().chain(own) {
            exec = exec.env(name, value);
        }
        let directory = match self.process.cwd {
            Some(path) => Some(join(state.cwd.as_deref(), &path)),
            None => directory,
        };
        if let Some(directory) = directory {
            exec = exec.cwd(directory);
        }
        exec = exec.truncate_output_at(RECORDED_BYTES);
        if is_on_terminal {
            let process = cx.unless_interrupted(exec.spawn()).await?;
            return on_terminal(cx, process).await;
        }
        let is_forwarded = InputKind::of_process() == InputKind::Forwarded || self.interactive;
        if is_forwarded {
            exec = exec.stdin_open();
        }
        let process = cx.unless_interrupted(exec.spawn()).await?;
        if is_forwarded {
            contree_tasks::spawn(input::forward(process.stdin()));
        }
        follow(cx, operation, process).await
    }
}

/// The directory in which the command of a run started; none for the directory of its image.
///
/// # Errors
/// If the operation has ended, or does not exist.
async fn start_directory(cx: &VerbContext, operation: Uuid) -> Result<Option<String>, VerbError> {
    let record = super::operations::record(cx, operation).await?;
    if let Some(status) = record.status.filter(|status| status.is_terminal()) {
        return Err(VerbError::WithCode(
            ErrorCode::OperationOver,
            format!(
                "operation {} has ended ({status}); `contree ps` lists what runs",
                short(&operation)
            ),
        ));
    }
    let directory = match record.metadata {
        Some(OperationMetadata::OperationInstanceMetadata(run)) => run.cwd,
        _ => None,
    };
    Ok(directory.filter(|directory| !directory.is_empty()))
}

/// Connects a process to the terminal of this program until the process ends.
async fn on_terminal(cx: &VerbContext, process: Process) -> Result<u8, VerbError> {
    // The connection restores the terminal and says which signal ended it.
    let ending = cx.ending();
    let connected = connect(|| process.terminal(), process.stdin(), terminal_size()).await;
    match connected {
        Ok(ConnectionEnd::Shown) => {}
        Ok(ConnectionEnd::Missed) => {
            return follow(cx, process.operation(), process).await;
        }
        // The drop kills the process.
        Ok(ConnectionEnd::Signal(status)) => return Ok(status),
        Err(error) => return Err(VerbError::WithCode(error.code(), error.to_string())),
    }
    drop(ending);
    let mut position = OutputPosition::default();
    loop {
        let output = process.read_output(position, READ_TIME);
        let output = cx.unless_interrupted(output).await?;
        position = output.end();
        if !output.running {
            process.detach();
            return Ok(status_of(output.exit_code, output.signal));
        }
    }
}

/// Shows the output of a process until it ends. A signal kills the process.
async fn follow(cx: &VerbContext, operation: Uuid, process: Process) -> Result<u8, VerbError> {
    let id = process.id();
    let is_json = cx.format.is_json();
    let raw = Arc::new(RawOutput::new(cx.cancelled.clone()));
    let mut recorded = RecordedOutput::default();
    let mut events = cx.client.follow(operation, None);
    let end = loop {
        let event = tokio::select! {
            biased;
            () = cx.cancelled.cancelled() => {
                raw.finish();
                return Ok(match cx.interrupted().await {
                    0 => CLOSED,
                    status => status,
                });
            }
            event = events.next() => event,
        };
        let Some(event) = event.transpose()? else {
            return Err(run_ended());
        };
        let (stream, kept, chunk) = match &event.payload {
            Payload::Completion(_) => return Err(run_ended()),
            _ if event.spid != id => continue,
            Payload::Exit(exit) => {
                break ProcessEnd {
                    code: Some(exit.code).filter(|code| *code >= 0),
                    signal: Some(exit.signal).filter(|signal| *signal > 0),
                    seconds: exit.duration_ms as f64 / 1000.0,
                };
            }
            Payload::Truncated(_) => {
                recorded.truncated = true;
                continue;
            }
            Payload::Stdout(chunk) => (OutputStream::Stdout, &mut recorded.stdout, chunk),
            Payload::Stderr(chunk) => (OutputStream::Stderr, &mut recorded.stderr, chunk),
            _ => continue,
        };
        match is_json {
            true => kept.extend_from_slice(&chunk.bytes),
            false => raw.output(stream, &chunk.bytes),
        }
    };
    process.detach();
    raw.finish();
    let status = status_of(end.code, end.signal);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if is_json {
        let record = ExecRecord {
            operation_uuid: operation,
            process_id: id,
            exit_code: end.code,
            signal: end.signal,
            duration: end.seconds,
            stdout: text(&recorded.stdout),
            stderr: text(&recorded.stderr),
            truncated: recorded.truncated,
        };
        print_record(cx.format, &record)?;
    } else if recorded.truncated {
        print_message("the output is incomplete: its end was not recorded");
    }
    Ok(written_status(&raw, status))
}

fn run_ended() -> VerbError {
    VerbError::WithCode(
        ErrorCode::SandboxGone,
        "the run ended, and this command of its sandbox with it".to_owned(),
    )
}
