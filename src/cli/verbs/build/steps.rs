//! Performing the steps of a build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::base::{self, BaseImage};
use super::context::BuildContext;
use super::entry::{self, Entry, EntryKind, FoundSource};
use super::error::{Mistake, StepError};
use super::output::{StepOutput, command_failure};
use super::placement::{ExistingDirectories, placements};
use super::step_cache::{self, StepKey};
use super::users::{self, Account};
use super::{image_source, no_command};
use crate::cli::verbs::context::VerbContext;
use crate::dockerfile::{
    Action, Base, BuildArguments, CopyAction, CopyFrom, CopySource, PlannedStage, RunAction,
    StageState,
};
use crate::{Command, Content, Outcome};

/// How long a step that runs no command of the Dockerfile may take.
const PLACING_TIMEOUT: Duration = Duration::from_secs(600);

/// A build.
pub(super) struct Builder<'a> {
    pub(super) cx: &'a VerbContext,
    pub(super) context: BuildContext,
    pub(super) arguments: BuildArguments,
    pub(super) escape: char,
    pub(super) uses_cache: bool,
    pub(super) is_pulled: bool,
    /// The time limit of each `RUN`.
    pub(super) timeout: Duration,
    /// A directory for files of images and archives.
    pub(super) temporary: PathBuf,
    pub(super) total: usize,
    /// The stages so far, by their place in the file.
    pub(super) stages: BTreeMap<usize, (Uuid, StageState)>,
    pub(super) records: Vec<StepRecord>,
    /// The instructions without an effect.
    pub(super) ignored: BTreeSet<&'static str>,
    pub(super) has_cache_mounts: bool,
}

/// A step as JSON.
#[derive(Debug, Serialize)]
pub(super) struct StepRecord {
    pub(super) line: usize,
    pub(super) instruction: String,
    pub(super) image: Uuid,
    pub(super) cached: bool,
    pub(super) seconds: f64,
}

/// The error of a step, with its place.
pub(super) struct FailedStep {
    pub(super) line: usize,
    /// The image before the step.
    pub(super) before: Option<Uuid>,
    pub(super) error: StepError,
}

impl Builder<'_> {
    /// Builds a stage.
    ///
    /// # Errors
    /// The first step that fails.
    pub(super) async fn stage(&mut self, stage: &PlannedStage) -> Result<Uuid, FailedStep> {
        let failed = |line, before| {
            move |error| FailedStep {
                line,
                before,
                error,
            }
        };
        let (mut image, mut state) = self.begin(stage).await.map_err(failed(stage.line, None))?;
        let mut copies = stage.copies.iter();
        for instruction in &stage.instructions {
            let at = failed(instruction.line, Some(image));
            let action = state
                .apply(instruction, &mut self.arguments, self.escape)
                .map_err(|error| FailedStep {
                    line: instruction.line,
                    before: Some(image),
                    error: Mistake::Command(error.problem.to_string()).into(),
                })?;
            match &action {
                Action::None => continue,
                Action::Ignored(name) => {
                    self.ignored.insert(name);
                    continue;
                }
                Action::Run(run) => self.has_cache_mounts |= run.has_cache,
                _ => {}
            }
            let from = match &action {
                Action::Copy(copy) if copy.is_from_image => copies.next(),
                _ => None,
            };
            let output = StepOutput::new(self.cx, self.records.len() + 1, self.total);
            let begun = Instant::now();
            let done = self.step(image, &action, from, &output, &instruction.text);
            let (next, is_cached) = done.await.map_err(at)?;
            image = next;
            self.records.push(StepRecord {
                line: instruction.line,
                instruction: instruction.text.clone(),
                image,
                cached: is_cached,
                seconds: begun.elapsed().as_secs_f64(),
            });
        }
        self.stages.insert(stage.index, (image, state));
        Ok(image)
    }

    /// The image and the state with which a stage begins.
    async fn begin(&mut self, stage: &PlannedStage) -> Result<(Uuid, StageState), StepError> {
        let output = StepOutput::new(self.cx, self.records.len() + 1, self.total);
        let begun = Instant::now();
        let (base, state) = match &stage.base {
            Base::Stage(index) => {
                let (image, state) = self.stages.get(index).ok_or_else(|| {
                    Mistake::Command("its stage was not built; report this".to_owned())
                })?;
                let base = BaseImage {
                    image: *image,
                    is_cached: true,
                };
                (base, state.next_stage())
            }
            Base::Scratch => {
                let config = base::empty_config();
                let base = base::scratch(self.cx).await?;
                (base, StageState::new(config.env, config.cwd))
            }
            Base::Image(name) => {
                let base = base::named(self.cx, name, self.is_pulled).await?;
                let config = base::config(self.cx, base.image).await?;
                (base, StageState::new(config.env, config.cwd))
            }
        };
        output.show(&stage.text, base.is_cached);
        self.records.push(StepRecord {
            line: stage.line,
            instruction: stage.text.clone(),
            image: base.image,
            cached: base.is_cached,
            seconds: begun.elapsed().as_secs_f64(),
        });
        Ok((base.image, state))
    }

    /// Performs a step, unless its image is known. Returns the image, and whether it was known.
    async fn step(
        &self,
        image: Uuid,
        action: &Action,
        from: Option<&CopyFrom>,
        output: &StepOutput,
        text: &str,
    ) -> Result<(Uuid, bool), StepError> {
        let mut found = Vec::new();
        let mut source = None;
        let mut files = None;
        if let Action::Copy(copy) = action {
            match from {
                Some(from) => {
                    let image = self.source_image(from).await?;
                    files = Some(image.to_string());
                    source = Some(image);
                }
                None => {
                    found = self.local_files(copy).await?;
                    files = Some(entry::digest(&found)?);
                }
            }
        }
        let key = StepKey::Step {
            parent: image,
            action,
            files,
        };
        if self.uses_cache
            && let Some((known, _)) = step_cache::find(self.cx, &key).await?
        {
            output.show(text, true);
            return Ok((known, true));
        }
        output.show(text, false);
        let result = match action {
            Action::Run(run) => self.run(image, run, output).await?,
            Action::Copy(copy) => {
                if let Some(source) = source {
                    found = self.image_files(source, copy).await?;
                }
                self.copy(image, copy, found, text).await?
            }
            Action::Env(variables) => {
                let command = self.placing(image, text).envs(variables).keep_env();
                self.place(command).await?
            }
            Action::Workdir { path, user } => {
                self.directory(image, path, user.as_deref(), text).await?
            }
            Action::None | Action::Ignored(_) => image,
        };
        step_cache::record(self.cx, &key, result, None).await?;
        Ok((result, false))
    }

    /// The image that `COPY --from` names.
    async fn source_image(&self, from: &CopyFrom) -> Result<Uuid, StepError> {
        match from {
            CopyFrom::Stage(index) => match self.stages.get(index) {
                Some((image, _)) => Ok(*image),
                None => Err(Mistake::Command("its stage was not built".to_owned()).into()),
            },
            CopyFrom::Image(name) => Ok(base::named(self.cx, name, self.is_pulled).await?.image),
        }
    }

    async fn local_files(&self, copy: &CopyAction) -> Result<Vec<FoundSource>, StepError> {
        let mut found = Vec::new();
        for source in &copy.sources {
            match source {
                CopySource::Path(path) => found.extend(self.context.find(path, copy.is_add).await?),
                CopySource::Document { name, content, .. } => found.push(document(name, content)),
            }
        }
        Ok(found)
    }

    async fn image_files(
        &self,
        image: Uuid,
        copy: &CopyAction,
    ) -> Result<Vec<FoundSource>, StepError> {
        let mut found = Vec::new();
        for source in &copy.sources {
            match source {
                CopySource::Path(path) => {
                    let files = image_source::find(&self.cx.client, image, path, &self.temporary);
                    found.extend(files.await?);
                }
                CopySource::Document { name, content, .. } => found.push(document(name, content)),
            }
        }
        Ok(found)
    }

    async fn copy(
        &self,
        image: Uuid,
        copy: &CopyAction,
        found: Vec<FoundSource>,
        text: &str,
    ) -> Result<Uuid, StepError> {
        let client = &self.cx.client;
        let owner = match &copy.owner {
            Some(text) => {
                let account = users::resolve(client, image, text, |uid| uid).await?;
                Some((account.uid, account.gid))
            }
            None => None,
        };
        let placed = placements(client, image, copy, owner, found).await?;
        let command = self.placing(image, text).files(placed);
        self.place(command).await
    }

    /// Makes a directory, and saves it in the image.
    async fn directory(
        &self,
        image: Uuid,
        path: &str,
        user: Option<&str>,
        text: &str,
    ) -> Result<Uuid, StepError> {
        let client = &self.cx.client;
        let mut command = self.placing(image, text).cwd(path).keep_cwd();
        let exists = ExistingDirectories::of(client, image)
            .contains(path)
            .await?;
        if !exists && client.has_extension("files").await? {
            let mut content = Content::directory().mode(0o755);
            if let Some(user) = user {
                let account = users::resolve(client, image, user, |_| 0).await?;
                content = content.owner(account.uid, account.gid);
            }
            command = command.file(path, content);
        }
        self.place(command).await
    }

    /// A command on an image that does nothing and needs nothing of it. Its argument is the
    /// instruction, for the history of the image.
    fn placing(&self, image: Uuid, text: &str) -> Command {
        let image = self.cx.client.image(image);
        let command = match no_command::program(std::env::consts::ARCH) {
            Some(program) => image
                .exec(no_command::PATH, [text])
                .file(no_command::PATH, Content::from(program).mode(0o755)),
            None => image.exec("/bin/sh", ["-c", ":", text]),
        };
        command.network(false).timeout(PLACING_TIMEOUT)
    }

    /// Runs a command of [`placing`](Self::placing), and returns its image.
    async fn place(&self, command: Command) -> Result<Uuid, StepError> {
        let outcome = self.outcome(command, None).await?;
        finished(&outcome).ok_or_else(|| {
            let output = String::from_utf8_lossy(&outcome.stderr.bytes).into_owned();
            Mistake::Command(command_failure(&outcome, &output, PLACING_TIMEOUT)).into()
        })
    }

    async fn run(
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
        let (program, arguments) = action
            .words
            .split_first()
            .ok_or_else(|| Mistake::Command("RUN has no command; write one after it".to_owned()))?;
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
        finished(&outcome).ok_or_else(|| {
            let tail = output.tail();
            Mistake::Command(command_failure(&outcome, &tail, self.timeout)).into()
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
fn finished(outcome: &Outcome) -> Option<Uuid> {
    let is_done = outcome.exit_code == Some(0) && !outcome.timed_out;
    outcome.result_image.filter(|_| is_done)
}

/// A here-document as a file.
fn document(name: &str, content: &str) -> FoundSource {
    FoundSource {
        name: name.to_owned(),
        is_directory: false,
        entries: vec![Entry {
            path: String::new(),
            kind: EntryKind::Bytes(Bytes::copy_from_slice(content.as_bytes())),
            mode: 0o644,
            owner: None,
        }],
    }
}
