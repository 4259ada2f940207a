//! Sending directories for tools: rules of access, progress, and the state store.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::Path;

use super::super::local_access::AccessRefusal;
use super::super::{Context, ToolError};
use crate::store::{hashes, uploads};
use crate::sync::{FileStamp, KnownHashes, Refusal, SyncError, SyncHost};

/// A tool call that sends files to a backend.
#[derive(Clone)]
pub(in super::super) struct ToolHost {
    cx: Context,
    /// The identity of the backend.
    backend: String,
}

impl ToolHost {
    pub(in super::super) fn new(cx: &Context, backend: &str) -> Self {
        Self {
            cx: cx.clone(),
            backend: backend.to_owned(),
        }
    }
}

impl SyncHost for ToolHost {
    type Failure = ToolError;

    fn check(&self, path: &Path, metadata: &Metadata) -> Result<(), Refusal> {
        let access = self.cx.session().local_access();
        access
            .check_metadata(path, metadata)
            .map_err(|refusal| match refusal {
                AccessRefusal::Outside => Refusal::Outside,
                AccessRefusal::Secret => Refusal::Credentials,
            })
    }

    fn progress(&self, message: &str) {
        self.cx.watcher().progress(message);
    }

    fn is_cancelled(&self) -> bool {
        self.cx.is_cancelled()
    }

    async fn cancelled(&self) {
        self.cx.cancelled().await;
    }

    async fn known_hashes(&self, root: Vec<u8>) -> KnownHashes {
        let store = self.cx.session().store();
        let known = store.read(move |c| hashes::hashes_below(c, &root)).await;
        known.unwrap_or_else(|error| {
            tracing::warn!("cannot read cached hashes: {error}");
            KnownHashes::new()
        })
    }

    async fn remember_hashes(
        &self,
        fresh: Vec<(Vec<u8>, FileStamp, String)>,
        removed: Vec<Vec<u8>>,
    ) {
        let written = self.cx.session().store().write(move |c| {
            for (path, stamp, sha256) in &fresh {
                hashes::insert(c, path, *stamp, sha256)?;
            }
            hashes::prune(c, &removed)
        });
        if let Err(error) = written.await {
            tracing::warn!("cannot cache hashes: {error}");
        }
    }

    async fn known_uploads(
        &self,
        wanted: Vec<String>,
    ) -> Result<BTreeMap<String, String>, ToolError> {
        let backend = self.backend.clone();
        let store = self.cx.session().store();
        let known =
            store.read(move |c| uploads::find_all(c, &backend, wanted.iter().map(String::as_str)));
        known.await.map_err(ToolError::from)
    }

    async fn remember_uploads(&self, sent: BTreeMap<String, String>) -> Result<(), ToolError> {
        let backend = self.backend.clone();
        let written = self.cx.session().store().write(move |c| {
            for (sha256, uuid) in &sent {
                uploads::insert(c, &backend, sha256, uuid)?;
            }
            Ok(())
        });
        written.await.map_err(ToolError::from)
    }
}

impl From<SyncError> for ToolError {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Cancelled => Self::cancelled("the call was cancelled"),
            SyncError::Pattern(error) => Self::invalid_because("`exclude`", error).with_hint(
                "Use patterns as in .gitignore: `*.log`, `build/`, `/only/here`, `!keep`.",
            ),
            SyncError::LineBreak(pattern) => Self::invalid(format!(
                "`exclude`: the pattern {pattern:?} contains a line break"
            ))
            .with_hint("Give each pattern as an element of its own."),
            SyncError::Patterns(error) => Self::invalid_because("`exclude`", error),
            SyncError::Local { path, source } => Self::local_file(&path, source),
            error @ (SyncError::NotAFile(_) | SyncError::Name(_)) => {
                Self::unusable_file(error.to_string())
            }
            SyncError::Task { context, source } => Self::internal(context, source),
        }
    }
}
