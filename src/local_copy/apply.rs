//! Applies the changes of an image to a local directory, as a merge of three sides.

use std::path::PathBuf;
use std::sync::Arc;

use contree_diff::MAX_TEXT_BYTES;
use uuid::Uuid;

use super::base::{Base, BaseFiles, image_content};
use super::local_tree::{Local, LocalTree};
use super::merge::merge;
use super::outcome::{Applied, Conflicts, PathReason, text};
use super::perform::{Done, perform};
use super::plan::{Action, ActionKind, Conflict, Plan, Sides};
use super::rules::WriteRules;
use super::staged_contents::stage;
use super::staging::Staging;
use super::tree::{Tree, tree_of};
use crate::client::{blocking, image_path};
use crate::{Client, Error};

/// A request to apply an image.
pub(crate) struct ApplyRequest {
    pub(crate) image: Uuid,
    /// The directory in the image.
    pub(crate) path: String,
    /// The real path of the local directory.
    pub(crate) destination: PathBuf,
    pub(crate) base: Base,
    pub(crate) conflicts: Conflicts,
    /// Whether texts that changed on both sides are merged if their changes do not overlap.
    pub(crate) merge: bool,
    pub(crate) dry_run: bool,
    pub(crate) rules: WriteRules,
}

/// Applies what changed between the base and the image to the local directory.
///
/// # Errors
/// If the image has no such directory, or a file cannot be read or written. Then some changes may
/// be done, each of them wholly, and a second call does the others.
pub(crate) async fn apply(client: &Client, request: ApplyRequest) -> Result<Applied, Error> {
    let path = image_path(&request.path)?;
    let rules = request.rules.clone();
    rules.progress("reading the image");
    let index = client.index(request.image, &path).await?;
    let theirs = match index {
        Some(index) => Some(blocking(move || tree_of(index).map_err(Error::other)).await?),
        None => None,
    };
    // Some archives have no entry of their root.
    let is_file = |tree: &Tree| tree.get(&b""[..]).is_some_and(|root| !root.is_directory());
    let Some(theirs) = theirs.filter(|tree| !is_file(tree)) else {
        return Err(Error::InvalidArgument(format!(
            "{} is not a directory of the image {}; give the directory whose changes to apply",
            path.display(),
            request.image
        )));
    };
    rules.progress("reading the base");
    let base = request.base.read(client, &path).await?;
    rules.progress("comparing");
    let theirs = Arc::new(theirs);
    let destination = request.destination.clone();
    let (plan, base, local) = blocking({
        let (theirs, rules, destination) =
            (Arc::clone(&theirs), rules.clone(), destination.clone());
        move || {
            let local = LocalTree::open(&destination).map_err(Error::io(&destination))?;
            let sides = Sides {
                base: &base.tree,
                has_exact_modes: base.has_exact_modes,
                theirs: &theirs,
                local: &local,
                rules: &rules,
            };
            let plan = sides.plan().map_err(Error::io(&destination))?;
            Ok((plan, base, local))
        }
    })
    .await?;
    let Plan {
        mut actions,
        mut conflicts,
        refused,
    } = plan;
    let mut applied = Applied {
        refused: reasons(refused),
        dry_run: request.dry_run,
        ..Applied::default()
    };
    if request.merge {
        let merging = Merging {
            client,
            image: request.image,
            root: &path,
            base: &base,
            theirs: &theirs,
            local: &local,
        };
        let mut left = Vec::new();
        for conflict in conflicts {
            match merging.merge(&conflict).await? {
                MergeOutcome::Write(merged) => {
                    applied.merged.push(text(&conflict.path));
                    actions.push(merged);
                }
                MergeOutcome::Unchanged => {}
                MergeOutcome::Impossible => left.push(conflict),
            }
        }
        conflicts = left;
    }
    let is_stopped = request.conflicts == Conflicts::Stop && !conflicts.is_empty();
    for conflict in conflicts {
        let take = conflict
            .theirs
            .filter(|_| request.conflicts == Conflicts::Theirs);
        match take {
            Some(kind) => actions.push(Action {
                path: conflict.path.clone(),
                expected: conflict.ours,
                kind,
            }),
            None => applied.kept.push(text(&conflict.path)),
        }
        applied.conflicts.push(PathReason {
            path: text(&conflict.path),
            why: conflict.why,
        });
    }
    actions.sort_by(|a, b| a.path.cmp(&b.path));
    let done = if is_stopped || actions.is_empty() {
        if is_stopped {
            applied.merged.clear();
        }
        Done::default()
    } else if request.dry_run {
        planned(&actions)
    } else {
        let create = move || Staging::create_in(&destination).map_err(Error::io(&destination));
        let staging = blocking(create).await?;
        rules.progress("fetching changed files");
        let staging = stage(client, request.image, &path, &theirs, &actions, staging).await?;
        rules.progress("writing");
        perform(local, staging, actions, rules).await?
    };
    applied.written = texts(done.written);
    applied.removed = texts(done.removed);
    applied.kept.extend(texts(done.kept));
    applied
        .kept
        .extend(done.changed.iter().map(|path| text(path)));
    applied
        .conflicts
        .extend(done.changed.iter().map(|path| PathReason {
            path: text(path),
            why: "it changed here during this call, so it was not written".to_owned(),
        }));
    applied.kept.sort();
    applied.conflicts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(applied)
}

/// The result of merging the texts of a conflict.
enum MergeOutcome {
    /// The local file becomes the merged text.
    Write(Action),
    /// The local file already has the merged text.
    Unchanged,
    /// The changes overlap, or a side is not a text that can be read.
    Impossible,
}

/// The three sides of texts that are merged.
struct Merging<'a> {
    client: &'a Client,
    image: Uuid,
    root: &'a std::path::Path,
    base: &'a BaseFiles,
    theirs: &'a Tree,
    local: &'a LocalTree,
}

impl Merging<'_> {
    /// Merges the texts of a file.
    async fn merge(&self, conflict: &Conflict) -> Result<MergeOutcome, Error> {
        let path = &conflict.path;
        let (Some(base), Some(theirs)) = (self.base.tree.get(path), self.theirs.get(path)) else {
            return Ok(MergeOutcome::Impossible);
        };
        let Local::Entry(ours) = &conflict.ours else {
            return Ok(MergeOutcome::Impossible);
        };
        let is_large = |size: u64| size > MAX_TEXT_BYTES;
        if !conflict.is_mergeable || is_large(theirs.size) || is_large(ours.size) {
            return Ok(MergeOutcome::Impossible);
        }
        let client = self.client;
        let base_text = self.base.content(client, self.image, self.root, path);
        let Some(base_text) = base_text.await? else {
            return Ok(MergeOutcome::Impossible);
        };
        let theirs_text = image_content(client, self.image, self.root, path).await?;
        let Some(theirs_text) = theirs_text else {
            return Ok(MergeOutcome::Impossible);
        };
        let shown = self.local.absolute(path);
        let read = || {
            let mut text = Vec::new();
            let file = self.local.open_file(path)?;
            let mut file = std::io::Read::take(file, MAX_TEXT_BYTES + 1);
            std::io::Read::read_to_end(&mut file, &mut text)?;
            Ok(text)
        };
        let ours_text = read().map_err(Error::io(&shown))?;
        let Some(text) = merge(&base_text, &ours_text, &theirs_text) else {
            return Ok(MergeOutcome::Impossible);
        };
        let mode = match theirs.has_mode_of(base) {
            true => ours.mode,
            false => theirs.mode,
        };
        let is_done = text == ours_text && mode == ours.mode;
        Ok(match is_done {
            true => MergeOutcome::Unchanged,
            false => MergeOutcome::Write(Action {
                path: path.clone(),
                expected: conflict.ours.clone(),
                kind: ActionKind::WriteText { text, mode },
            }),
        })
    }
}

/// The result that performing the actions would have.
fn planned(actions: &[Action]) -> Done {
    let mut done = Done::default();
    for action in actions {
        let paths = match action.kind {
            ActionKind::Remove | ActionKind::RemoveDirectory => &mut done.removed,
            _ => &mut done.written,
        };
        paths.push(action.path.clone());
    }
    done
}

fn texts(paths: Vec<Vec<u8>>) -> Vec<String> {
    paths.iter().map(|path| text(path)).collect()
}

fn reasons(paths: Vec<(Vec<u8>, String)>) -> Vec<PathReason> {
    let reason = |(path, why): (Vec<u8>, String)| PathReason {
        path: text(&path),
        why,
    };
    paths.into_iter().map(reason).collect()
}
