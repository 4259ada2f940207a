//! `contree-mcp call`: calls a tool from a shell.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use base64::Engine;
use clap::Args;
use contree_error_codes::ErrorCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::arguments::{self, ArgumentError, ProcessInput};
use super::error::CommandError;
use super::output::{self, RawOutput, TerminalOutput, WriteState, print_error, print_message};
use super::process::runtime;
use super::secret::{self, SecretError};
use super::setup::Setup;
use super::{USAGE, signals};
use crate::tools::{
    self, Context, Handlers, Session, Tool, ToolAnswer, ToolError, ToolSelection, Watcher,
    required_names,
};

/// Exit status if the tool fails.
const TOOL_ERROR: u8 = 1;
/// Exit status if the operation that the tool started was cancelled.
const CANCELLED: u8 = 3;
/// Exit status with `--raw` if the command's time limit expired, as of `timeout(1)`.
const TIMED_OUT: u8 = 124;
/// Exit status with `--raw` if the tool or this program fails, so that no command has a status.
const FAILED: u8 = 125;
/// Exit status with `--raw` if the reader closed standard output, as of a program ended by SIGPIPE.
const CLOSED: u8 = 141;
/// Bytes of each stream to record with `--raw`, unless the user sets a number: the API's maximum.
const RAW_BYTES: u64 = 10 * 1024 * 1024;

/// An error in the command line of a call.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("{0} (`contree-mcp tools` lists them)")]
    UnknownTool(#[source] ToolError),
    #[error(transparent)]
    Argument(#[from] ArgumentError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The tool is not offered, or refuses the arguments.
    #[error(transparent)]
    Refused(#[from] ToolError),
    #[error("--raw: the result of `{0}` has neither streams nor content to print")]
    NoRawOutput(&'static str),
    #[error(
        "--raw prints the command's output, which wait=false does not wait for: leave one of them out"
    )]
    RawWithoutWait,
}

impl UsageError {
    /// The code of the error.
    fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownTool(error) | Self::Refused(error) => error.code(),
            Self::Argument(_) => ErrorCode::InvalidArgument,
            Self::Secret(_) => ErrorCode::LocalFileUnusable,
            Self::NoRawOutput(_) | Self::RawWithoutWait => ErrorCode::Usage,
        }
    }
}

/// Call a tool and print its result as JSON
#[derive(Args, Debug)]
#[command(after_help = "\
ARG is a JSON object, or KEY=VALUE: text for string parameters, JSON for others. Giving an array parameter again \
appends to it. KEY=@FILE and KEY=@- take the value from a file and from standard input; KEY=@@x is the text `@x`. On a \
terminal, the program prompts for missing secrets.

On a terminal, control characters and invisible characters of output are escaped. A pipe gets them unchanged.

Exit status: 0, 1 if the tool fails, 2 for a wrong command line, 3 if the operation was cancelled. With --raw: the command's own status, 128+N if signal \
N killed it, 124 if its time limit expired, 125 if the tool fails or its output cannot be written, 141 if the reader closed \
standard output, 128+N if signal N ended the call.")]
pub(super) struct Call {
    /// Print the command's output as it arrives and exit with its status; for other tools, print
    /// only the content
    #[arg(long)]
    raw: bool,
    /// Name of the tool; see `contree-mcp tools`
    tool: String,
    /// Arguments of the tool
    #[arg(value_name = "ARG")]
    arguments: Vec<String>,
}

/// The output of a tool with `--raw`, determined by its output schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RawShape {
    /// The streams and the status of a command.
    Streams,
    /// Content.
    Content,
    /// Neither streams nor content.
    Other,
}

impl Call {
    pub(super) fn run(self, setup: Setup) -> Result<u8, CommandError> {
        let (tool, arguments) = match self.prepare(&setup.tool_selection) {
            Ok(prepared) => prepared,
            Err(problem) => {
                print_error(&problem, problem.code());
                return Ok(USAGE);
            }
        };
        for note in &setup.backend_selection.notes {
            tracing::warn!("{note}");
        }
        let session = setup.session(false)?;
        let runtime = runtime()?;
        let status = contree_tasks::block_on(&runtime, self.call(tool, arguments, &session));
        super::serve::close(session, runtime);
        Ok(status)
    }

    fn prepare(
        &self,
        selection: &ToolSelection,
    ) -> Result<(&'static Tool, serde_json::Map<String, Value>), UsageError> {
        let Some(tool) = tools::find_tool(&self.tool) else {
            return Err(UsageError::UnknownTool(tools::unknown_tool(&self.tool)));
        };
        if !selection.has(tool.name) {
            return Err(selection.refusal(&format!("`{}`", tool.name)).into());
        }
        let schema = tool.argument_schema();
        let mut arguments =
            arguments::read(&self.arguments, &schema, &mut ProcessInput::default())?;
        ask_for_secrets(tool, &schema, &mut arguments)?;
        if self.raw {
            match shape(tool) {
                RawShape::Other => return Err(UsageError::NoRawOutput(tool.name)),
                RawShape::Streams => adapt_arguments(&schema, &mut arguments)?,
                RawShape::Content => {}
            }
        }
        Ok((tool, arguments))
    }

    async fn call(
        &self,
        tool: &'static Tool,
        arguments: serde_json::Map<String, Value>,
        session: &Arc<Session>,
    ) -> u8 {
        let cancelled = CancellationToken::new();
        let raw = Arc::new(RawOutput::new(cancelled.clone()));
        let watcher: Arc<dyn Watcher> = if self.raw {
            raw.clone()
        } else {
            Arc::new(TerminalOutput::new())
        };
        // The exit status of the received signal; 0 if there was none.
        let interrupted = Arc::new(AtomicU8::new(0));
        let (cancel, signal_status) = (cancelled.clone(), interrupted.clone());
        let listener = signals::on_end(move |status| {
            signal_status.store(status, Ordering::Release);
            cancel.cancel();
        });
        if let Err(problem) = listener {
            tracing::warn!("{problem}");
        }
        let context = Context::new(session.clone(), watcher, cancelled.clone());
        let dispatching = tools::dispatch(&Handlers, tool.name, arguments, &context);
        let done = if tool.task.is_some() {
            // It cancels its operation, and waits for the operation's end.
            dispatching.await
        } else {
            tokio::select! {
                biased;
                done = dispatching => done,
                () = cancelled.cancelled() => Err(ToolError::cancelled("the call was cancelled")),
            }
        };
        let done = done.map_err(|error| session.explain(error));
        let status = match done {
            Ok(answer) if self.raw => print_raw(shape(tool), &answer, &raw),
            Ok(answer) => match print_json(&answer.structured) {
                0 if answer.is_failure => TOOL_ERROR,
                0 if tool.task.is_some() && answer.structured["status"] == "CANCELLED" => CANCELLED,
                status => status,
            },
            // The reader closed standard output, which cancelled the call. That is not an error to
            // report.
            Err(_) if raw.write_state() == WriteState::Closed => CLOSED,
            Err(error) => self.report_failure(&error, interrupted.load(Ordering::Acquire)),
        };
        raw.finish();
        let status = match raw.write_state() {
            WriteState::Closed => CLOSED,
            WriteState::Failed => FAILED,
            _ => status,
        };
        wait_for_running(session, &cancelled).await;
        status
    }

    /// Prints the error and returns the exit status.
    fn report_failure(&self, error: &ToolError, interrupted: u8) -> u8 {
        print_error(error, error.code());
        match (self.raw, interrupted) {
            (true, 0) => FAILED,
            (true, status) => status,
            (false, _) => TOOL_ERROR,
        }
    }
}

/// Prompts for required secrets that were not given. Without a terminal, the tool itself reports a
/// missing secret.
fn ask_for_secrets(
    tool: &Tool,
    schema: &Value,
    arguments: &mut serde_json::Map<String, Value>,
) -> Result<(), UsageError> {
    if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        return Ok(());
    }
    let names: Vec<&str> = required_names(schema)
        .into_iter()
        .filter(|name| schema["properties"][*name]["format"] == "password")
        .filter(|name| !arguments.contains_key(*name))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    // Other mistakes are reported before the user types a secret.
    let mut placeholders = arguments.clone();
    placeholders.extend(names.iter().map(|name| ((*name).to_owned(), json!("x"))));
    tool.normalise(placeholders)?;
    for name in names {
        arguments.insert(name.to_owned(), Value::String(secret::ask(name)?));
    }
    Ok(())
}

fn shape(tool: &Tool) -> RawShape {
    let schema = tool.output_schema();
    let has = |name: &str| schema["properties"].get(name).is_some();
    if has("exit_code") && has("stdout") {
        RawShape::Streams
    } else if has("content") {
        RawShape::Content
    } else {
        RawShape::Other
    }
}

/// Adapts the arguments to `--raw`: the call must wait for the command, and records as much output
/// as possible.
fn adapt_arguments(
    schema: &Value,
    arguments: &mut serde_json::Map<String, Value>,
) -> Result<(), UsageError> {
    let parameters = &schema["properties"];
    if arguments
        .get("wait")
        .is_some_and(|wait| *wait == json!(false))
    {
        return Err(UsageError::RawWithoutWait);
    }
    if parameters.get("truncate_output_at").is_some()
        && !arguments.contains_key("truncate_output_at")
    {
        arguments.insert("truncate_output_at".into(), json!(RAW_BYTES));
    }
    Ok(())
}

fn print_json(value: &Value) -> u8 {
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let printed = output::print_json(&if terminal {
        format!("{value:#}\n")
    } else {
        format!("{value}\n")
    });
    match printed {
        Ok(()) => 0,
        Err(problem) => {
            print_error(&problem, problem.code());
            TOOL_ERROR
        }
    }
}

fn print_raw(shape: RawShape, answer: &ToolAnswer, raw: &RawOutput) -> u8 {
    let result = &answer.structured;
    let text = |name: &str| result[name].as_str().unwrap_or_default();
    if shape == RawShape::Content {
        let bytes = match text("encoding") {
            "base64" => base64::engine::general_purpose::STANDARD
                .decode(text("content"))
                .unwrap_or_default(),
            _ => text("content").as_bytes().to_vec(),
        };
        raw.output(tools::OutputStream::Stdout, &bytes);
        if let Some(next) = result["next"].as_str() {
            print_message(format_args!("this is only a part; continue with {next}"));
        }
        return 0;
    }
    // Output that was followed live is already printed; output of a finished operation is printed
    // now.
    if !raw.has_written() {
        raw.output(tools::OutputStream::Stdout, text("stdout").as_bytes());
        raw.output(tools::OutputStream::Stderr, text("stderr").as_bytes());
    }
    if result["truncated"] == true {
        let bytes = |name: &str| {
            result[name].as_u64().map_or_else(
                || "complete".into(),
                |bytes| format!("truncated from {bytes} bytes"),
            )
        };
        print_message(format_args!(
            "the output is incomplete (standard output: {}, standard error: {})",
            bytes("stdout_bytes"),
            bytes("stderr_bytes")
        ));
    }
    command_status(result)
}

/// Returns the exit status for a command's result.
fn command_status(result: &Value) -> u8 {
    if result["timed_out"] == true {
        return TIMED_OUT;
    }
    if let Some(signal) = result["signal"].as_u64() {
        return u8::try_from(128 + signal).unwrap_or(FAILED);
    }
    match result["exit_code"].as_i64().filter(|code| *code >= 0) {
        Some(code) => u8::try_from(code).unwrap_or(FAILED),
        None => {
            print_message(format_args!(
                "the command has no exit status (operation {})",
                result["status"].as_str().unwrap_or("unknown")
            ));
            FAILED
        }
    }
}

/// Waits for operations that the call left running, if they would end with this process.
async fn wait_for_running(session: &Arc<Session>, cancelled: &CancellationToken) {
    let running = session.still_running().await;
    if running.is_empty() {
        return;
    }
    let ids: Vec<String> = running.iter().map(ToString::to_string).collect();
    let subject = match &ids[..] {
        [id] => format!("operation {id} ends"),
        ids => format!("operations {} end", ids.join(", ")),
    };
    print_message(format_args!(
        "waiting until {subject}, since the embedded engine runs in this process (Ctrl-C cancels)"
    ));
    tokio::select! {
        () = session.wait_for_unattended() => {}
        () = cancelled.cancelled() => session.cancel_unattended().await,
    }
}
