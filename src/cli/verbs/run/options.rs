//! The options of `contree run` and `contree shell`.

use clap::{Args, Parser};

use super::super::complete::{self, Known};
use super::super::error::VerbError;
use super::super::rows::VerbOptions;
use super::limits::RunLimits;
use super::ports::PortOption;
use crate::cli::number;

/// The options of a run.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct RunOptions {
    /// Drop the changes
    #[arg(short = 'D', long, visible_alias = "rm")]
    pub(super) disposable: bool,
    /// Run TEXT with the image's shell
    #[arg(short, long)]
    pub(super) shell: bool,
    /// Set a variable; K alone passes on its value from here
    #[arg(short, long, value_name = "K=V")]
    pub(super) env: Vec<String>,
    /// Directory to run in; default: that of the session
    #[arg(
        short = 'C',
        long,
        short_alias = 'w',
        alias = "workdir",
        value_name = "DIR"
    )]
    pub(super) cwd: Option<String>,
    /// Seconds until the command is stopped; default: 120, and more on a terminal
    #[arg(short, long, value_name = "SECS", value_parser = number::seconds::<u64>)]
    pub(super) timeout: Option<u64>,
    /// Place a copy of a local file or directory at DST, an absolute path; default: its path here.
    /// :uUID, :gGID and :mMODE may follow
    #[arg(short = 'F', long, value_name = "SRC[:DST]")]
    pub(super) file: Vec<String>,
    /// Leave out files of attached directories whose name matches PATTERN
    #[arg(long, value_name = "PATTERN")]
    pub(super) file_excludes: Vec<String>,
    /// Start the command, print the UUID of its operation, and return
    #[arg(short, long, visible_alias = "no-wait")]
    pub(super) detach: bool,
    /// Connect the command to this terminal
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Publish a TCP port of the sandbox at 127.0.0.1
    #[arg(long, id = "publish", value_name = "[HOST:]PORT")]
    pub(super) publish: Vec<String>,
    #[command(flatten)]
    pub(super) limits: RunLimits,
    /// Host name in the sandbox
    #[arg(short = 'H', long, value_name = "NAME")]
    pub(super) hostname: Option<String>,
    /// Bytes of each output stream to pass on and record
    #[arg(short = 'T', long, value_name = "BYTES", value_parser = number::bytes)]
    pub(super) truncate: Option<u64>,
    /// Save the variables in the image
    #[arg(long)]
    pub(super) preserve_env: bool,
    /// Run a script file with the image's /bin/sh, for `#!/usr/bin/env -S contree run -I`
    #[arg(short = 'I', long)]
    pub(super) interpreter: bool,
    /// Select IMAGE first, as `contree use` does
    #[arg(long = "use", value_name = "IMAGE", add = complete::values(Known::Images))]
    pub(super) use_image: Option<String>,
    /// Do not print the kept image
    #[arg(short, long)]
    pub(super) quiet: bool,
}

/// The options between an image and `--`.
#[derive(Parser)]
#[command(no_binary_name = true, name = "contree run")]
pub(super) struct LaterOptions {
    #[command(flatten)]
    pub(super) run: RunOptions,
    #[command(flatten)]
    pub(super) verb: VerbOptions,
    /// Variables, as in an example of the official command line.
    pub(super) words: Vec<String>,
}

impl RunOptions {
    /// Adds later options, which replace earlier ones.
    pub(super) fn add(&mut self, later: Self) {
        self.disposable |= later.disposable;
        self.shell |= later.shell;
        self.env.extend(later.env);
        self.cwd = later.cwd.or(self.cwd.take());
        self.timeout = later.timeout.or(self.timeout);
        self.file.extend(later.file);
        self.file_excludes.extend(later.file_excludes);
        self.detach |= later.detach;
        self.interactive |= later.interactive;
        self.publish.extend(later.publish);
        self.limits.add(later.limits);
        self.hostname = later.hostname.or(self.hostname.take());
        self.truncate = later.truncate.or(self.truncate);
        self.preserve_env |= later.preserve_env;
        self.interpreter |= later.interpreter;
        self.use_image = later.use_image.or(self.use_image.take());
        self.quiet |= later.quiet;
    }

    /// The variables of the command.
    pub(super) fn variables(&self) -> Result<Vec<(String, String)>, VerbError> {
        variables(&self.env)
    }

    /// The ports to publish.
    ///
    /// # Errors
    /// A text that is not a port, or ports together with `deny`.
    pub(super) fn ports(&self) -> Result<Vec<PortOption>, VerbError> {
        PortOption::parse_all(&self.publish)
    }
}

/// The variables of arguments such as `NAME=VALUE`, or `NAME` alone for the value that it has here.
///
/// # Errors
/// A variable without a name, or one that is not set here.
pub(in crate::cli::verbs) fn variables(
    arguments: &[String],
) -> Result<Vec<(String, String)>, VerbError> {
    let mut variables = Vec::with_capacity(arguments.len());
    for text in arguments {
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
