//! `contree run`: runs a command on the image of the session.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser};
use contree_error_codes::ErrorCode;
use uuid::Uuid;

use super::attachment::Attachment;
use super::complete::{self, Known};
use super::context::{VerbContext, message};
use super::detached;
use super::error::VerbError;
use super::image_name::short;
use super::input::{self, InputKind};
use super::rows::{VerbOptions, print_record};
use super::session_state::{Change, SessionState, join};
use crate::cli::output::{RawOutput, WriteState, print_error, print_message};
use crate::events::Payload;
use crate::tools::{OutputStream, Watcher};
use crate::{Changes, Command, OperationStatus, Outcome, Running};

/// The time limit unless the user gives one, in seconds.
const TIMEOUT: u64 = 120;
/// Bytes of each stream that the backend records: the maximum of the API.
const RECORDED_BYTES: u64 = 10 * 1024 * 1024;
/// How long to wait for the end of a cancelled run.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);
/// Exit status if the command's time limit expired, as of `timeout(1)`.
const TIMED_OUT: u8 = 124;
/// Exit status if the command could not run.
const FAILED: u8 = 125;
/// Exit status if the reader closed standard output, as of a program ended by SIGPIPE.
const CLOSED: u8 = 141;

/// Run a command on the session's image and keep what it changed
#[derive(Args, Debug)]
#[command(
    visible_alias = "r",
    override_usage = "contree run [OPTIONS] [IMAGE] -- CMD…\n       contree run [OPTIONS] -s 'TEXT'",
    after_help = "\
Examples:
  contree run -- uname -a                 the changes become the session's image
  contree run -D -s 'make test | tail'    a shell command; its changes are dropped

Without `--`, the first word is the command. Exit status: that of the command, 124 after a time-out,
125 if it could not run, 128+N after signal N. `contree --help` lists the options of every verb."
)]
pub(in crate::cli) struct Run {
    #[command(flatten)]
    options: RunOptions,
    /// Image: a tag, a UUID or the beginning of one, @N of the session; default: that of the
    /// session
    #[arg(value_name = "IMAGE", num_args = 0.., allow_hyphen_values = true, add = complete::values(Known::Images))]
    words: Vec<String>,
    #[arg(last = true, value_name = "CMD", hide = true)]
    command: Vec<String>,
}

/// The options of a run.
#[derive(Args, Debug, Clone, Default)]
struct RunOptions {
    /// Drop the changes
    #[arg(short = 'D', long)]
    disposable: bool,
    /// Run TEXT with the image's shell
    #[arg(short, long)]
    shell: bool,
    /// Set a variable; without `=V`, it has the value that it has here
    #[arg(short, long, value_name = "K=V")]
    env: Vec<String>,
    /// Directory to run in; default: that of the session
    #[arg(short = 'C', long, value_name = "DIR")]
    cwd: Option<String>,
    /// Seconds until the command is stopped; default: 120
    #[arg(short, long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// Place a local file or directory
    #[arg(short = 'F', long, value_name = "SRC[:DST][:uUID][:gGID][:mMODE]")]
    file: Vec<String>,
    /// Leave out names of attached directories
    #[arg(long, value_name = "PATTERN")]
    file_excludes: Vec<String>,
    /// Start it and print its operation
    #[arg(short, long, visible_alias = "no-wait")]
    detach: bool,
    /// Host name in the sandbox
    #[arg(short = 'H', long, value_name = "NAME")]
    hostname: Option<String>,
    /// Bytes of each output stream to pass on and record
    #[arg(short = 'T', long, value_name = "BYTES")]
    truncate: Option<u64>,
    /// Keep the variables of the command in the image
    #[arg(long)]
    preserve_env: bool,
    /// Read a script's file and run it with the image's /bin/sh: for `#!/usr/bin/env -S contree run
    /// -I`
    #[arg(short = 'I', long)]
    interpreter: bool,
    /// Use this image from now on; the same as `contree use IMAGE` before
    #[arg(long = "use", value_name = "IMAGE", add = complete::values(Known::Images))]
    use_image: Option<String>,
    /// Do not name the kept image
    #[arg(short, long)]
    quiet: bool,
}

/// The options between an image and `--`.
#[derive(Parser)]
#[command(no_binary_name = true, name = "contree run")]
struct LaterOptions {
    #[command(flatten)]
    run: RunOptions,
    #[command(flatten)]
    verb: VerbOptions,
    /// Variables, as in an example of the official command line.
    words: Vec<String>,
}

/// The parts of the command line.
#[derive(Debug)]
struct Request {
    options: RunOptions,
    image: Option<String>,
    command: Vec<String>,
}

impl Run {
    /// Splits the words into image, options and command.
    fn request(&self, verb_options: &mut VerbOptions) -> Result<Request, VerbError> {
        let mut options = self.options.clone();
        let (head, command) = match self.words.iter().position(|word| word == "--") {
            Some(at) => (&self.words[..at], &self.words[at + 1..]),
            None if self.command.is_empty() => (&self.words[..0], &self.words[..]),
            None => (&self.words[..], &self.command[..]),
        };
        let mut image = None;
        let mut rest = head;
        if let [first, others @ ..] = head
            && !is_variable(first)
        {
            image = Some(first.clone());
            rest = others;
        }
        if !rest.is_empty() {
            let later = LaterOptions::command().try_get_matches_from(rest);
            let later = later.and_then(|matches| LaterOptions::from_arg_matches(&matches));
            let later = later.map_err(|error| VerbError::Usage(error.to_string()))?;
            options.add(later.run);
            verb_options.add(later.verb);
            for word in later.words {
                if !is_variable(&word) {
                    return Err(VerbError::Usage(format!(
                        "`{word}` before `--` is neither the image nor an option; `contree run [IMAGE] -- CMD` has at most one image"
                    )));
                }
                options.env.push(word);
            }
        }
        if command.is_empty() {
            return Err(VerbError::Usage(match (&image, head) {
                (Some(image), _) => format!(
                    "there is no command: give one after `--`, as in `contree run {image} -- uname -a`; `contree use {image}` only selects the image"
                ),
                _ => "there is no command: give one after `--`, as in `contree run -- uname -a`"
                    .to_owned(),
            }));
        }
        Ok(Request {
            options,
            image,
            command: command.to_vec(),
        })
    }

    pub(super) fn run(
        self,
        setup: &crate::cli::setup::Setup,
        mut verb_options: VerbOptions,
    ) -> Result<u8, crate::cli::error::CommandError> {
        let request = match self.request(&mut verb_options) {
            Ok(request) => request,
            Err(error) => {
                print_error(&error, error.code());
                return Ok(crate::cli::USAGE);
            }
        };
        let is_local = matches!(
            setup.backend_selection.backend,
            Ok(crate::config::SelectedBackend::Local)
        );
        if request.options.detach && is_local && !detached::is_child() {
            return Ok(detached::start().unwrap_or_else(|error| {
                print_error(&error, error.code());
                FAILED
            }));
        }
        super::context::run_verb(setup, &verb_options, async |cx: &VerbContext| match start(
            cx, request,
        )
        .await
        {
            Ok(status) => Ok(status),
            Err(error @ VerbError::Usage(_)) => Err(error),
            Err(error) => {
                let code = error.code();
                print_error(message(&cx.tools, error), code);
                Ok(FAILED)
            }
        })
    }
}

/// Whether a word sets a variable.
fn is_variable(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

impl RunOptions {
    /// Adds later options, which replace earlier ones.
    fn add(&mut self, later: Self) {
        self.disposable |= later.disposable;
        self.shell |= later.shell;
        self.env.extend(later.env);
        self.cwd = later.cwd.or(self.cwd.take());
        self.timeout = later.timeout.or(self.timeout);
        self.file.extend(later.file);
        self.file_excludes.extend(later.file_excludes);
        self.detach |= later.detach;
        self.hostname = later.hostname.or(self.hostname.take());
        self.truncate = later.truncate.or(self.truncate);
        self.preserve_env |= later.preserve_env;
        self.interpreter |= later.interpreter;
        self.use_image = later.use_image.or(self.use_image.take());
        self.quiet |= later.quiet;
    }

    /// The variables of the command.
    fn variables(&self) -> Result<Vec<(String, String)>, VerbError> {
        let mut variables = Vec::with_capacity(self.env.len());
        for text in &self.env {
            let pair = match text.split_once('=') {
                Some((name, value)) if !name.is_empty() => (name.to_owned(), value.to_owned()),
                Some(_) => {
                    return Err(VerbError::Usage(format!("`{text}` has no name before `=`")));
                }
                None => match std::env::var(text) {
                    Ok(value) => (text.clone(), value),
                    Err(_) => {
                        return Err(VerbError::Usage(format!(
                            "the variable `{text}` is not set here; give {text}=VALUE"
                        )));
                    }
                },
            };
            variables.push(pair);
        }
        Ok(variables)
    }
}

/// Runs the command of a request.
async fn start(cx: &VerbContext, request: Request) -> Result<u8, VerbError> {
    let Request {
        mut options,
        image,
        command,
    } = request;
    let attachments = options.file.iter().map(|text| Attachment::parse(text));
    let attachments: Vec<Attachment> = attachments.collect::<Result<_, _>>()?;
    let variables = options.variables()?;
    if let Some(name) = options.use_image.take() {
        super::use_image::select(cx, &name).await?;
    }
    let state = match &image {
        // An image of one run: the session continues from its result.
        Some(name) => {
            let mut state = cx.state().await?;
            state.image = Some(cx.image(name).await?);
            state
        }
        None => cx.state_with_image().await?,
    };
    let title = if options.shell {
        command.join(" ")
    } else {
        shell_words(&command)
    };
    let base = cx.client.image(cx.current_image(&state).await?);
    let mut built = match (&command[..], options.interpreter) {
        ([script, arguments @ ..], true) => {
            let body = tokio::fs::read(script)
                .await
                .map_err(VerbError::file(script))?;
            let arguments = arguments.iter().map(String::as_str);
            base.command("/bin/sh")
                .args(["-s", "--"].into_iter().chain(arguments))
                .stdin(without_shebang(body))
        }
        ([text], false) if options.shell => base.shell(text),
        (words, false) if options.shell => base.shell(shell_words(words)),
        ([program, arguments @ ..], false) => base.exec(program, arguments),
        ([], _) => return Err(VerbError::Usage("there is no command".to_owned())),
    };
    for (name, value) in state
        .env
        .iter()
        .chain(variables.iter().map(|(name, value)| (name, value)))
    {
        built = built.env(name, value);
    }
    if let Some(directory) = directory(&state, options.cwd.as_deref()) {
        built = built.cwd(directory);
    }
    if let Some(name) = &options.hostname {
        built = built.hostname(name);
    }
    if options.preserve_env {
        built = built.keep_env();
    }
    let timeout = options.timeout.unwrap_or(TIMEOUT);
    built = built
        .timeout(Duration::from_secs(timeout))
        .truncate_output_at(
            options
                .truncate
                .unwrap_or(RECORDED_BYTES)
                .min(RECORDED_BYTES),
        );
    for attachment in &attachments {
        built = attachment.place(cx, built, &options.file_excludes).await?;
    }
    let is_forwarded =
        !options.interpreter && !options.detach && InputKind::of_process() == InputKind::Forwarded;
    if is_forwarded {
        built = built.stdin_open();
    }
    let run = StartedRun {
        cx,
        state,
        options: &options,
        title,
        timeout,
        is_forwarded,
    };
    if options.disposable {
        run.follow(built.discard()).await
    } else {
        run.follow(built).await
    }
}

/// The directory of a command.
fn directory(state: &SessionState, given: Option<&str>) -> Option<String> {
    match given {
        // An empty one is that of the image, as for the official command line.
        Some("") => None,
        Some(path) => Some(join(state.cwd.as_deref(), path)),
        None => state.cwd.clone(),
    }
}

/// Words as a shell reads them.
fn shell_words(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let is_plain = !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"@%_-+=:,./".contains(&byte));
        match is_plain {
            true => word.clone(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// A script without its first line if that names its interpreter.
fn without_shebang(body: Vec<u8>) -> Vec<u8> {
    if !body.starts_with(b"#!") {
        return body;
    }
    let end = body.iter().position(|byte| *byte == b'\n');
    end.map_or_else(Vec::new, |end| body[end + 1..].to_vec())
}

/// A run and what happens with its result.
struct StartedRun<'a> {
    cx: &'a VerbContext,
    state: SessionState,
    options: &'a RunOptions,
    title: String,
    timeout: u64,
    is_forwarded: bool,
}

impl StartedRun<'_> {
    async fn follow<C: Changes>(self, command: Command<C>) -> Result<u8, VerbError> {
        let cx = self.cx;
        let run = cx.unless_interrupted(command.spawn()).await?;
        let id = run.id();
        if self.options.detach {
            detached::announce(id)?;
            if !detached::is_child() {
                run.detach();
                return Ok(0);
            }
        }
        if self.is_forwarded {
            tokio::spawn(input::forward(run.stdin()));
        }
        let raw = Arc::new(RawOutput::new(cx.cancelled.clone()));
        let shown = !cx.format.is_json() && !self.options.detach;
        let followed = cx.client.outcome(id, |event| {
            if event.spid != 1 || !shown {
                return;
            }
            match &event.payload {
                Payload::Stdout(chunk) => raw.output(OutputStream::Stdout, &chunk.bytes),
                Payload::Stderr(chunk) => raw.output(OutputStream::Stderr, &chunk.bytes),
                _ => {}
            }
        });
        let outcome = tokio::select! {
            biased;
            outcome = followed => outcome?,
            status = cx.interrupted() => return Ok(cancel(run, &raw, status).await),
        };
        run.detach();
        raw.finish();
        // A service without events has the output only in its record.
        if shown && !raw.has_written() {
            raw.output(OutputStream::Stdout, &outcome.stdout.bytes);
            raw.output(OutputStream::Stderr, &outcome.stderr.bytes);
            raw.finish();
        }
        let status = self.end(&outcome).await?;
        Ok(match raw.write_state() {
            WriteState::Closed => CLOSED,
            WriteState::Failed => FAILED,
            WriteState::Complete => status,
        })
    }

    /// Records the result in the session, names the kept image, and returns the exit status.
    async fn end(mut self, outcome: &Outcome) -> Result<u8, VerbError> {
        let cx = self.cx;
        let before = self.state.image;
        let status = exit_status(outcome);
        let mut entry = None;
        if let Some(image) = outcome.result_image.filter(|_| !self.options.disposable) {
            self.state.image = Some(image);
            let change = Change {
                kind: "run",
                title: self.title.clone(),
                operation: Some(outcome.operation),
            };
            let appended = cx.record(&self.state, change).await?;
            entry = Some(appended.id);
            let is_quiet = self.options.quiet || self.options.detach;
            if before != Some(image) && !is_quiet {
                print_message(kept(&image, appended, status));
            } else if !appended.is_tip && !is_quiet {
                print_message(moved(appended.id));
            }
        }
        if cx.format.is_json() {
            print_record(cx.format, &RunRecord::new(outcome, entry))?;
        }
        if outcome.status != OperationStatus::Success {
            let reason = outcome.error.as_deref().unwrap_or(match outcome.status {
                OperationStatus::Cancelled => "it was cancelled",
                _ => "the backend gave no reason",
            });
            print_error(
                format_args!("the command did not run to its end: {reason}"),
                outcome.error_code.unwrap_or(ErrorCode::OperationFailed),
            );
        } else if outcome.timed_out {
            print_error(
                format_args!(
                    "stopped after {} s; -t SECS gives it more time",
                    self.timeout
                ),
                ErrorCode::CommandTimedOut,
            );
        }
        if outcome.stdout.truncated || outcome.stderr.truncated {
            print_message("the output is incomplete: its end was not recorded");
        }
        Ok(status)
    }
}

/// Cancels a run after a signal.
async fn cancel<C: Changes>(run: Running<C>, raw: &RawOutput, signal: u8) -> u8 {
    raw.finish();
    match tokio::time::timeout(CANCEL_TIMEOUT, run.cancel()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => print_message(format_args!("the run could not be cancelled: {error}")),
        Err(_) => print_message("the run is being cancelled, and has not ended yet"),
    }
    match (raw.write_state(), signal) {
        (WriteState::Closed, _) | (_, 0) => CLOSED,
        (_, status) => status,
    }
}

fn kept(image: &Uuid, appended: crate::store::sessions::Appended, status: u8) -> String {
    let mut text = format!("kept {} as @{}", short(image), appended.id);
    if !appended.is_tip {
        text = format!("{text}; {}", moved(appended.id));
    } else if status != 0 {
        text.push_str(", although the command failed; `contree session rollback` goes back");
    }
    text
}

fn moved(id: i64) -> String {
    format!(
        "another command moved the session meanwhile, so it stays where that left it; `contree use @{id}` continues from this result"
    )
}

/// The exit status of the command, or of its failure.
pub(super) fn exit_status(outcome: &Outcome) -> u8 {
    if outcome.timed_out {
        return TIMED_OUT;
    }
    if let Some(signal) = outcome.signal.filter(|signal| *signal > 0) {
        return u8::try_from(128 + signal).unwrap_or(FAILED);
    }
    outcome
        .exit_code
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(FAILED)
}

/// The result of a run as JSON.
#[derive(serde::Serialize)]
struct RunRecord<'a> {
    uuid: Uuid,
    status: &'a str,
    exit_code: Option<i64>,
    signal: Option<i64>,
    timed_out: bool,
    duration: f64,
    result_image_uuid: Option<Uuid>,
    /// The entry of the session.
    entry: Option<i64>,
    stdout: String,
    stderr: String,
    truncated: bool,
    error: Option<&'a str>,
}

impl<'a> RunRecord<'a> {
    fn new(outcome: &'a Outcome, entry: Option<i64>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            uuid: outcome.operation,
            status: outcome.status.as_str(),
            exit_code: outcome.exit_code,
            signal: outcome.signal,
            timed_out: outcome.timed_out,
            duration: outcome.duration.as_secs_f64(),
            result_image_uuid: outcome.result_image,
            entry,
            stdout: text(&outcome.stdout.bytes),
            stderr: text(&outcome.stderr.bytes),
            truncated: outcome.stdout.truncated || outcome.stderr.truncated,
            error: outcome.error.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(flatten)]
        run: Run,
    }

    fn request(words: &[&str]) -> Result<Request, VerbError> {
        let line = Line::try_parse_from(words).unwrap();
        line.run.request(&mut VerbOptions::default())
    }

    #[test]
    fn image_options_and_command_are_told_apart() {
        for (words, image, command, disposable) in [
            (
                &["--", "uname", "-a"][..],
                None,
                &["uname", "-a"][..],
                false,
            ),
            (&["uname", "-a"], None, &["uname", "-a"], false),
            (&["-D", "ls", "-D"], None, &["ls", "-D"], true),
            (&["host", "--", "ls"], Some("host"), &["ls"], false),
            (&["-D", "host", "--", "ls"], Some("host"), &["ls"], true),
            (
                &["host", "-D", "--", "ls", "-l"],
                Some("host"),
                &["ls", "-l"],
                true,
            ),
            (
                &["--", "grep", "--", "x"],
                None,
                &["grep", "--", "x"],
                false,
            ),
            (&["-s", "a | b"], None, &["a | b"], false),
        ] {
            let request = request(words).unwrap();
            assert_eq!(request.image.as_deref(), image, "{words:?}");
            assert_eq!(request.command, command, "{words:?}");
            assert_eq!(request.options.disposable, disposable, "{words:?}");
        }
        let variables = request(&["-e", "FOO=bar", "DEBUG=1", "--", "./app"]).unwrap();
        assert_eq!(variables.options.env, ["FOO=bar", "DEBUG=1"]);
        assert_eq!(
            (variables.image, variables.command),
            (None, vec!["./app".to_owned()])
        );
    }

    #[test]
    fn a_command_line_without_a_command_is_refused() {
        for words in [
            &[][..],
            &["host", "--"],
            &["a", "b", "--", "ls"],
            &["host", "-x", "--", "ls"],
        ] {
            let error = request(words).unwrap_err();
            assert!(matches!(error, VerbError::Usage(_)), "{words:?}: {error}");
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        let words = ["echo", "a b", "it's", ""].map(str::to_owned);
        assert_eq!(shell_words(&words), r"echo 'a b' 'it'\''s' ''");
        assert_eq!(without_shebang(b"#!/bin/sh\necho\n".to_vec()), b"echo\n");
        assert_eq!(without_shebang(b"echo".to_vec()), b"echo");
    }
}
