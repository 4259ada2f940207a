//! The options that the verbs `run`, `shell` and `exec` have in common.

use clap::Args;

use super::error::VerbError;
use crate::cli::number;

/// The variables and the directory of a process. A verb may set another help of `cwd`.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct ProcessOptions {
    /// Set a variable; K alone passes on its value from here
    #[arg(short, long, value_name = "K=V")]
    pub(super) env: Vec<String>,
    /// Directory to start in; default: that of the session
    #[arg(
        short = 'C',
        long,
        short_alias = 'w',
        alias = "workdir",
        value_name = "DIR"
    )]
    pub(super) cwd: Option<String>,
}

/// The process of a new sandbox, with its time limit and its files. A verb may set other helps.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct SandboxOptions {
    #[command(flatten)]
    pub(super) process: ProcessOptions,
    /// Seconds until the command is stopped; default: 120, and more on a terminal
    #[arg(short, long, value_name = "SECS", value_parser = number::seconds::<u64>)]
    pub(super) timeout: Option<u64>,
    /// Place a copy of a local file or directory at DST, an absolute path; default: its path here.
    /// :uUID, :gGID and :mMODE may follow
    #[arg(short = 'F', long, value_name = "SRC[:DST]")]
    pub(super) file: Vec<String>,
}

impl SandboxOptions {
    /// Adds later options, which replace earlier ones.
    pub(super) fn add(&mut self, later: Self) {
        self.process.env.extend(later.process.env);
        self.process.cwd = later.process.cwd.or(self.process.cwd.take());
        self.timeout = later.timeout.or(self.timeout);
        self.file.extend(later.file);
    }
}

impl ProcessOptions {
    /// The variables of the process. `NAME` alone has the value that it has here.
    ///
    /// # Errors
    /// A variable without a name, or one that is not set here.
    pub(super) fn variables(&self) -> Result<Vec<(String, String)>, VerbError> {
        self.env.iter().map(|text| variable(text)).collect()
    }
}

/// The variable of an argument such as `NAME=VALUE`, or `NAME` alone.
fn variable(text: &str) -> Result<(String, String), VerbError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) => Err(VerbError::Usage(format!("`{text}` has no name before `=`"))),
        None => match std::env::var(text) {
            Ok(value) => Ok((text.to_owned(), value)),
            Err(_) => Err(VerbError::Usage(format!(
                "the variable `{text}` is not set here; give {text}=VALUE"
            ))),
        },
    }
}
