//! Sends a directory to the backend, for `run` to place in sandboxes.

mod directory_state;
mod host;

use std::path::Path;

use ring::digest::{Context as Hasher, SHA256};
use uuid::Uuid;

use super::apply::nearest_state;
use super::results::{Rsync, SkippedPath};
use super::{Context, Session, ToolError, params};
use crate::store::states::{self, StateFile, StoredDirectoryState};
use crate::store::{placements, uploads};
use crate::sync::{
    EXTENSION, Excludes, OtherKind, PlacedPath, SkipReason, SyncedFiles, hex, removals,
};

pub(super) use directory_state::DirectoryState;
pub(super) use host::ToolHost;

/// Sends the files that the backend lacks and stores a directory state.
pub(super) async fn rsync(arguments: params::Rsync, cx: &Context) -> Result<Rsync, ToolError> {
    let params::Rsync {
        source,
        destination: wanted,
        exclude,
        gitignore,
    } = arguments;
    let source_path = super::paths::local_path("source", &source)?;
    let destination = destination(&wanted)?;
    let access = cx.session().local_access();
    let source = access.resolved("source", &source_path)?;
    if let Ok(metadata) = std::fs::metadata(&source)
        && metadata.is_file()
    {
        access.check_file("source", &source, &metadata)?;
    }
    let client = cx.client().await?;
    let backend = client.backend().identity();
    let host = ToolHost::new(cx, &backend);
    let exclude = Excludes {
        patterns: exclude,
        gitignore,
    };
    let mut synced = crate::sync::sync(&host, client, &source, &exclude).await?;
    let bytes = synced
        .files
        .iter()
        .map(|file| u64::try_from(file.found.stamp.size).unwrap_or_default())
        .sum();
    let count = synced.files.len() as u64;
    let is_link = |kind: &OtherKind| matches!(kind, OtherKind::Symlink { .. });
    let links = synced
        .others
        .iter()
        .filter(|other| is_link(&other.kind))
        .count();
    let directories = synced.others.len() - links;
    let (id, gone) = store_state(cx, backend, &source, &destination, &synced).await?;
    let mut removed = gone.len() as u64;
    if removed > 0 && !client.has_extension(EXTENSION).await? {
        for path in &gone {
            synced.skipped.add(Path::new(path), SkipReason::GoneHere);
        }
        removed = 0;
    }
    let skipped = synced.skipped.named.into_iter().map(|path| SkippedPath {
        path: path.path,
        reason: path.reason,
    });
    Ok(Rsync {
        directory_state_id: id,
        files: count,
        bytes,
        uploaded: synced.uploaded,
        links: links as u64,
        directories: directories as u64,
        removed,
        skipped: skipped.collect(),
        skipped_counts: synced.skipped.counts,
    })
}

/// Normalises the destination in the sandbox. A trailing slash is kept.
fn destination(path: &str) -> Result<String, ToolError> {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if !path.starts_with('/') || parts.contains(&"..") {
        return Err(ToolError::invalid(format!(
            "`destination` must be an absolute path in the sandbox without `..`, not `{path}`"
        )));
    }
    let slash = if path.ends_with('/') { "/" } else { "" };
    Ok(match parts.is_empty() {
        true => "/".to_owned(),
        false => format!("/{}{slash}", parts.join("/")),
    })
}

/// Stores a directory state. Returns its id, and the paths below the source that are gone since it
/// was sent last.
async fn store_state(
    cx: &Context,
    backend: String,
    source: &Path,
    destination: &str,
    synced: &SyncedFiles,
) -> Result<(i64, Vec<String>), ToolError> {
    let is_file = source.is_file();
    let target = |relative: &str| match (is_file, destination.ends_with('/')) {
        // A single file goes to `destination` itself, or into it if it ends in a slash.
        (true, false) => destination.to_owned(),
        (_, true) => format!("{destination}{relative}"),
        (false, false) => format!("{destination}/{relative}"),
    };
    let files = synced.files.iter().map(|file| StateFile {
        path: target(&file.found.relative),
        sha256: file.sha256.clone(),
        executable: file.found.mode & 0o111 != 0,
        mode: Some(file.found.mode),
        is_directory: false,
        target: None,
        source: file.found.path.to_string_lossy().into_owned(),
    });
    let others = synced.others.iter().map(|other| {
        let (mode, link) = match &other.kind {
            OtherKind::Directory { mode, .. } => (Some(*mode), None),
            OtherKind::Symlink { target } => (None, Some(target.clone())),
        };
        StateFile {
            path: target(&other.relative),
            sha256: String::new(),
            executable: false,
            mode,
            is_directory: link.is_none(),
            target: link,
            source: other.path.to_string_lossy().into_owned(),
        }
    });
    let files: Vec<StateFile> = files.chain(others).collect();
    let root = (!is_file).then(|| destination.trim_end_matches('/').to_owned());
    let real_source = source.to_owned();
    let source = source.to_string_lossy().into_owned();
    let written = cx.session().store().write_durably(move |c| {
        let encoded = serde_json::to_vec(&files).unwrap_or_default();
        let digest = state_digest(&source, root.as_deref(), &encoded);
        let before = match &root {
            Some(root) => states::newest(c, &backend, &source, root)?,
            None => None,
        };
        let id = states::insert(c, &backend, &digest, &source, root.as_deref(), &encoded)?;
        Ok((id, before.map(|before| before.files), files, root))
    });
    let (id, before, files, root) = written.await.map_err(ToolError::from)?;
    let (Some(before), Some(root)) = (before, root) else {
        return Ok((id, Vec::new()));
    };
    let compare = move || {
        let gone = removals(placed(&before), placed(&files), &root, &real_source);
        let below = |path: &String| path[root.len()..].trim_start_matches('/').to_owned();
        gone.iter().map(below).collect()
    };
    let gone = contree_tasks::blocking(compare).await;
    let gone = gone.map_err(|error| ToolError::internal("comparing the states failed", error))?;
    Ok((id, gone))
}

/// The paths that a directory state places.
fn placed(files: &[StateFile]) -> impl Iterator<Item = PlacedPath<'_>> {
    files.iter().map(|file| PlacedPath {
        path: &file.path,
        is_directory: file.is_directory,
    })
}

/// The files that a run of the command line placed.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlacedFiles {
    pub(crate) files: Vec<StateFile>,
    /// The uploads of their contents, by hash.
    pub(crate) uploads: Vec<(String, Uuid)>,
    /// The paths in the sandbox that it removed before.
    pub(crate) removed: Vec<String>,
}

/// Remembers the files of local directories that a run of the command line placed, as the base on
/// which `apply` compares. `destination` is the path of a single directory.
pub(crate) async fn remember_placed(
    session: &Session,
    backend: String,
    operation: Uuid,
    source: String,
    destination: Option<String>,
    placed: PlacedFiles,
) -> Result<(), ToolError> {
    let PlacedFiles {
        files,
        uploads,
        removed,
    } = placed;
    let written = session.store().write_durably(move |c| {
        for (sha256, uuid) in &uploads {
            uploads::insert(c, &backend, sha256, &uuid.to_string())?;
        }
        let encoded = serde_json::to_vec(&files).unwrap_or_default();
        let root = destination.as_deref();
        let digest = state_digest(&source, root, &encoded);
        let id = states::insert(c, &backend, &digest, &source, root, &encoded)?;
        placements::insert(c, &backend, &operation.to_string(), id, &removed)
    });
    Ok(written.await?)
}

/// The paths in a sandbox that an earlier run placed from the directory `source` below `root`, on
/// the way to an image, and that are gone from the directory since. `files` are those that are
/// placed now. Both directories are named by real paths, without a slash at the end.
///
/// # Errors
/// If the backend cannot be reached, or the store fails.
pub(crate) async fn gone_since_placed(
    cx: &Context,
    image: Uuid,
    source: &Path,
    root: &str,
    files: &[StateFile],
) -> Result<Vec<String>, ToolError> {
    let is_from_source = |file: &StateFile| {
        let below = file.path.strip_prefix(root);
        let below = below.and_then(|below| below.strip_prefix('/'));
        below.is_some_and(|below| source.join(below) == Path::new(&file.source))
    };
    let is_of_source = |state: &StoredDirectoryState| {
        state.destination.as_deref() == Some(root) && Path::new(&state.source) == source
    };
    let client = cx.client().await?;
    let before = nearest_state(cx, client, image, |state| {
        is_of_source(state) || state.files.iter().any(is_from_source)
    });
    let Some((before, _)) = before.await? else {
        return Ok(Vec::new());
    };
    let mut before = before.files;
    before.retain(is_from_source);
    let (after, root, source) = (files.to_vec(), root.to_owned(), source.to_owned());
    let compare = move || removals(placed(&before), placed(&after), &root, &source);
    contree_tasks::blocking(compare)
        .await
        .map_err(|error| ToolError::internal("comparing the states failed", error))
}

/// The digest by which equal states are recognised.
fn state_digest(source: &str, destination: Option<&str>, files: &[u8]) -> String {
    let mut digest = Hasher::new(&SHA256);
    digest.update(source.as_bytes());
    digest.update(&[0]);
    digest.update(destination.unwrap_or_default().as_bytes());
    digest.update(&[0]);
    digest.update(files);
    hex(digest.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_absolute() {
        for (given, expected) in [
            ("/", "/"),
            ("/app", "/app"),
            ("/app/", "/app/"),
            ("//app/./x//", "/app/x/"),
        ] {
            assert_eq!(destination(given).unwrap(), expected);
        }
        for bad in ["", "app", "~/app", "/a/../b"] {
            assert!(destination(bad).is_err(), "{bad}");
        }
    }
}
