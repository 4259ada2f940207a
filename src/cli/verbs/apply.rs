//! `contree apply`: copies the changes of an image to a directory of this machine.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::progress::Progress;
use super::rows::print_rows;
use super::session_state::join;
use crate::cli::output::print_message;
use crate::tools::{ChangesToApply, apply_changes};
use crate::{Applied, Conflicts};

/// Apply the changes of an image to a directory of this machine
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree apply -n                      what the last run changed in the directory it got by -F
  contree apply work:1 /app ./app --merge

A file that changed in the image alone is written or removed. One that changed on both sides is a
conflict: then nothing is written, unless --conflicts or --merge settles it. The base is the directory
that a run got by -F, else the image from which IMAGE was made. Exit status: 1 after a conflict.")]
pub(in crate::cli) struct Apply {
    /// A tag, a UUID or the beginning of one, @N or @BRANCH; default: the image of the session
    #[arg(add = complete::values(Known::Images))]
    image: Option<String>,
    /// Directory in the image; default: the one to which -F sent DIR, else that of the session
    path: Option<String>,
    /// Directory of this machine; default: the current one
    dir: Option<PathBuf>,
    /// Only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Files that changed on both sides: `skip` keeps yours, `theirs` takes the image's
    #[arg(
        long,
        value_enum,
        value_name = "skip|theirs",
        hide_possible_values = true
    )]
    conflicts: Option<ConflictChoice>,
    /// Merge texts that changed on both sides, if the changes do not overlap
    #[arg(long)]
    merge: bool,
    /// Image whose files the directory had
    #[arg(long, value_name = "IMAGE", add = complete::values(Known::Images))]
    base: Option<String>,
}

/// The treatment of conflicts.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum ConflictChoice {
    Skip,
    Theirs,
}

/// A path with its outcome.
#[derive(Serialize)]
struct AppliedPath {
    change: &'static str,
    path: String,
    why: Option<String>,
}

/// The path in the image and the directory of this machine. A single argument such as `.` or
/// `./app` is a directory of this machine.
fn source_and_destination(path: Option<String>, dir: Option<PathBuf>) -> (Option<String>, PathBuf) {
    match (path, dir) {
        (path, Some(dir)) => (path, dir),
        (Some(dir), None) if is_local_directory(&dir) => (None, dir.into()),
        (path, None) => (path, ".".into()),
    }
}

/// Whether an argument is a directory of this machine, such as `.` or `../app`.
fn is_local_directory(text: &str) -> bool {
    text.starts_with('.')
}

impl Apply {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let (image, path, dir) = match (self.image, self.path, self.dir) {
            // Alone, it is a directory of this machine.
            (Some(dir), None, None) if is_local_directory(&dir) => (None, Some(dir), None),
            words => words,
        };
        let image = cx.image(image.as_deref().unwrap_or("@")).await?;
        let base = match &self.base {
            Some(base) => Some(cx.image(base).await?),
            None => None,
        };
        let cwd = cx.state().await?.cwd;
        let (path, dir) = source_and_destination(path, dir);
        let destination = dir.canonicalize().map_err(VerbError::file(&dir))?;
        if !destination.is_dir() {
            return Err(VerbError::Usage(format!(
                "{} is not a directory; give the directory that the files belong to",
                dir.display()
            )));
        }
        let changes = ChangesToApply {
            image,
            path: path.map(|path| join(cwd.as_deref(), &path)),
            fallback: cwd.unwrap_or_else(|| "/".to_owned()),
            destination,
            base,
            conflicts: match self.conflicts {
                None => Conflicts::Stop,
                Some(ConflictChoice::Skip) => Conflicts::Skip,
                Some(ConflictChoice::Theirs) => Conflicts::Theirs,
            },
            merge: self.merge,
            dry_run: self.dry_run,
        };
        let progress = Arc::new(Progress::spinner("comparing"));
        let context = cx.call(progress.clone());
        let applied = tokio::select! {
            biased;
            applied = apply_changes(changes, &context) => applied?,
            () = cx.cancelled.cancelled() => return Ok(cx.interrupted().await),
        };
        drop((context, progress));
        let is_settled = matches!(self.conflicts, Some(ConflictChoice::Theirs));
        let has_conflicts = !applied.conflicts.is_empty() && !is_settled;
        let is_incomplete = !applied.refused.is_empty();
        let counts = [
            ("written", applied.written.len()),
            ("removed", applied.removed.len()),
        ];
        let is_stopped = has_conflicts && self.conflicts.is_none();
        print_rows(
            cx.format,
            &rows(applied),
            &[
                ("change", &|row: &AppliedPath| row.change.to_owned()),
                ("path", &|row| row.path.clone()),
                ("why", &|row| row.why.clone().unwrap_or_default()),
            ],
        )?;
        if is_stopped {
            let merge = match self.merge {
                true => "--merge cannot merge them",
                false => "--merge merges texts",
            };
            print_message(format_args!(
                "nothing was written because of the conflicts; {merge}, --conflicts skip keeps your files, and --conflicts theirs takes those of the image",
            ));
        } else if counts.iter().all(|(_, count)| *count == 0) {
            print_message("there is nothing to write");
        } else {
            let [written, removed] = counts.map(|(what, count)| format!("{count} {what}"));
            let note = if self.dry_run {
                ", once -n is left out"
            } else {
                ""
            };
            print_message(format_args!("{written}, {removed}{note}"));
        }
        Ok(u8::from(has_conflicts || is_incomplete))
    }
}

/// One row for each path.
fn rows(applied: Applied) -> Vec<AppliedPath> {
    let merged = applied.merged;
    let plain = |change: &'static str| {
        move |path: String| AppliedPath {
            change,
            path,
            why: None,
        }
    };
    let mut rows = Vec::new();
    for path in applied.written {
        let change = if merged.contains(&path) {
            "merged"
        } else {
            "written"
        };
        rows.push(plain(change)(path));
    }
    rows.extend(applied.removed.into_iter().map(plain("removed")));
    let conflicts: Vec<&String> = applied.conflicts.iter().map(|found| &found.path).collect();
    let kept = applied.kept.iter().filter(|path| !conflicts.contains(path));
    rows.extend(kept.cloned().map(plain("kept")));
    for (change, reasons) in [
        ("conflict", applied.conflicts),
        ("refused", applied.refused),
    ] {
        rows.extend(reasons.into_iter().map(|found| AppliedPath {
            change,
            path: found.path,
            why: Some(found.why),
        }));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_relative_path_is_on_this_machine() {
        let parts = |path: &str, dir: Option<&str>| {
            let dir = dir.map(PathBuf::from);
            let (path, dir) = source_and_destination(Some(path.to_owned()), dir);
            (path, dir.display().to_string())
        };
        assert_eq!(parts(".", None), (None, ".".to_owned()));
        assert_eq!(parts("./app", None), (None, "./app".to_owned()));
        assert_eq!(
            parts("/app", None),
            (Some("/app".to_owned()), ".".to_owned())
        );
        let both = (Some("app".to_owned()), "x".to_owned());
        assert_eq!(parts("app", Some("x")), both);
        assert_eq!(source_and_destination(None, None), (None, ".".into()));
    }
}
