//! `contree shell`: a shell on the image of the session.

use clap::Args;

use super::super::complete::{self, Known};
use super::super::process_options::SandboxOptions;
use super::super::rows::VerbOptions;
use super::options::RunOptions;
use super::request::Request;
use crate::cli::error::CommandError;
use crate::cli::setup::Setup;

const TIMEOUT_HELP: &str =
    "Seconds until the shell is stopped; default: as long as the backend allows";

/// Open a shell on the session's image and keep what it changed
#[derive(Args, Debug)]
#[command(
    visible_alias = "sh",
    after_help = "\
Examples:
  contree shell                       on the image of the session; the changes become its image
  contree shell python:3.12 -D        on another image; its changes are dropped
  contree shell -- python3 -q         another program on the terminal

Keys go to the programs inside: Ctrl-C interrupts them, Ctrl-Z stops them, and `exit` or Ctrl-D ends
the shell. Without a terminal, the shell reads standard input. Exit status: see `contree run --help`.",
    mut_arg("timeout", |timeout| timeout.help(TIMEOUT_HELP)),
    mut_arg("file", |file| file.help("Place a local file or directory"))
)]
pub(in crate::cli) struct Shell {
    /// Image: a tag, a UUID or the beginning of one, @N; default: that of the session
    #[arg(add = complete::values(Known::Images))]
    image: Option<String>,
    /// Program to run instead of a shell, with its arguments
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
    /// Drop the changes
    #[arg(short = 'D', long, visible_alias = "rm")]
    disposable: bool,
    #[command(flatten)]
    sandbox: SandboxOptions,
    /// Publish a TCP port of the sandbox at 127.0.0.1
    #[arg(
        long,
        id = "publish",
        visible_alias = "port",
        value_name = "[HOST:]PORT"
    )]
    publish: Vec<String>,
    /// Do not print the kept image
    #[arg(short, long)]
    quiet: bool,
    /// Accepted for the command line of `contree-mcp shell`; changes are kept anyway
    #[arg(long, hide = true, conflicts_with = "disposable")]
    keep: bool,
}

impl Shell {
    pub(in crate::cli::verbs) fn run(
        self,
        setup: &Setup,
        options: &VerbOptions,
    ) -> Result<u8, CommandError> {
        let run = RunOptions {
            disposable: self.disposable,
            sandbox: self.sandbox,
            publish: self.publish,
            quiet: self.quiet,
            interactive: true,
            ..RunOptions::default()
        };
        let request = Request::new(run, self.image, self.command);
        super::run(setup, options, request)
    }
}
