//! Sends a directory to the backend, for `run` to place in sandboxes.

mod directory_state;
mod gitignore;
mod hash;
mod send;
mod skipped;
mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ring::digest::{Context as Hasher, SHA256};

use super::results::Rsync;
use super::{Context, ToolError, params};
use crate::store::states::{self, StateFile};
use crate::store::uploads;
use hash::HashedFile;
use send::LocalContent;
use skipped::{SkipReason, SkippedPaths};
use walk::{FoundFile, FoundFiles, WalkRules};

pub(super) use directory_state::DirectoryState;
pub(super) use hash::{digest, hex};
pub(super) use walk::executable;

/// Attempts to send a directory that changes meanwhile.
const MAX_ATTEMPTS: usize = 3;

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
    let source = cx
        .session()
        .local_access()
        .resolved("source", &source_path)?;
    let client = cx.client().await?;
    let backend = client.backend().identity();

    let mut uploaded = 0;
    let mut tries = 0;
    let (hashed, skipped) = loop {
        tries += 1;
        cx.watcher().progress("reading the directory");
        let walked = read(&source, &exclude, gitignore, cx).await?;
        let mut skipped = walked.skipped;
        let mut hashed = hash::hash(&source, walked.files, &mut skipped, cx).await?;
        let sent = send::send(cx, client, missing(cx, &backend, &hashed).await?).await?;
        uploaded += sent.count;
        if sent.changed.is_empty() {
            break (hashed, skipped);
        }
        if tries == MAX_ATTEMPTS {
            hashed.retain(|file| {
                let was_sent = !sent.changed.contains(&file.sha256);
                if !was_sent {
                    skipped.add(Path::new(&file.found.relative), SkipReason::Changed);
                }
                was_sent
            });
            break (hashed, skipped);
        }
    };
    let bytes = hashed
        .iter()
        .map(|file| u64::try_from(file.found.stamp.size).unwrap_or_default())
        .sum();
    let count = hashed.len() as u64;
    let id = store_state(cx, backend, &source, &destination, hashed).await?;
    Ok(Rsync {
        directory_state_id: id,
        files: count,
        bytes,
        uploaded,
        skipped: skipped.named,
        skipped_counts: skipped.counts,
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

async fn read(
    source: &Path,
    patterns: &[String],
    gitignore: bool,
    cx: &Context,
) -> Result<FoundFiles, ToolError> {
    let (source, patterns, cx) = (source.to_owned(), patterns.to_vec(), cx.clone());
    let walk = move || {
        let metadata =
            std::fs::metadata(&source).map_err(|error| ToolError::local_file(&source, error))?;
        if metadata.is_dir() {
            let excludes = walk::compile_excludes(&source, &patterns)?;
            let rules = WalkRules {
                excludes: &excludes,
                gitignore,
                access: cx.session().local_access(),
            };
            return walk::walk(&source, &rules, &cx);
        }
        if !metadata.is_file() {
            return Err(ToolError::unusable_file(format!(
                "{} is neither a directory nor a regular file; `source` needs one of them",
                source.display()
            )));
        }
        cx.session()
            .local_access()
            .check_file("source", &source, &metadata)?;
        let name = source.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| {
            ToolError::unusable_file(format!(
                "the name of {} is not UTF-8; rename the file",
                source.display()
            ))
        })?;
        Ok(FoundFiles {
            files: vec![FoundFile {
                relative: name.to_owned(),
                stamp: walk::stamp(&metadata),
                executable: executable(&metadata),
                path: source.clone(),
            }],
            skipped: SkippedPaths::default(),
        })
    };
    tokio::task::spawn_blocking(walk)
        .await
        .map_err(|error| ToolError::internal("reading the directory failed", error))?
}

/// Returns the contents that the backend is not known to store, each once.
async fn missing(
    cx: &Context,
    backend: &str,
    hashed: &[HashedFile],
) -> Result<Vec<LocalContent>, ToolError> {
    let mut contents: BTreeMap<String, (u64, PathBuf)> = BTreeMap::new();
    for file in hashed {
        contents.entry(file.sha256.clone()).or_insert_with(|| {
            (
                u64::try_from(file.found.stamp.size).unwrap_or_default(),
                file.found.path.clone(),
            )
        });
    }
    let backend = backend.to_owned();
    cx.session()
        .store()
        .read(move |c| {
            let known = uploads::find_all(c, &backend, contents.keys().map(String::as_str))?;
            Ok(contents
                .into_iter()
                .filter(|(sha256, _)| !known.contains_key(sha256))
                .map(|(sha256, (size, path))| LocalContent { sha256, size, path })
                .collect())
        })
        .await
        .map_err(ToolError::from)
}

/// Stores a directory state and returns its id.
async fn store_state(
    cx: &Context,
    backend: String,
    source: &Path,
    destination: &str,
    hashed: Vec<HashedFile>,
) -> Result<i64, ToolError> {
    let is_file = source.is_file();
    let target = |relative: &str| match (is_file, destination.ends_with('/')) {
        // A single file goes to `destination` itself, or into it if it ends in a slash.
        (true, false) => destination.to_owned(),
        (_, true) => format!("{destination}{relative}"),
        (false, false) => format!("{destination}/{relative}"),
    };
    let files: Vec<StateFile> = hashed
        .into_iter()
        .map(|file| StateFile {
            path: target(&file.found.relative),
            sha256: file.sha256,
            executable: file.found.executable,
            source: file.found.path.to_string_lossy().into_owned(),
        })
        .collect();
    let source = source.to_string_lossy().into_owned();
    let written = cx.session().store().write_durably(move |c| {
        let files = serde_json::to_vec(&files).unwrap_or_default();
        let mut digest = Hasher::new(&SHA256);
        digest.update(source.as_bytes());
        digest.update(&[0]);
        digest.update(&files);
        states::insert(c, &backend, &hex(digest.finish().as_ref()), &source, &files)
    });
    written.await.map_err(ToolError::from)
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
