//! The commands of steps.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::error::{InstructionError, StepError};
use super::no_command;
use super::output::{StepOutput, command_failure};
use super::users::{self, Account};
use crate::cli::verbs::context::VerbContext;
use crate::dockerfile::RunAction;
use crate::{Command, Content, Outcome};

/// The time limit of a step that runs no command of the Dockerfile.
const PLACING_TIMEOUT: Duration = Duration::from_secs(600);

/// Runs the commands of steps.
pub(super) struct CommandRunner<'a> {
    pub(super) cx: &'a VerbContext,
    /// The time limit of each `RUN`.
    pub(super) timeout: Duration,
}

impl CommandRunner<'_> {
    /// A command on an image that does nothing. Its argument is the instruction, for the history of
    /// the image. On this machine it needs nothing of the image. A service may have another
    /// architecture, so there it is the shell of the image.
    pub(super) fn placing(&self, image: Uuid, text: &str) -> Command {
        let image = self.cx.client.image(image);
        let program = no_command::program(std::env::consts::ARCH);
        let command = match program.filter(|_| self.cx.is_local()) {
            Some(program) => image
                .exec(no_command::PATH, [text])
                .file(no_command::PATH, Content::from(program).mode(0o755)),
            None => image.exec("/bin/sh", ["-c", ":", text]),
        };
        command.network(false).timeout(PLACING_TIMEOUT)
    }

    /// Runs a command of [`placing`](Self::placing), and returns its image.
    pub(super) async fn place(&self, command: Command) -> Result<Uuid, StepError> {
        let outcome = self.outcome(command, None).await?;
        resulting_image(&outcome).ok_or_else(|| {
            let output = String::from_utf8_lossy(&outcome.stderr.bytes).into_owned();
            InstructionError::Command(command_failure(&outcome, &output, PLACING_TIMEOUT)).into()
        })
    }

    pub(super) async fn run(
        &self,
        image: Uuid,
        action: &RunAction,
        output: &StepOutput,
    ) -> Result<Uuid, StepError> {
        let account = match &action.user {
            Some(user) => users::resolve(&self.cx.client, image, user, |_| 0).await?,
            None => Account {
                uid: 0,
                gid: 0,
                home: "/root".to_owned(),
            },
        };
        let (program, arguments) = action.words.split_first().ok_or_else(|| {
            InstructionError::Invalid("RUN has no command; write one after it".to_owned())
        })?;
        let mut command = self
            .cx
            .client
            .image(image)
            .exec(program, arguments)
            .env("HOME", &account.home)
            .envs(&action.env)
            .cwd(&action.cwd)
            .timeout(self.timeout);
        if (account.uid, account.gid) != (0, 0) {
            command = command.uid(account.uid).gid(account.gid);
        }
        if !action.has_network {
            command = command.network(false);
        }
        let outcome = self.outcome(command, Some(output)).await?;
        resulting_image(&outcome).ok_or_else(|| {
            let tail = output.tail();
            InstructionError::Command(command_failure(&outcome, &tail, self.timeout)).into()
        })
    }

    /// Runs a command to its end, and shows its output.
    async fn outcome(
        &self,
        command: Command,
        output: Option<&StepOutput>,
    ) -> Result<Outcome, StepError> {
        let shown = Mutex::new(output);
        let followed = async {
            let run = command.spawn().await?;
            let outcome = self.cx.client.outcome(run.id(), |event| {
                let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(output) = *shown {
                    output.add(event);
                }
            });
            let outcome = outcome.await?;
            run.detach();
            if let Some(output) = output {
                output.finish(&outcome);
            }
            Ok(outcome)
        };
        Ok(self.cx.unless_interrupted(followed).await?)
    }
}

/// The image of a command that succeeded.
fn resulting_image(outcome: &Outcome) -> Option<Uuid> {
    let is_done = outcome.exit_code == Some(0) && !outcome.timed_out;
    outcome.result_image.filter(|_| is_done)
}
