//! Sends a directory to the backend, for `run` to place in sandboxes.

mod directory_state;
mod host;

use std::path::Path;

use ring::digest::{Context as Hasher, SHA256};

use super::results::{Rsync, SkippedPath};
use super::{Context, ToolError, params};
use crate::store::states::{self, StateFile};
use crate::sync::{Excludes, HashedFile, hex};

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
    let synced = crate::sync::sync(&host, client, &source, &exclude).await?;
    let bytes = synced
        .files
        .iter()
        .map(|file| u64::try_from(file.found.stamp.size).unwrap_or_default())
        .sum();
    let count = synced.files.len() as u64;
    let id = store_state(cx, backend, &source, &destination, synced.files).await?;
    let skipped = synced.skipped.named.into_iter().map(|path| SkippedPath {
        path: path.path,
        reason: path.reason,
    });
    Ok(Rsync {
        directory_state_id: id,
        files: count,
        bytes,
        uploaded: synced.uploaded,
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
