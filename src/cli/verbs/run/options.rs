//! The options of `contree run` and `contree shell`.

use clap::{Args, Parser};

use super::super::complete::{self, Known};
use super::super::error::VerbError;
use super::super::process_options::SandboxOptions;
use super::super::rows::VerbOptions;
use super::limits::RunLimits;
use super::ports::PortOption;
use crate::cli::number;

/// The options of a run.
#[derive(Args, Debug, Clone, Default)]
#[command(mut_arg("cwd", |cwd| cwd.help("Directory to run in; default: that of the session")))]
pub(super) struct RunOptions {
    /// Drop the changes
    #[arg(short = 'D', long, visible_alias = "rm")]
    pub(super) disposable: bool,
    /// Run TEXT with the image's shell
    #[arg(short, long)]
    pub(super) shell: bool,
    #[command(flatten)]
    pub(super) sandbox: SandboxOptions,
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
        self.sandbox.add(later.sandbox);
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

    /// The ports to publish.
    ///
    /// # Errors
    /// A text that is not a port, or ports together with `deny`.
    pub(super) fn ports(&self) -> Result<Vec<PortOption>, VerbError> {
        PortOption::parse_all(&self.publish)
    }
}
