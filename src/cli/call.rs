//! `contree-mcp call`: one tool, from a shell.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use base64::Engine;
use clap::Args;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::arguments::{self, ArgumentError, System};
use super::error::CommandError;
use super::output::{RawOutput, TerminalOutput, WriteState, print, say};
use super::process::runtime;
use super::secret::{self, SecretError};
use super::setup::Setup;
use super::{USAGE, signals};
use crate::tools::{
    self, Context, Handlers, Session, Tool, ToolAnswer, ToolError, ToolSelection, Watcher,
};

/// A tool said no.
const TOOL_ERROR: u8 = 1;
/// `--raw`: the command's time was up, as `timeout` has it.
const TIMED_OUT: u8 = 124;
/// `--raw`: no status of a command, for it is our failure.
const FAILED: u8 = 125;
/// `--raw`: nobody reads standard output, as of a filter that SIGPIPE ended.
const CLOSED: u8 = 141;
/// `--raw`: how much of each stream is recorded, unless it is said: as much as the API allows.
const RAW_BYTES: u64 = 10 * 1024 * 1024;

/// Why a call is not made: the command line is wrong.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("{0} (`contree-mcp tools` lists them)")]
    UnknownTool(#[source] ToolError),
    #[error(transparent)]
    Argument(#[from] ArgumentError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The tool is not offered, or does not take the arguments.
    #[error(transparent)]
    Refused(#[from] ToolError),
    #[error("--raw: `{0}` has neither streams nor content to print")]
    NothingRaw(&'static str),
    #[error("--raw passes on a command's output, which wait=false does not wait for")]
    RawWithoutWait,
}

/// Call a tool and print its result as JSON
#[derive(Args, Debug)]
#[command(after_help = "\
ARG is a JSON object, or KEY=VALUE: text for string parameters, JSON for others. Giving an array parameter again \
appends to it. KEY=@FILE and KEY=@- take the value from a file and from standard input; KEY=@@x is the text `@x`. A secret \
that is left out is asked for on a terminal.

Exit status: 0, 1 if the tool fails, 2 for a wrong command line. With --raw the command's own status, 128+N if signal \
N killed it, 124 if its time was up, 125 if the tool fails or its output cannot be written, 141 if nobody reads it any more, 128+N \
if signal N ended the call.")]
pub(super) struct Call {
    /// Write the command's bytes as they come and exit with its status; for other tools, print the content alone
    #[arg(long)]
    raw: bool,
    /// The tool's name; see `contree-mcp tools`
    tool: String,
    /// Its arguments
    #[arg(value_name = "ARG")]
    arguments: Vec<String>,
}

/// What `--raw` prints, by the tool's output schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RawShape {
    /// The streams and the status of a command.
    Streams,
    /// Content.
    Content,
    /// Neither.
    Other,
}

impl Call {
    pub(super) fn run(self, setup: Setup) -> Result<u8, CommandError> {
        let (tool, arguments) = match self.prepare(&setup.offer) {
            Ok(prepared) => prepared,
            Err(problem) => {
                say(problem);
                return Ok(USAGE);
            }
        };
        for note in &setup.decision.notes {
            tracing::warn!("{note}");
        }
        let session = setup.session(false)?;
        let runtime = runtime()?;
        let status = runtime.block_on(self.call(tool, arguments, &session));
        super::serve::close(session);
        runtime.shutdown_background();
        Ok(status)
    }

    fn prepare(
        &self,
        offer: &ToolSelection,
    ) -> Result<(&'static Tool, serde_json::Map<String, Value>), UsageError> {
        let Some(tool) = tools::find_tool(&self.tool) else {
            return Err(UsageError::UnknownTool(tools::unknown_tool(&self.tool)));
        };
        if !offer.has(tool.name) {
            return Err(offer.refusal(&format!("`{}`", tool.name)).into());
        }
        let schema = tool.input_schema();
        let mut arguments = arguments::read(&self.arguments, &schema, &mut System::default())?;
        ask_for_secrets(tool, &schema, &mut arguments)?;
        if self.raw {
            match shape(tool) {
                RawShape::Other => return Err(UsageError::NothingRaw(tool.name)),
                RawShape::Streams => raw_arguments(&schema, &mut arguments)?,
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
        // The exit status of the signal that came; 0 while there was none.
        let interrupted = Arc::new(AtomicU8::new(0));
        let (cancel, asked) = (cancelled.clone(), interrupted.clone());
        let listening = signals::on_end(move |status| {
            asked.store(status, Ordering::Release);
            cancel.cancel();
        });
        if let Err(problem) = listening {
            tracing::warn!("{problem}");
        }
        let context = Context::new(session.clone(), watcher, cancelled.clone());
        let done = tools::dispatch(&Handlers, tool.name, arguments, &context)
            .await
            .map_err(|error| session.explain(error));
        let status = match done {
            Ok(answer) if self.raw => print_raw(shape(tool), &answer, &raw),
            Ok(answer) => match print_json(&answer.structured) {
                0 if answer.is_failure => TOOL_ERROR,
                status => status,
            },
            // It was cancelled because nobody reads, and that is nothing to complain of.
            Err(_) if raw.writing() == WriteState::Closed => CLOSED,
            Err(error) => self.failed(&error, interrupted.load(Ordering::Acquire)),
        };
        let status = match raw.writing() {
            WriteState::Closed => CLOSED,
            WriteState::Failed => FAILED,
            _ => status,
        };
        stay(session, &cancelled).await;
        status
    }

    fn failed(&self, error: &ToolError, interrupted: u8) -> u8 {
        say(error);
        match (self.raw, interrupted) {
            (true, 0) => FAILED,
            (true, status) => status,
            (false, _) => TOOL_ERROR,
        }
    }
}

/// Asks for secrets that are needed and were not given, without showing them; where nobody can be asked, the tool says what
/// is missing.
fn ask_for_secrets(
    tool: &Tool,
    schema: &Value,
    arguments: &mut serde_json::Map<String, Value>,
) -> Result<(), UsageError> {
    if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        return Ok(());
    }
    let required = schema["required"].as_array().into_iter().flatten();
    let names: Vec<&str> = required
        .filter_map(Value::as_str)
        .filter(|name| schema["properties"][*name]["format"] == "password")
        .filter(|name| !arguments.contains_key(*name))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    // Nobody types a secret only to hear that something else is wrong.
    let mut whole = arguments.clone();
    whole.extend(names.iter().map(|name| ((*name).to_owned(), json!("x"))));
    tool.normalise(whole)?;
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

/// Streams are passed on as they come, so the recorded part may be as large as it can be, and the command must
/// be waited for.
fn raw_arguments(
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
    let printed = print(&if terminal {
        format!("{value:#}\n")
    } else {
        format!("{value}\n")
    });
    match printed {
        Ok(()) => 0,
        Err(problem) => {
            say(problem);
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
            say(format_args!("this is a part; go on with {next}"));
        }
        return 0;
    }
    // What was followed live is on the terminal already; what was looked up is printed now.
    if !raw.has_written() {
        raw.output(tools::OutputStream::Stdout, text("stdout").as_bytes());
        raw.output(tools::OutputStream::Stderr, text("stderr").as_bytes());
    }
    if result["truncated"] == true {
        let bytes = |name: &str| {
            result[name]
                .as_u64()
                .map_or_else(|| "all".into(), |bytes| format!("of {bytes} bytes"))
        };
        say(format_args!(
            "the output was cut (standard output: {}, standard error: {})",
            bytes("stdout_bytes"),
            bytes("stderr_bytes")
        ));
    }
    status(result)
}

fn status(result: &Value) -> u8 {
    if result["timed_out"] == true {
        return TIMED_OUT;
    }
    if let Some(signal) = result["signal"].as_u64() {
        return u8::try_from(128 + signal).unwrap_or(FAILED);
    }
    match result["exit_code"].as_i64().filter(|code| *code >= 0) {
        Some(code) => u8::try_from(code).unwrap_or(FAILED),
        None => {
            say(format_args!(
                "the command has no exit status (operation {})",
                result["status"].as_str().unwrap_or("unknown")
            ));
            FAILED
        }
    }
}

/// Stays until what the call left running is over, where it would end with this process.
async fn stay(session: &Arc<Session>, cancelled: &CancellationToken) {
    let left = session.still_running().await;
    if left.is_empty() {
        return;
    }
    let names: Vec<String> = left.iter().map(ToString::to_string).collect();
    say(format_args!(
        "staying until operation {} is over, for the embedded engine runs in this process (Ctrl-C cancels it)",
        names.join(", ")
    ));
    tokio::select! {
        () = session.wait_for_unattended() => {}
        () = cancelled.cancelled() => session.cancel_unattended().await,
    }
}
