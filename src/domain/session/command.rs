//! A command of a session.

use std::{
    fmt,
    pin::Pin,
    time::{Duration, SystemTime},
};

use super::{
    super::{
        command::Command,
        content::{Content, Input},
        output::{Discard, Output},
        session_file::Entry,
        step::Step,
        text::ToText,
        time::rfc_3339,
    },
    Session,
};
use crate::Error;

/// A command of a session. Awaiting it runs it to its end, and moves the session to its image.
///
/// Dropping the future before the end of the run cancels it, and leaves the session as it is. So
/// does a failure to write the session's file.
#[must_use = "a command runs when it is awaited"]
pub struct SessionCommand<'a> {
    session: &'a mut Session,
    command: Command,
}

/// Methods that change the command.
macro_rules! forwarded {
    ($($(#[$about:meta])* $name:ident($($argument:ident: $type:ty),*);)+) => {
        $(
            $(#[$about])*
            pub fn $name(mut self, $($argument: $type),*) -> Self {
                self.command = self.command.$name($($argument),*);
                self
            }
        )+
    };
}

impl<'a> SessionCommand<'a> {
    pub(super) fn new(session: &'a mut Session, mut command: Command) -> Self {
        command.program.env.clone_from(&session.settings.env);
        command.program.cwd.clone_from(&session.settings.cwd);
        if let Some(problem) = &session.problem {
            let problem = Err::<(), _>(Error::InvalidArgument(problem.clone()));
            command.program.take(problem);
        }
        Self { session, command }
    }

    forwarded! {
        /// Adds an argument.
        arg(arg: impl ToText);
        /// Sets a variable of this command.
        env(name: impl ToText, value: impl ToText);
        /// Sets the directory in which this command starts.
        cwd(directory: impl ToText);
        /// Sets the user; the default is 0.
        uid(uid: u32);
        /// Sets the group; the default is 0.
        gid(gid: u32);
        /// Sets the standard input.
        stdin(input: impl Into<Input>);
        /// Sets the time after which the command is killed; see
        /// [`Command::timeout`](crate::Command::timeout).
        timeout(timeout: Duration);
        /// Places a file in the sandbox before the command starts.
        file(path: impl ToText, content: impl Into<Content>);
        /// Sets how many bytes of each output stream are recorded.
        truncate_output_at(bytes: u64);
        /// Sets whether the sandbox has a network.
        network(enabled: bool);
    }

    /// Adds arguments.
    pub fn args<I>(mut self, args: I) -> Self
    where
        I: IntoIterator,
        I::Item: ToText,
    {
        self.command = self.command.args(args);
        self
    }

    /// Sets variables of this command, given as pairs of name and value.
    pub fn envs<I, K, V>(mut self, variables: I) -> Self
    where
        I: IntoIterator<Item = (K, V)>,
        K: ToText,
        V: ToText,
    {
        self.command = self.command.envs(variables);
        self
    }

    /// Places the files of an uploaded directory below `path` before the command starts.
    #[cfg(feature = "sync")]
    pub fn tree(mut self, path: impl ToText, tree: &super::super::Tree) -> Self {
        self.command = self.command.tree(path, tree);
        self
    }

    /// Drops the changes of the command, so that the session does not move on.
    pub fn discard(self) -> Command<Discard> {
        self.command.discard()
    }

    async fn run(self) -> Result<Output, Error> {
        let Self {
            session,
            mut command,
        } = self;
        if session.steps.is_empty() {
            session.base = session.base.pin().await?;
            command = command.on(session.base.clone());
        }
        let (program, args) = (
            command.program.command.clone(),
            command.program.args.clone(),
        );
        let output = command.await?;
        let step = Step {
            command: program,
            args,
            operation: output.operation,
            status: output.status,
            image: output.image.uuid().await?,
            ended_at: rfc_3339(SystemTime::now()),
        };
        session.record(Entry::Step(step)).await?;
        Ok(output)
    }
}

impl<'a> IntoFuture for SessionCommand<'a> {
    type Output = Result<Output, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for SessionCommand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.command.fmt(f)
    }
}
