//! `contree build`: an image from a Dockerfile.
//!
//! `src/dockerfile/` reads the file and says what each step does. Here the steps are performed.

mod archive;
mod base;
mod commands;
mod context;
mod entry;
mod error;
mod image_source;
mod no_command;
mod output;
mod placement;
mod step_cache;
mod steps;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use contree_error_codes::ErrorCode;
use serde::Serialize;
use uuid::Uuid;

use super::context::VerbContext;
use super::error::VerbError;
use super::image_name::{nearest, short};
use super::rows::print_record;
use crate::cli::number;
use crate::cli::output::{print, print_message};
use crate::dockerfile::{BuildArguments, Dockerfile};
pub(super) use archive::open as open_archive;
use commands::CommandRunner;
use context::BuildContext;
use error::StepError;
use steps::{Builder, FailedStep, StepRecord};

/// The time limit of each `RUN` unless the user gives one, in seconds.
const TIMEOUT: u64 = 3600;
/// The names of the file, in the order in which they are looked for.
const FILE_NAMES: [&str; 2] = ["Dockerfile", "Containerfile"];

/// Build an image from a Dockerfile
#[derive(Args, Debug)]
#[command(
    visible_alias = "bd",
    after_help = "\
Examples:
  contree build -t app .                          the file ./Dockerfile
  contree build -f ci/Dockerfile --target test --build-arg V=2 .

Each step makes an image. An unchanged step runs nothing: its image is used again. A failed build
keeps the steps before the failure. Exit status: 1 if a step failed, 2 if the command line is
wrong."
)]
pub(in crate::cli) struct Build {
    /// Directory with the files that COPY takes; default: this one
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    directory: PathBuf,
    /// Tag of the image; may be given several times
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,
    /// Dockerfile; default: DIR/Dockerfile
    #[arg(short, long, visible_alias = "dockerfile", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Set a build argument; without `=V`, it has the value of the variable here
    #[arg(long, value_name = "K=V")]
    build_arg: Vec<String>,
    /// Stop after this stage
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Run every step again
    #[arg(long)]
    no_cache: bool,
    /// Import base images again
    #[arg(long)]
    pull: bool,
    /// Seconds until a RUN is stopped; default: 3600
    #[arg(long, value_name = "SECS", value_parser = number::seconds::<u64>)]
    timeout: Option<u64>,
}

/// A build as JSON.
#[derive(Serialize)]
struct BuildRecord<'a> {
    uuid: Uuid,
    tags: Vec<&'a str>,
    steps: &'a [StepRecord],
    /// Instructions that have no effect here.
    ignored: &'a BTreeSet<&'static str>,
}

impl Build {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let path = self.file()?;
        let text = std::fs::read(&path).map_err(VerbError::file(&path))?;
        let text = String::from_utf8(text).map_err(|_| {
            let path = path.display();
            VerbError::WithCode(
                ErrorCode::DockerfileInvalid,
                format!("{path} is not UTF-8; save it as UTF-8"),
            )
        })?;
        let located = |error: &dyn std::fmt::Display| {
            VerbError::WithCode(
                ErrorCode::DockerfileInvalid,
                format!("{}: {error}", path.display()),
            )
        };
        let file = Dockerfile::parse(&text).map_err(|error| located(&error))?;
        let target = match &self.target {
            Some(name) => Some(file.stage(name).ok_or_else(|| unknown_stage(&file, name))?),
            None => None,
        };
        let mut arguments = BuildArguments::new(self.build_arguments()?, architecture());
        let plan = file
            .plan(target, &mut arguments)
            .map_err(|error| located(&error))?;
        let temporary = tempfile::tempdir().map_err(VerbError::file(std::env::temp_dir()))?;
        let mut builder = Builder {
            cx,
            context: BuildContext::open(&self.directory, Some(&path), temporary.path())?,
            arguments,
            escape: plan.escape,
            uses_cache: !self.no_cache,
            pulls: self.pull,
            runner: CommandRunner {
                cx,
                timeout: Duration::from_secs(self.timeout.unwrap_or(TIMEOUT)),
            },
            temporary: temporary.path().to_owned(),
            total: plan.steps(),
            stages: BTreeMap::new(),
            records: Vec::new(),
            ignored: BTreeSet::new(),
            has_cache_mounts: false,
        };
        let mut image = None;
        for stage in &plan.stages {
            match builder.stage(stage).await {
                Ok(built) => image = Some(built),
                Err(failed) => return Err(explained(failed, &path, &text)),
            }
        }
        let Some(image) = image else {
            return Err(VerbError::WithCode(
                ErrorCode::DockerfileInvalid,
                "the Dockerfile has no stage".to_owned(),
            ));
        };
        self.end(cx, image, &builder).await
    }

    /// Names the image, and shows the result.
    async fn end(
        &self,
        cx: &VerbContext,
        image: Uuid,
        builder: &Builder<'_>,
    ) -> Result<u8, VerbError> {
        let tags: Vec<&str> = self
            .tag
            .iter()
            .map(|tag| tag.strip_prefix("tag:").unwrap_or(tag))
            .collect();
        for tag in &tags {
            cx.client.image(image).tag(tag).await?;
        }
        for name in builder.arguments.unused() {
            print_message(format_args!(
                "no ARG declares `{name}`, so --build-arg {name} has no effect"
            ));
        }
        if !builder.ignored.is_empty() {
            let names: Vec<&str> = builder.ignored.iter().copied().collect();
            print_message(format_args!(
                "no effect here: {}; an image keeps files, variables and a directory",
                names.join(", ")
            ));
        }
        if builder.has_cache_mounts {
            print_message("the files of a cache mount became part of the image");
        }
        if cx.format.is_json() {
            let record = BuildRecord {
                uuid: image,
                tags,
                steps: &builder.records,
                ignored: &builder.ignored,
            };
            print_record(cx.format, &record)?;
            return Ok(0);
        }
        let mut shown = String::new();
        for tag in &tags {
            shown.push_str(&format!("{tag} is now {}\n", short(&image)));
        }
        if tags.is_empty() {
            shown = format!("built {}\n", short(&image));
        }
        print(&shown)?;
        Ok(0)
    }

    /// The Dockerfile.
    fn file(&self) -> Result<PathBuf, VerbError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        if !self.directory.is_dir() {
            let directory = self.directory.display();
            return Err(VerbError::Usage(format!(
                "{directory} is not a directory; give the one with the Dockerfile, such as `.`"
            )));
        }
        let mut paths = FILE_NAMES.iter().map(|name| self.directory.join(name));
        paths.find(|path| path.exists()).ok_or_else(|| {
            let directory = self.directory.display();
            VerbError::WithCode(
                ErrorCode::DockerfileInvalid,
                format!("there is no Dockerfile in {directory}; -f FILE names another one"),
            )
        })
    }

    fn build_arguments(&self) -> Result<BTreeMap<String, String>, VerbError> {
        let mut arguments = BTreeMap::new();
        for text in &self.build_arg {
            match text.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    arguments.insert(name.to_owned(), value.to_owned());
                }
                Some(_) => {
                    return Err(VerbError::Usage(format!("`{text}` has no name before `=`")));
                }
                // As for Docker, a variable that is not set here leaves the default.
                None => {
                    if let Ok(value) = std::env::var(text) {
                        arguments.insert(text.clone(), value);
                    }
                }
            }
        }
        Ok(arguments)
    }
}

/// The architecture of this machine, as Docker names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn unknown_stage(file: &Dockerfile, name: &str) -> VerbError {
    let near = nearest(name, file.stage_names());
    let names: Vec<&str> = file.stage_names().collect();
    let remedy = match (near.is_empty(), names.is_empty()) {
        (false, _) => format!("did you mean {}?", near.join(" or ")),
        (true, false) => format!("the stages are {}", names.join(", ")),
        (true, true) => "no stage has a name; write FROM … AS NAME".to_owned(),
    };
    VerbError::Usage(format!("there is no stage `{name}`; {remedy}"))
}

/// The error of a step, with its line in the file and the image before it.
fn explained(failed: FailedStep, path: &Path, text: &str) -> VerbError {
    let mistake = match failed.error {
        StepError::Verb(error) => return error,
        StepError::Instruction(mistake) => mistake,
    };
    let line = text.lines().nth(failed.line - 1).unwrap_or_default();
    let mut message = format!(
        "{}:{}: {}\n{mistake}",
        path.display(),
        failed.line,
        line.trim()
    );
    if let Some(image) = failed.before {
        message.push_str(&format!(
            "\nthe earlier steps are kept: `contree run {} -D -- CMD` tries a command there",
            short(&image)
        ));
    }
    VerbError::WithCode(mistake.code(), message)
}
