//! The common part of all commands: the program, its arguments, environment and input.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    content::Input,
    text::{ToText, texts},
};
use crate::{Error, types};

/// A program to start, as its builder describes it.
pub(super) struct Program {
    pub(super) command: String,
    pub(super) shell: bool,
    pub(super) args: Vec<String>,
    /// The variables; none removes one.
    pub(super) env: BTreeMap<String, Option<String>>,
    pub(super) cwd: Option<String>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) stdin: Option<Input>,
    pub(super) stdin_open: bool,
    pub(super) terminal: Option<types::TerminalSize>,
    pub(super) truncate_output_at: Option<u64>,
    /// The first value that is not valid. The start reports it.
    problem: Option<Error>,
}

impl Program {
    pub(super) fn new(command: impl ToText, shell: bool) -> Self {
        let mut program = Self {
            command: String::new(),
            shell,
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            uid: None,
            gid: None,
            stdin: None,
            stdin_open: false,
            terminal: None,
            truncate_output_at: None,
            problem: None,
        };
        program.command = program.take(command.to_text()).unwrap_or_default();
        program
    }

    /// The value, unless it is invalid.
    pub(super) fn take<T>(&mut self, value: Result<T, Error>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem.get_or_insert(error);
                None
            }
        }
    }

    pub(super) fn add_args<I>(&mut self, args: I)
    where
        I: IntoIterator,
        I::Item: ToText,
    {
        if let Some(args) = self.take(texts(args)) {
            self.args.extend(args);
        }
    }

    pub(super) fn set_env(&mut self, name: impl ToText, value: Option<Result<String, Error>>) {
        let Some(name) = self.take(name.to_text()) else {
            return;
        };
        let value = match value {
            None => None,
            Some(value) => match self.take(value) {
                None => return,
                value => value,
            },
        };
        self.env.insert(name, value);
    }

    /// Returns the first invalid value.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        self.problem.take().map_or(Ok(()), Err)
    }

    /// The environment as a request takes it.
    pub(super) fn environment(&mut self) -> Option<BTreeMap<String, Option<String>>> {
        Some(std::mem::take(&mut self.env)).filter(|env| !env.is_empty())
    }

    /// The standard input as a request takes it.
    pub(super) async fn input(&mut self) -> Result<Option<types::ClosableStreamRepr>, Error> {
        let bytes = match self.stdin.take() {
            Some(input) => input.read().await?,
            None if self.stdin_open => bytes::Bytes::new(),
            None => return Ok(None),
        };
        Ok(Some(types::ClosableStreamRepr {
            close: Some(!self.stdin_open),
            encoding: Some(types::StreamEncoding::Base64),
            value: STANDARD.encode(bytes),
        }))
    }

    /// The limit of recorded output as a request takes it.
    pub(super) fn output_limit(&self) -> Option<i64> {
        self.truncate_output_at
            .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
    }
}

/// The methods that the builders of all commands have.
macro_rules! program_methods {
    () => {
        /// Adds an argument.
        pub fn arg(mut self, arg: impl $crate::ToText) -> Self {
            self.program.add_args([arg]);
            self
        }

        /// Adds arguments.
        pub fn args<I>(mut self, args: I) -> Self
        where
            I: IntoIterator,
            I::Item: $crate::ToText,
        {
            self.program.add_args(args);
            self
        }

        /// Sets a variable of the environment.
        pub fn env(mut self, name: impl $crate::ToText, value: impl $crate::ToText) -> Self {
            self.program.set_env(name, Some(value.to_text()));
            self
        }

        /// Sets variables of the environment, given as pairs of name and value.
        pub fn envs<I, K, V>(mut self, variables: I) -> Self
        where
            I: IntoIterator<Item = (K, V)>,
            K: $crate::ToText,
            V: $crate::ToText,
        {
            for (name, value) in variables {
                self.program.set_env(name, Some(value.to_text()));
            }
            self
        }

        /// Removes a variable of the image's environment.
        pub fn env_remove(mut self, name: impl $crate::ToText) -> Self {
            self.program.set_env(name, None);
            self
        }

        /// Sets the directory to start in, which is an absolute path in the sandbox.
        pub fn cwd(mut self, directory: impl $crate::ToText) -> Self {
            if let Some(directory) = self.program.take(directory.to_text()) {
                self.program.cwd = Some(directory);
            }
            self
        }

        /// Sets the user; the default is 0.
        pub fn uid(mut self, uid: u32) -> Self {
            self.program.uid = Some(uid);
            self
        }

        /// Sets the group; the default is 0.
        pub fn gid(mut self, gid: u32) -> Self {
            self.program.gid = Some(gid);
            self
        }

        /// Sets the standard input; without it, the input is empty.
        pub fn stdin(mut self, input: impl Into<$crate::Input>) -> Self {
            self.program.stdin = Some(input.into());
            self
        }

        /// Keeps the standard input open, so that more can be written while the command runs.
        pub fn stdin_open(mut self) -> Self {
            self.program.stdin_open = true;
            self
        }

        /// Gives the command a terminal of this size in characters, instead of its three streams.
        /// Its output is standard output. Only an embedded engine can do so.
        pub fn terminal(mut self, columns: u16, rows: u16) -> Self {
            self.program.terminal = Some($crate::types::TerminalSize {
                columns: columns.into(),
                rows: rows.into(),
            });
            self
        }

        /// Sets how many bytes of each output stream are recorded; the default is 1 MiB, and the
        /// maximum 10 MiB.
        pub fn truncate_output_at(mut self, bytes: u64) -> Self {
            self.program.truncate_output_at = Some(bytes);
            self
        }
    };
}

pub(super) use program_methods;
