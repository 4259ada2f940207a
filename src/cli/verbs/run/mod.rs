//! `contree run`: runs a command on the image of the session.

mod command;
mod follow;
mod limits;
mod options;
mod ports;
mod record;
mod request;
mod shell;
mod terminal;

use clap::Args;

use super::complete::{self, Known};
use super::context::{VerbContext, run_command_verb};
use super::detached;
use super::error::VerbError;
use super::exit_status::FAILED;
use super::input::InputKind;
use super::rows::VerbOptions;
use super::sent_files::SentFiles;
use crate::cli::error::CommandError;
use crate::cli::output::{print_error, print_message};
use crate::cli::setup::Setup;
pub(super) use command::{RECORDED_BYTES, shell_words};
use follow::{RunStreams, StartedRun};
pub(super) use follow::{status_of, written_status};
use options::RunOptions;
use request::Request;
pub(super) use shell::Shell;
pub(super) use terminal::{
    ConnectionEnd, connect, is_on_terminal, terminal_size, terminal_variables,
};

/// The time limit unless the user gives one, in seconds.
const TIMEOUT: u64 = 120;

/// Run a command on the session's image and keep what it changed
#[derive(Args, Debug)]
#[command(
    visible_alias = "r",
    override_usage = "contree run [OPTIONS] [IMAGE] -- CMD…\n       contree run [OPTIONS] [IMAGE] -s 'TEXT'",
    after_help = "\
Examples:
  contree run -- uname -a                  the changes become the session's image
  contree run -D -s 'make test | tail'     a shell command; its changes are dropped
  contree run -F .:/src -C /src -- make    on a copy of this directory; `contree apply` brings
                                           the changes home

Standard input goes to the command; in a loop of a shell, `< /dev/null` keeps the rest. Without `--`, the first word is the command. Exit status: that of the command, 124 after a time-out,
125 if it could not run, 128+N after signal N. `contree --help` lists the options of every verb."
)]
pub(in crate::cli) struct Run {
    #[command(flatten)]
    options: RunOptions,
    /// Image: a tag, a UUID or the beginning of one, @N; default: that of the session
    #[arg(value_name = "IMAGE", num_args = 0.., allow_hyphen_values = true, add = complete::values(Known::Images))]
    words: Vec<String>,
    #[arg(last = true, value_name = "CMD", hide = true)]
    command: Vec<String>,
}

impl Run {
    pub(super) fn run(
        self,
        setup: &Setup,
        mut verb_options: VerbOptions,
    ) -> Result<u8, CommandError> {
        let request = check_profile(setup).and_then(|()| {
            Request::read(self.options, &self.words, &self.command, &mut verb_options)
        });
        match request {
            Ok(request) => run(setup, &verb_options, request),
            Err(error) => {
                print_error(&error, error.code());
                Ok(crate::cli::USAGE)
            }
        }
    }
}

/// Refuses `-p 8000`, which elsewhere publishes a port, and here chooses a profile.
fn check_profile(setup: &Setup) -> Result<(), VerbError> {
    let Some(name) = setup.options.flags().profile else {
        return Ok(());
    };
    let is_port = name.split(':').all(|part| part.parse::<u16>().is_ok());
    if is_port && !setup.files.profiles.contains_key(&name) {
        return Err(VerbError::Usage(format!(
            "-p chooses a profile; --publish {name} publishes a port"
        )));
    }
    Ok(())
}

/// Runs the command of a request, and returns the exit status.
fn run(setup: &Setup, options: &VerbOptions, request: Request) -> Result<u8, CommandError> {
    let is_local = matches!(
        setup.backend_selection.backend,
        Ok(crate::config::SelectedBackend::Local)
    );
    if request.options.detach && is_local && !detached::is_child() {
        return Ok(detached::start(options.format()).unwrap_or_else(|error| {
            print_error(&error, error.code());
            FAILED
        }));
    }
    run_command_verb(setup, options, async |cx: &VerbContext| {
        match start(cx, request).await {
            Ok(status) => Ok(status),
            Err(error) => cx.could_not_run(error).await,
        }
    })
}

async fn start(cx: &VerbContext, request: Request) -> Result<u8, VerbError> {
    let request = request.resolve(cx).await?;
    let Request {
        mut options,
        image,
        command: words,
        ..
    } = request;
    let attachments = command::attachments(&options)?;
    let ports = options.ports()?;
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
    let streams = streams(cx, &options).await?;
    let current = cx.current_image(&state).await?;
    let base = cx.client.image(current);
    let mut built = command::build(cx, &base, &state, &options, &words).await?;
    let mut timeout = options.sandbox.timeout.unwrap_or(TIMEOUT);
    match streams {
        RunStreams::Output => {}
        RunStreams::Both => built = built.stdin_open(),
        RunStreams::Terminal(columns, rows) => {
            let variables = options.sandbox.process.variables()?;
            for (name, value) in terminal_variables() {
                if !state.env.contains_key(name) && variables.iter().all(|(own, _)| own != name) {
                    built = built.env(name, value);
                }
            }
            built = built.terminal(columns, rows).stdin_open();
            if options.sandbox.timeout.is_none() {
                let longest = terminal::longest_run(&cx.client).await?;
                timeout = longest
                    .and_then(|longest| longest.try_into().ok())
                    .unwrap_or(timeout);
            }
        }
    }
    built = command::with_timeout(built, timeout);
    built = ports::request(built, &ports);
    let mut sent = SentFiles::default();
    for attachment in &attachments {
        let excludes = &options.file_excludes;
        built = attachment
            .place(cx, current, built, excludes, &mut sent)
            .await?;
    }
    built = sent.remove_gone(cx, current, built, !options.quiet).await?;
    let run = StartedRun {
        cx,
        state,
        options: &options,
        title: command::title(&options, &words),
        timeout,
        streams,
        ports,
        sent,
    };
    let status = if options.disposable {
        run.follow(built.discard()).await?
    } else {
        run.follow(built).await?
    };
    if status == FAILED && image.is_none() {
        hint_at_image(cx, &words).await;
    }
    Ok(status)
}

/// The connection of the command to the streams of this process.
async fn streams(cx: &VerbContext, options: &RunOptions) -> Result<RunStreams, VerbError> {
    if options.detach || options.interpreter {
        return Ok(RunStreams::Output);
    }
    if options.interactive && is_on_terminal() && cx.client.has_extension("terminal").await? {
        let (columns, rows) = terminal_size();
        return Ok(RunStreams::Terminal(columns, rows));
    }
    let is_forwarded = InputKind::of_process() == InputKind::Forwarded;
    Ok(match options.interactive || is_forwarded {
        true => RunStreams::Both,
        false => RunStreams::Output,
    })
}

/// Suggests `IMAGE --` if the first word of a command that could not run is an image.
async fn hint_at_image(cx: &VerbContext, words: &[String]) {
    if let [first, rest @ ..] = words
        && cx.image(first).await.is_ok()
    {
        let command = match rest {
            [] => "uname -a".to_owned(),
            rest => shell_words(rest),
        };
        print_message(format_args!(
            "`{first}` is an image: `contree run {first} -- {command}` runs a command on it"
        ));
    }
}
