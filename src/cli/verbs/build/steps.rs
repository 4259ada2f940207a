//! Performing the steps of a build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::base::{self, BaseImage};
use super::commands::CommandRunner;
use super::context::BuildContext;
use super::entry::{self, Entry, EntryKind, FoundSource};
use super::error::{InstructionError, StepError};
use super::output::StepOutput;
use super::placement::placements;
use super::step_cache::{self, StepKey};
use super::{image_source, users};
use crate::Content;
use crate::cli::verbs::context::VerbContext;
use crate::cli::verbs::existing_directories::ExistingDirectories;
use crate::dockerfile::{
    Action, Base, BuildArguments, CopyAction, CopyFrom, CopySource, PlannedStage, StageState,
};

/// A build.
pub(super) struct Builder<'a> {
    pub(super) cx: &'a VerbContext,
    pub(super) context: BuildContext,
    pub(super) arguments: BuildArguments,
    pub(super) escape: char,
    pub(super) uses_cache: bool,
    pub(super) pulls: bool,
    pub(super) runner: CommandRunner<'a>,
    /// A directory for files of images and archives.
    pub(super) temporary: PathBuf,
    pub(super) total: usize,
    /// The stages built so far, by their index in the file.
    pub(super) stages: BTreeMap<usize, (Uuid, StageState)>,
    pub(super) records: Vec<StepRecord>,
    /// The names of instructions without an effect.
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

/// The error of a step, with the line of its instruction.
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
                    error: InstructionError::Invalid(error.problem.to_string()).into(),
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
                let (image, state) = self
                    .stages
                    .get(index)
                    .ok_or(InstructionError::StageNotBuilt)?;
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
                let base = base::named(self.cx, name, self.pulls).await?;
                let config = base::config(self.cx, base.image, self.uses_cache).await?;
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
        let (mut source, mut root_archive) = (None, None);
        let mut files = None;
        if let Action::Copy(copy) = action {
            match from {
                Some(from) => {
                    let image = self.source_image(from).await?;
                    files = Some(image.to_string());
                    source = Some(image);
                }
                None => {
                    root_archive = self.root_archive(image, copy).await?;
                    found = self.local_files(copy, root_archive.is_none()).await?;
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
        let local = found.clone();
        let result = match action {
            Action::Run(run) => self.runner.run(image, run, output).await?,
            Action::Copy(copy) => {
                if let Some(archive) = root_archive {
                    let image = base::of_archive(self.cx, &archive).await?;
                    self.record(&key, image, &local).await?;
                    return Ok((image, false));
                }
                if let Some(source) = source {
                    found = self.image_files(source, copy).await?;
                }
                self.copy(image, copy, found, text).await?
            }
            Action::Env(variables) => {
                let command = self.runner.placing(image, text).envs(variables).keep_env();
                self.runner.place(command).await?
            }
            Action::Workdir { path, user } => {
                self.directory(image, path, user.as_deref(), text).await?
            }
            Action::None | Action::Ignored(_) => image,
        };
        self.record(&key, result, &local).await?;
        Ok((result, false))
    }

    /// Records the image of a step. If a local file was changed while it was copied, the image may
    /// have another content than the key says, and is not recorded.
    async fn record(
        &self,
        key: &StepKey<'_>,
        image: Uuid,
        local: &[FoundSource],
    ) -> Result<(), StepError> {
        if let StepKey::Step {
            files: Some(files), ..
        } = key
            && !local.is_empty()
            && entry::digest(local).ok().as_ref() != Some(files)
        {
            return Ok(());
        }
        Ok(step_cache::record(self.cx, key, image, None).await?)
    }

    /// The image that `COPY --from` names.
    async fn source_image(&self, from: &CopyFrom) -> Result<Uuid, StepError> {
        match from {
            CopyFrom::Stage(index) => match self.stages.get(index) {
                Some((image, _)) => Ok(*image),
                None => Err(InstructionError::StageNotBuilt.into()),
            },
            CopyFrom::Image(name) => Ok(base::named(self.cx, name, self.pulls).await?.image),
        }
    }

    /// The archive of `ADD ARCHIVE /` on an empty image. The engine imports it as a whole.
    async fn root_archive(
        &self,
        image: Uuid,
        copy: &CopyAction,
    ) -> Result<Option<PathBuf>, StepError> {
        let [CopySource::Path(path)] = &copy.sources[..] else {
            return Ok(None);
        };
        let is_plain = copy.is_add && copy.owner.is_none() && copy.mode.is_none();
        if !is_plain || copy.destination != "/" || !self.cx.is_local() {
            return Ok(None);
        }
        match step_cache::find(self.cx, &StepKey::Scratch).await? {
            Some((scratch, _)) if scratch == image => self.context.archive(path).await,
            _ => Ok(None),
        }
    }

    async fn local_files(
        &self,
        copy: &CopyAction,
        unpacks: bool,
    ) -> Result<Vec<FoundSource>, StepError> {
        let unpacks = unpacks && copy.is_add;
        let mut found = Vec::new();
        for source in &copy.sources {
            match source {
                CopySource::Path(path) => found.extend(self.context.find(path, unpacks).await?),
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
        let command = self.runner.placing(image, text).files(placed);
        self.runner.place(command).await
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
        let mut command = self.runner.placing(image, text).cwd(path).keep_cwd();
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
        self.runner.place(command).await
    }
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
