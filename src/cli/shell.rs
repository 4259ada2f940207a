//! `contree-mcp shell`: a shell on the terminal of the user, in a new sandbox.

#[cfg(unix)]
mod connection;
#[cfg(unix)]
mod error;
#[cfg(unix)]
mod local_terminal;
#[cfg(unix)]
mod session;
#[cfg(unix)]
mod terminal_modes;

#[cfg(unix)]
pub(super) use connection::{ConnectionEnd, connect, terminal_variables};
#[cfg(unix)]
pub(super) use local_terminal::{restore as restore_terminal, size as terminal_size};
#[cfg(unix)]
pub(super) use session::{SHELL, is_on_terminal, longest_run};

use clap::Args;
use contree_error_codes::ErrorCode;

use super::USAGE;
use super::error::CommandError;
use super::number;
use super::output::{print_error, print_message};
use super::setup::Setup;
use crate::ImageRef;

/// Exit status if this program fails, so that the command has no status.
const FAILED: u8 = 125;

/// Open a shell in a new sandbox, on this terminal
#[derive(Args, Debug)]
#[command(after_help = "\
Keys go to the shell inside: Ctrl-C interrupts its programs and Ctrl-Z stops them. `exit` or Ctrl-D ends it, and the \
sandbox with it. Without --keep, its changes are discarded.

Exit status: that of the shell, 128+N if signal N killed it, 124 if its time limit expired, 125 if this program fails, \
128+N if signal N ended this program.")]
pub(super) struct Shell {
    /// Image to start from: a UUID, or tag:NAME
    #[arg(default_value = "tag:host")]
    image: String,
    /// Command to run instead of a shell, with its arguments
    #[arg(last = true)]
    command: Vec<String>,
    /// Keep the changes as an image, and print its UUID at the end
    #[arg(long)]
    keep: bool,
    /// Directory to start in; default: the one saved in the image, else /
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Variable for the shell; repeatable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Port inside to publish at 127.0.0.1 of this machine; repeatable
    #[arg(long, value_name = "PORT", value_parser = number::port)]
    port: Vec<u16>,
    /// Seconds until the shell is killed; default: the longest time that the backend allows
    #[arg(long, value_name = "SECONDS", value_parser = number::seconds::<u32>)]
    timeout: Option<u32>,
}

/// The command on the terminal, and its sandbox.
#[derive(Debug)]
pub(super) struct ShellOptions {
    pub(super) image: ImageRef,
    /// A program with its arguments. Empty: the shell of the image.
    pub(super) command: Vec<String>,
    pub(super) cwd: Option<String>,
    /// Variables, in addition to those about the terminal.
    pub(super) env: Vec<(String, String)>,
    /// Ports inside to publish.
    pub(super) ports: Vec<u16>,
    /// Seconds until it is killed; `None` for the longest time that the backend allows.
    pub(super) timeout: Option<u32>,
    /// Whether the changes become an image.
    pub(super) keep: bool,
}

impl Shell {
    pub(super) fn run(self, setup: Setup) -> Result<u8, CommandError> {
        let options = match self.options() {
            Ok(options) => options,
            Err(problem) => {
                print_error(problem, ErrorCode::Usage);
                return Ok(USAGE);
            }
        };
        run(&setup, options)
    }

    fn options(self) -> Result<ShellOptions, ArgumentError> {
        let env = self.env.iter().map(|variable| {
            let pair = variable
                .split_once('=')
                .filter(|(name, _)| !name.is_empty());
            let (name, value) = pair.ok_or_else(|| ArgumentError::Variable(variable.clone()))?;
            Ok((name.to_owned(), value.to_owned()))
        });
        Ok(ShellOptions {
            env: env.collect::<Result<_, ArgumentError>>()?,
            image: self.image.parse()?,
            command: self.command,
            cwd: self.cwd,
            ports: self.port,
            timeout: self.timeout,
            keep: self.keep,
        })
    }
}

/// An error in the command line.
#[derive(Debug, thiserror::Error)]
enum ArgumentError {
    #[error("--env takes NAME=VALUE, not `{}`", .0.escape_debug())]
    Variable(String),
    #[error(transparent)]
    Image(#[from] crate::Error),
}

/// Runs a shell on the terminal of this process. Returns its exit status.
///
/// # Errors
/// If the program cannot use its settings.
#[cfg(unix)]
pub(super) fn run(setup: &Setup, options: ShellOptions) -> Result<u8, CommandError> {
    use session::{ShellEnd, run_shell};
    for note in &setup.backend_selection.notes {
        tracing::warn!("{note}");
    }
    let session = setup.session(false)?;
    let runtime = super::process::runtime()?;
    let ended = contree_tasks::block_on(&runtime, async {
        let client = session.client().await;
        let client = client.map_err(|error| {
            let error = session.explain(error);
            (error.to_string(), error.code())
        })?;
        run_shell(client, options)
            .await
            .map_err(|error| (error.to_string(), error.code()))
    });
    super::serve::close(session, runtime);
    Ok(match ended {
        Ok(ShellEnd { status, image }) => {
            if let Some(image) = image {
                print_message(format_args!("the changes are the image {image}"));
            }
            status
        }
        Err((problem, code)) => {
            print_error(problem, code);
            FAILED
        }
    })
}

/// Reports that this system has no terminals.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub(super) fn run(_setup: &Setup, _options: ShellOptions) -> Result<u8, CommandError> {
    print_message(
        "a shell needs the terminal of a unix system; run commands with `call --raw run`",
    );
    Ok(FAILED)
}
