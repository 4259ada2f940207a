//! The scripts of a stub service's runs: their output, and their ends.

use std::time::Duration;

/// The script of a run: the command that it is for, its output, and its end.
///
/// It exits with 0 unless the script says otherwise. Unless the run is disposable, its result is a
/// new image with the files of the old one.
#[derive(Clone, Debug)]
pub struct ScriptedRun {
    pub(super) command: Option<String>,
    pub(super) output: Vec<Output>,
    pub(super) files: Vec<(String, String)>,
    pub(super) end: End,
}

/// A piece of output.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) is_error: bool,
    pub(super) bytes: Vec<u8>,
}

/// The end of a run.
#[derive(Clone, Debug)]
pub(super) enum End {
    Exit(i64),
    Signal(i64),
    TimeOut,
    Failure(String),
    Never,
}

impl ScriptedRun {
    /// The script of every run of `command`.
    #[must_use]
    pub fn new(command: impl Into<String>) -> Self {
        Self {
            command: Some(command.into()),
            ..Self::default()
        }
    }

    /// Adds output.
    #[must_use]
    pub fn stdout(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.output(false, bytes.into())
    }

    /// Adds error output.
    #[must_use]
    pub fn stderr(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.output(true, bytes.into())
    }

    fn output(mut self, is_error: bool, bytes: Vec<u8>) -> Self {
        self.output.push(Output { is_error, bytes });
        self
    }

    /// Adds a file to the result image.
    #[must_use]
    pub fn writes(mut self, path: impl Into<String>, content: impl Into<String>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    /// The command exits with this status.
    #[must_use]
    pub fn exit_code(mut self, code: i64) -> Self {
        self.end = End::Exit(code);
        self
    }

    /// A signal kills the command.
    #[must_use]
    pub fn signal(mut self, signal: i64) -> Self {
        self.end = End::Signal(signal);
        self
    }

    /// The command is killed at its time limit.
    #[must_use]
    pub fn timed_out(mut self) -> Self {
        self.end = End::TimeOut;
        self
    }

    /// The run fails: the command could not be started.
    #[must_use]
    pub fn failed(mut self, reason: impl Into<String>) -> Self {
        self.end = End::Failure(reason.into());
        self
    }

    /// The command runs until it is cancelled.
    #[must_use]
    pub fn never_ends(mut self) -> Self {
        self.end = End::Never;
        self
    }
}

impl Default for ScriptedRun {
    /// The script of every command that has no other one.
    fn default() -> Self {
        Self {
            command: None,
            output: Vec::new(),
            files: Vec::new(),
            end: End::Exit(0),
        }
    }
}

/// How long every run takes, as the stub reports it.
pub(super) const DURATION: Duration = Duration::from_millis(1);
