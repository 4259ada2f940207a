//! `contree log` and `contree diff`: the ancestors of an image, and differences between images.

use clap::Args;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::image_name::short;
use super::rows::{print_record, print_rows, text_or_empty};
use super::session_state::join;
use super::tree::{self, MAX_LOG_IMAGES};
use crate::cli::habits::without_effect;
use crate::cli::number;
use crate::cli::output::{print, print_message};
use crate::cli::units::{age, size};
use crate::types::{ImageChange, ImageLogEntry};
use crate::{DiffRequest, LogRequest};

/// Show what an image was made from
#[derive(Args, Debug)]
#[command(arg = without_effect("oneline", None))]
#[command(after_help = "\
Examples:
  contree log            the commands that made the session's image
  contree log --graph    with all branches, as a tree; @NAME is a branch of the session")]
pub(in crate::cli) struct Log {
    /// A tag, a UUID or the beginning of one, or @N; default: the image of the session
    #[arg(add = complete::values(Known::Images))]
    image: Option<String>,
    /// Draw all images with the same oldest ancestor
    #[arg(long)]
    graph: bool,
    /// At most N images
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = number::positive)]
    limit: u64,
}

impl Log {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let image = cx.image_or_current(self.image.as_deref()).await?;
        if self.graph {
            return tree::show_family(cx, image).await;
        }
        let limit = self.limit.clamp(1, MAX_LOG_IMAGES);
        let request = LogRequest {
            limit,
            ..LogRequest::default()
        };
        let log = cx.client.log(image, request).await?;
        print_rows(
            cx.format,
            &log.images,
            &[
                ("image", &|entry: &ImageLogEntry| short(&entry.uuid)),
                ("created", &|entry| {
                    entry.created_at.as_deref().map(age).unwrap_or_default()
                }),
                ("exit", &|entry| text_or_empty(entry.exit_code)),
                ("files", &|entry| text_or_empty(entry.changed_files)),
                ("size", &|entry| {
                    entry.changed_bytes.map(size).unwrap_or_default()
                }),
                ("tags", &|entry| entry.tags.join(" ")),
                ("command", &|entry| {
                    entry
                        .command
                        .clone()
                        .or(entry.kind.clone())
                        .unwrap_or_default()
                }),
            ],
        )?;
        if let Some(note) = log.note {
            print_message(note);
        }
        if log.next.is_some() {
            print_message(match limit {
                MAX_LOG_IMAGES => {
                    "there are more; `contree log IMAGE` begins at an older one".into()
                }
                _ => format!("there are more; -n N shows more than {limit}"),
            });
        }
        Ok(0)
    }
}

/// Show which files differ between two images
#[derive(Args, Debug)]
#[command(
    override_usage = "contree diff [OPTIONS] [A [B]] [PATH]",
    arg = without_effect("name-status", None),
    after_help = "\
Examples:
  contree diff                        what the command that made the session's image changed
  contree diff @main @try             the images of two branches
  contree diff base @ /etc --patch    from `base` to the session's image, as a patch

With A alone, B is the image of the session. PATH begins with `/`. A is added, M modified, D deleted,
R renamed, T another type, P other permissions, O another owner."
)]
pub(in crate::cli) struct Diff {
    /// Images, such as a tag, @N or @BRANCH, and a path
    #[arg(num_args = 0..=3, value_name = "A B PATH", add = complete::values(Known::Images))]
    words: Vec<String>,
    /// Print a patch for `git apply`
    #[arg(long, conflicts_with = "stat")]
    patch: bool,
    /// Print sizes before and after
    #[arg(long)]
    stat: bool,
    /// Print only paths
    #[arg(long, conflicts_with_all = ["patch", "stat"])]
    name_only: bool,
}

impl Diff {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let mut words = &self.words[..];
        let mut path = "/".to_owned();
        if let [before @ .., last] = words
            && last.starts_with('/')
        {
            path = join(None, last);
            words = before;
        }
        let (base, image) = match words {
            [] => (None, cx.image_or_current(None).await?),
            [a] => (Some(cx.image(a).await?), cx.image_or_current(None).await?),
            [a, b] => (Some(cx.image(a).await?), cx.image(b).await?),
            _ => {
                return Err(VerbError::Usage(
                    "give at most two images and a path that begins with `/`".to_owned(),
                ));
            }
        };
        let mut request = DiffRequest {
            base,
            path,
            patch: self.patch,
            ..DiffRequest::default()
        };
        let mut changes: Vec<ImageChange> = Vec::new();
        loop {
            let page = cx
                .unless_interrupted(cx.client.diff(image, &request))
                .await?;
            if self.patch && !cx.format.is_json() {
                print(page.patch.as_deref().unwrap_or_default())?;
            } else if cx.format.is_json() {
                print_record(cx.format, &page)?;
            } else {
                changes.extend(page.changes);
            }
            match page.next {
                Some(next) => request.offset = next,
                None => break,
            }
        }
        if self.patch || cx.format.is_json() {
            return Ok(0);
        }
        if self.stat {
            let bytes = |bytes: Option<u64>| bytes.map(size).unwrap_or_default();
            print_rows(
                cx.format,
                &changes,
                &[
                    ("change", &|change: &ImageChange| change.change.clone()),
                    ("before", &|change| bytes(change.size_before)),
                    ("after", &|change| bytes(change.size_after)),
                    ("path", &path_of),
                ],
            )?;
            print_message(format_args!("{} differ", changes.len()));
            return Ok(0);
        }
        let lines = changes.iter().map(|change| {
            let path = path_of(change);
            let path = crate::tools::one_line(&path);
            match self.name_only {
                true => format!("{path}\n"),
                false => format!("{} {path}\n", letter(&change.change)),
            }
        });
        print(&lines.collect::<String>())?;
        Ok(0)
    }
}

fn path_of(change: &ImageChange) -> String {
    let slash = if change.kind == "directory" && !change.path.ends_with('/') {
        "/"
    } else {
        ""
    };
    match &change.from {
        Some(from) => format!("{from} -> {}", change.path),
        None => format!("{}{slash}", change.path),
    }
}

fn letter(change: &str) -> &str {
    match change {
        "added" => "A",
        "removed" => "D",
        "modified" => "M",
        "renamed" => "R",
        "type" => "T",
        "mode" => "P",
        "owner" => "O",
        other => other,
    }
}
