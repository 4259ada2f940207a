//! The verbs of the program `contree`: one file for each, or for a few that belong together.
//!
//! A new verb is one file, a line in [`Verb`] and one in [`Verb::run`].

#[cfg(unix)]
mod apply;
mod attachment;
mod auth;
mod build;
mod complete;
mod completions;
mod context;
mod detached;
mod error;
mod exec;
mod existing_directories;
mod exit_status;
mod files;
mod history;
mod http;
mod image_name;
mod images;
mod import;
mod input;
mod last_run;
mod local_image;
mod log_tail;
mod login;
mod logs;
mod man_pages;
mod operations;
mod process_options;
mod profile_file;
mod progress;
mod ps;
mod publish;
mod push;
mod registry;
mod rows;
mod run;
mod save;
mod sent_files;
mod session;
mod session_state;
mod settings;
mod snapshot;
mod tags;
mod tree;
mod use_image;

use clap::Subcommand;

use super::USAGE;
use super::error::CommandError;
use super::output::print_error;
use super::setup::Setup;
pub(super) use completions::COMPLETE_VARIABLE;
use context::{run_command_verb, run_verb};
pub(super) use error::VerbError;
pub(super) use exit_status::CLOSED;
pub(super) use image_name::nearest;
pub(super) use rows::VerbOptions;

#[cfg(all(feature = "engine", target_os = "linux"))]
const DF_EXAMPLES: &str = "\
Examples:
  contree df             the sizes of all parts, and the space that `contree prune` would free
  contree df --images    each image with its size";

#[cfg(all(feature = "engine", target_os = "linux"))]
const PRUNE_EXAMPLES: &str = "\
Examples:
  contree prune -n                    what would be removed
  contree prune --older-than 7d -f    without a question

It keeps images with a tag and the images below them, everything that running operations use, and
everything younger than a minute. A session keeps no image: give it a tag with `contree tag`.
`contree rmi` deletes one image.";

#[cfg(all(feature = "engine", target_os = "linux"))]
const SERVE_EXAMPLES: &str = "\
Examples:
  contree serve                                for clients of this machine
  contree serve --listen unix:/tmp/c.sock      then CONTREE_URL=unix:/tmp/c.sock

Beyond loopback, --token-file is required. Put a TLS proxy in front: this server does not encrypt.";

/// The verbs.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    Run(Box<run::Run>),
    Shell(Box<run::Shell>),
    Exec(Box<exec::Exec>),
    Use(use_image::Use),
    Build(build::Build),
    Ps(ps::Ps),
    Logs(logs::Logs),
    Show(operations::Show),
    Wait(operations::Wait),
    Kill(operations::Kill),
    Publish(publish::Publish),
    Snapshot(snapshot::Snapshot),
    Images(images::Images),
    Tag(tags::Tag),
    Untag(tags::Untag),
    Rmi(tags::Rmi),
    Log(history::Log),
    Diff(history::Diff),
    #[cfg(unix)]
    Apply(apply::Apply),
    Push(push::Push),
    Save(save::Save),
    Ls(files::Ls),
    Cat(files::Cat),
    Grep(files::Grep),
    Cp(files::Cp),
    Export(files::Export),
    Session(session::Session),
    Cd(settings::Cd),
    Env(settings::Env),
    #[cfg(all(feature = "engine", target_os = "linux"))]
    #[command(after_help = DF_EXAMPLES)]
    Df(super::engine::Df),
    #[cfg(all(feature = "engine", target_os = "linux"))]
    #[command(after_help = PRUNE_EXAMPLES)]
    Prune(super::engine::Prune),
    #[cfg(all(feature = "engine", target_os = "linux"))]
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(super::engine::Serve),
    Http(http::HttpServer),
    Login(login::Login),
    Auth(auth::Auth),
    Completions(completions::Completions),
    #[command(hide = true)]
    ManPages(man_pages::ManPages),
}

impl Verb {
    /// Whether a person waits for the command. A server is for whoever connects.
    pub(super) fn is_for_a_person(&self) -> bool {
        match self {
            #[cfg(all(feature = "engine", target_os = "linux"))]
            Self::Serve(_) => false,
            Self::Http(_) => false,
            _ => true,
        }
    }

    /// Runs the verb. `command` describes the command line of the program.
    pub(super) fn run(
        self,
        mut setup: Setup,
        options: VerbOptions,
        command: impl FnOnce() -> clap::Command,
    ) -> Result<u8, CommandError> {
        /// A verb that needs the backend.
        macro_rules! with_backend {
            ($verb:expr) => {
                run_verb(&setup, &options, async |cx| $verb.run(cx).await)
            };
        }
        match self {
            Self::Run(run) => run.run(&setup, options),
            Self::Shell(shell) => shell.run(&setup, &options),
            Self::Exec(verb) => run_command_verb(&setup, &options, async |cx| verb.run(cx).await),
            Self::Use(verb) => with_backend!(verb),
            Self::Build(verb) => with_backend!(verb),
            Self::Ps(verb) => with_backend!(verb),
            Self::Logs(verb) => with_backend!(verb),
            Self::Show(verb) => with_backend!(verb),
            Self::Wait(verb) => with_backend!(verb),
            Self::Kill(verb) => with_backend!(verb),
            Self::Publish(verb) => with_backend!(verb),
            Self::Snapshot(verb) => with_backend!(verb),
            Self::Images(verb) => with_backend!(verb),
            Self::Tag(verb) => with_backend!(verb),
            Self::Untag(verb) => with_backend!(verb),
            Self::Rmi(verb) => with_backend!(verb),
            Self::Log(verb) => with_backend!(verb),
            Self::Diff(verb) => with_backend!(verb),
            #[cfg(unix)]
            Self::Apply(verb) => with_backend!(verb),
            Self::Push(verb) => with_backend!(verb),
            Self::Save(verb) => with_backend!(verb),
            Self::Ls(verb) => with_backend!(verb),
            Self::Cat(verb) => with_backend!(verb),
            Self::Grep(verb) => with_backend!(verb),
            Self::Cp(verb) => with_backend!(verb),
            Self::Export(verb) => with_backend!(verb),
            Self::Session(verb) => with_backend!(verb),
            Self::Cd(verb) => with_backend!(verb),
            Self::Env(verb) => with_backend!(verb),
            #[cfg(all(feature = "engine", target_os = "linux"))]
            Self::Df(df) => df.run(&setup),
            #[cfg(all(feature = "engine", target_os = "linux"))]
            Self::Prune(prune) => prune.run(&setup),
            #[cfg(all(feature = "engine", target_os = "linux"))]
            Self::Serve(serve) => serve.run(setup),
            Self::Http(_) => {
                setup.options.http.select_http();
                super::serve::serve(setup)
            }
            Self::Login(login) => login.run(&setup, &options),
            Self::Auth(auth) => auth.run(&setup, &options),
            Self::Completions(completions) => without_backend(completions.run()),
            Self::ManPages(pages) => without_backend(pages.run(command())),
        }
    }
}

/// The exit status of a verb that needs no backend.
fn without_backend(done: Result<u8, VerbError>) -> Result<u8, CommandError> {
    match done {
        Err(error @ VerbError::Usage(_)) => {
            print_error(&error, error.code());
            Ok(USAGE)
        }
        done => Ok(done?),
    }
}
