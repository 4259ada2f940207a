//! Takes the changes of an image home, and finds what `rsync` had sent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::results::{Apply, PathWhy};
use super::{Context, ToolError, image, lineage, params, paths, writing};
use crate::Client;
use crate::client::image_path;
use crate::local_copy::{
    self, Applied, ApplyRequest, Base, Conflicts, PathReason, SentEntry, SentKind,
};
use crate::store::states::{self, StateFile, StoredDirectoryState};
use crate::store::{placements, uploads};
use crate::types::ImageLogEntry;

/// Maximum number of paths that an answer names in each list.
const MAX_NAMED: usize = 1000;

/// Applies the changes of an image to a local directory.
pub(super) async fn apply(arguments: params::Apply, cx: &Context) -> Result<Apply, ToolError> {
    let params::Apply {
        image,
        path,
        destination,
        base,
        directory_state_id,
        conflicts,
        merge,
        dry_run,
    } = arguments;
    let destination = paths::local_path("destination", &destination)?;
    let access = cx.session().local_access();
    access.check_destination("destination", &destination)?;
    let destination = access.resolved_directory("destination", &destination)?;
    let path = image_path(&paths::path_in_image(&path))?;
    let path = path.to_string_lossy().into_owned();
    let client = cx.client().await?;
    let rules = writing::rules(cx);
    let applied = cx
        .unless_cancelled(async {
            let image = image::resolve(client, &image).await?;
            let base = match (base, directory_state_id) {
                (Some(_), Some(_)) => {
                    return Err(ToolError::invalid(
                        "give either `base` or `directory_state_id`, not both",
                    ));
                }
                (Some(base), None) => Base::Image(image::resolve(client, &base).await?),
                // No state has a larger id.
                (None, Some(id)) => {
                    let id = i64::try_from(id).unwrap_or(i64::MAX);
                    given_base(cx, client, image, &path, id).await?
                }
                (None, None) => found_base(cx, client, image, &path).await?,
            };
            let request = ApplyRequest {
                image,
                path,
                destination,
                base,
                conflicts: match conflicts {
                    params::ApplyConflicts::Stop => Conflicts::Stop,
                    params::ApplyConflicts::Skip => Conflicts::Skip,
                    params::ApplyConflicts::Theirs => Conflicts::Theirs,
                },
                merge,
                dry_run,
                rules,
            };
            Ok(local_copy::apply(client, request).await?)
        })
        .await?;
    let is_stop = conflicts == params::ApplyConflicts::Stop;
    let has_done = !applied.written.is_empty() || !applied.removed.is_empty();
    let stopped = is_stop && !applied.conflicts.is_empty() && !has_done;
    let mut answer = Apply {
        written: applied.written,
        merged: applied.merged,
        removed: applied.removed,
        kept: applied.kept,
        conflicts: reasons(applied.conflicts),
        refused: reasons(applied.refused),
        stopped,
        dry_run,
        counts: BTreeMap::new(),
    };
    answer.limit();
    Ok(answer)
}

/// The changes that the command line applies.
pub(crate) struct ChangesToApply {
    pub(crate) image: Uuid,
    /// The directory in the image; none for the one to which a run sent the local directory, else
    /// `fallback`.
    pub(crate) path: Option<String>,
    pub(crate) fallback: String,
    /// An existing directory of this machine.
    pub(crate) destination: PathBuf,
    /// The image whose files the local directory had, if the user gives it.
    pub(crate) base: Option<Uuid>,
    pub(crate) conflicts: Conflicts,
    pub(crate) merge: bool,
    pub(crate) dry_run: bool,
}

/// Applies the changes of an image to a local directory. Without a base, it is the directory that a
/// run on the way to the image sent, else the image from which this one was made.
pub(crate) async fn apply_changes(
    changes: ChangesToApply,
    cx: &Context,
) -> Result<Applied, ToolError> {
    let ChangesToApply {
        image,
        path,
        fallback,
        destination,
        base,
        conflicts,
        merge,
        dry_run,
    } = changes;
    let client = cx.client().await?;
    let path = match path {
        Some(path) => path,
        None => {
            let sent = nearest_state(cx, client, image, |state| {
                state.destination.is_some() && Path::new(&state.source) == destination
            });
            let sent = sent.await?.and_then(|(state, _)| state.destination);
            sent.unwrap_or(fallback)
        }
    };
    let path = image_path(&paths::path_in_image(&path))?;
    let path = path.to_string_lossy().into_owned();
    let base = match base {
        Some(base) => Base::Image(base),
        None => match nearest_state(cx, client, image, |state| concerns(state, &path)).await? {
            Some((state, made)) => sent_base(cx, client, &path, state, Some(made)).await?,
            None => match client.recorded_parent(image).await? {
                Some(parent) => Base::Image(parent),
                None => {
                    return Err(ToolError::not_found(format!(
                        "it is not known from which image {image} was made; --base IMAGE names the image whose files the directory had"
                    )));
                }
            },
        },
    };
    let request = ApplyRequest {
        image,
        path,
        destination,
        base,
        conflicts,
        merge,
        dry_run,
        rules: writing::rules(cx),
    };
    Ok(local_copy::apply(client, request).await?)
}

fn reasons(paths: Vec<PathReason>) -> Vec<PathWhy> {
    let reason = |found: PathReason| PathWhy {
        path: found.path,
        why: found.why,
    };
    paths.into_iter().map(reason).collect()
}

impl Apply {
    /// Shortens long lists, and counts them.
    fn limit(&mut self) {
        let mut counts = BTreeMap::new();
        let mut count = |name: &str, length: usize| {
            if length > MAX_NAMED {
                counts.insert(name.to_owned(), length as u64);
            }
        };
        count("written", self.written.len());
        count("merged", self.merged.len());
        count("removed", self.removed.len());
        count("kept", self.kept.len());
        count("conflicts", self.conflicts.len());
        count("refused", self.refused.len());
        for paths in [
            &mut self.written,
            &mut self.merged,
            &mut self.removed,
            &mut self.kept,
        ] {
            paths.truncate(MAX_NAMED);
        }
        self.conflicts.truncate(MAX_NAMED);
        self.refused.truncate(MAX_NAMED);
        self.counts = counts;
    }
}

/// The state with this id as the base.
async fn given_base(
    cx: &Context,
    client: &Client,
    image: Uuid,
    path: &str,
    id: i64,
) -> Result<Base, ToolError> {
    let backend = client.backend().identity();
    let store = cx.session().store();
    let found = store.read_durably(move |c| states::find(c, id)).await;
    let state = found
        .map_err(ToolError::from)?
        .filter(|state| state.backend == backend)
        .ok_or_else(|| {
            ToolError::not_found(format!(
                "there is no directory state {id} of the backend in use"
            ))
            .with_hint("Leave `directory_state_id` out, or give `base`: the image whose files the directory had.")
        })?;
    if !concerns(&state, path) {
        return Err(ToolError::invalid(format!(
            "directory state {id} has nothing below {path}; give its destination as `path`"
        )));
    }
    let placed = store.read_durably(move |c| placements::of_destination(c, &backend, None));
    let mut placed = placed.await.map_err(ToolError::from)?;
    placed.retain(|_, state| *state == id);
    let found = match placed.is_empty() {
        true => None,
        false => lineage::nearest_operation(cx, client, image, &placed).await?,
    };
    sent_base(cx, client, path, state, found.map(|(entry, _)| entry)).await
}

/// The state that was placed last on the way to the image as the base.
async fn found_base(
    cx: &Context,
    client: &Client,
    image: Uuid,
    path: &str,
) -> Result<Base, ToolError> {
    let found = nearest_state(cx, client, image, |state| concerns(state, path)).await?;
    if let Some((state, made)) = found {
        return sent_base(cx, client, path, state, Some(made)).await;
    }
    Err(ToolError::not_found(format!(
        "this server has no record of a directory that `rsync` sent to {path} on the way to image {image}"
    ))
    .with_hint(
        "Give `base`: the image whose files the local directory had. Or give `directory_state_id` of the sent directory.",
    ))
}

/// Finds the wanted state that was placed last on the way to the image, and the image of the run
/// that placed it.
pub(super) async fn nearest_state(
    cx: &Context,
    client: &Client,
    image: Uuid,
    is_wanted: impl Fn(&StoredDirectoryState) -> bool,
) -> Result<Option<(StoredDirectoryState, ImageLogEntry)>, ToolError> {
    let backend = client.backend().identity();
    let store = cx.session().store();
    let placed = store.read_durably(move |c| placements::of_destination(c, &backend, None));
    let mut placed = placed.await.map_err(ToolError::from)?;
    while !placed.is_empty() {
        let found = lineage::nearest_operation(cx, client, image, &placed).await?;
        let Some((entry, id)) = found else { break };
        let state = store.read_durably(move |c| states::find(c, id)).await;
        match state.map_err(ToolError::from)? {
            Some(state) if is_wanted(&state) => return Ok(Some((state, entry))),
            _ => placed.retain(|_, state| *state != id),
        }
    }
    Ok(None)
}

/// Whether a state has something at or below a path, or the path is below its destination.
fn concerns(state: &StoredDirectoryState, path: &str) -> bool {
    let is_below = |inner: &str, outer: &str| below(inner, outer).is_some();
    let destination = state.destination.as_deref();
    destination.is_some_and(|to| is_below(path, to))
        || state.files.iter().any(|file| is_below(&file.path, path))
}

/// The part of a path below a directory. It is empty for the directory itself.
fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(directory.trim_end_matches('/'))?;
    match rest.strip_prefix('/') {
        Some(below) => Some(below),
        None => rest.is_empty().then_some(rest),
    }
}

/// A sent state as the base. `made` is the image of the run that placed it, if there is one.
async fn sent_base(
    cx: &Context,
    client: &Client,
    path: &str,
    state: StoredDirectoryState,
    made: Option<ImageLogEntry>,
) -> Result<Base, ToolError> {
    let backend = client.backend().identity();
    let placed_on = made.as_ref().and_then(|made| made.parent_uuid);
    let mut removed = Vec::new();
    if let Some(operation) = made.and_then(|made| made.operation_uuid) {
        let backend = backend.clone();
        let operation = operation.to_string();
        let store = cx.session().store();
        let found = store.read_durably(move |c| placements::removed(c, &backend, &operation));
        removed = found.await.map_err(ToolError::from)?;
    }
    let hashes: Vec<String> = state.files.iter().map(|file| file.sha256.clone()).collect();
    let stored = cx.session().store().read(move |c| {
        let hashes = hashes.iter().filter(|hash| !hash.is_empty());
        uploads::find_all(c, &backend, hashes.map(String::as_str))
    });
    let stored = stored.await.map_err(ToolError::from)?;
    let has_exact_modes = state
        .files
        .iter()
        .all(|file| file.mode.is_some() || file.target.is_some());
    let entry = |file: &StateFile| {
        let path = below(&file.path, path).filter(|path| !path.is_empty())?;
        let upload = stored.get(&file.sha256);
        let kind = match &file.target {
            Some(target) => SentKind::Symlink {
                target: target.clone(),
            },
            None if file.is_directory => SentKind::Directory,
            None => SentKind::File {
                sha256: file.sha256.clone(),
                upload: upload.and_then(|uuid| uuid.parse().ok()),
            },
        };
        Some(SentEntry {
            path: path.to_owned(),
            kind,
            mode: file.placed_mode(),
        })
    };
    Ok(Base::Sent {
        entries: state.files.iter().filter_map(entry).collect(),
        placed_on,
        removed: removed
            .iter()
            .filter_map(|removed| below(removed, path))
            .filter(|below| !below.is_empty())
            .map(str::to_owned)
            .collect(),
        has_exact_modes,
    })
}
