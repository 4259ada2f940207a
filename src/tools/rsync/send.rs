//! Sending contents that a backend does not have yet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use futures_util::StreamExt as _;

use super::super::{Context, ToolError};
use super::hash::open_here;
use crate::store::uploads;
use crate::{Client, Error};

/// How many uploads run at once.
const AT_ONCE: usize = 12;
/// Contents of at most so many bytes are sent without asking first whether the backend has them.
const SMALL: u64 = 16 * 1024;
/// After so many uploads they are remembered, so that a call that is cancelled need not begin anew.
const STEP: usize = 100;

/// One content, and a file that holds it.
#[derive(Clone, Debug)]
pub(super) struct LocalContent {
    pub(super) sha256: String,
    pub(super) size: u64,
    pub(super) path: PathBuf,
}

/// What became of the contents.
#[derive(Debug, Default)]
pub(super) struct SentContents {
    /// How many were sent.
    pub(super) count: u64,
    /// The hashes of those whose file had another content when it was sent, or could not be read.
    pub(super) changed: BTreeSet<String>,
}

/// Sends each content once, and remembers which the backend has.
///
/// # Errors
/// If the backend refuses, or cannot be reached; what was sent until then is remembered.
pub(super) async fn send(
    cx: &Context,
    client: &Client,
    contents: Vec<LocalContent>,
) -> Result<SentContents, ToolError> {
    let backend = client.backend().identity();
    let total = contents.len();
    let bytes: u64 = contents.iter().map(|content| content.size).sum();
    let mut uploads = futures_util::stream::iter(contents)
        .map(|content| async move {
            let path = content.path.clone();
            let open = move || open_here(&path);
            let look = content.size > SMALL;
            let stored = client
                .upload_known(open, &content.path, &content.sha256, content.size, look)
                .await;
            (content, stored)
        })
        .buffer_unordered(AT_ONCE);
    let mut sent = SentContents::default();
    let mut fresh = BTreeMap::new();
    let mut done = 0u64;
    let ended = loop {
        let next = tokio::select! {
            biased;
            () = cx.cancelled() => break Err(ToolError::cancelled("cancelled")),
            next = uploads.next() => next,
        };
        let Some((content, stored)) = next else {
            break Ok(());
        };
        match stored {
            Ok(file) => {
                sent.count += 1;
                done += content.size;
                fresh.insert(content.sha256, file.uuid.to_string());
            }
            Err(Error::FileChanged { .. } | Error::Io { .. }) => {
                sent.changed.insert(content.sha256);
            }
            Err(error) => break Err(error.into()),
        }
        cx.watcher().progress(&format!(
            "sent {} of {total} contents, {done} of {bytes} bytes",
            sent.count
        ));
        if fresh.len() >= STEP {
            remember(cx, &backend, std::mem::take(&mut fresh)).await?;
        }
    };
    remember(cx, &backend, fresh).await?;
    ended.map(|()| sent)
}

async fn remember(
    cx: &Context,
    backend: &str,
    fresh: BTreeMap<String, String>,
) -> Result<(), ToolError> {
    if fresh.is_empty() {
        return Ok(());
    }
    let backend = backend.to_owned();
    cx.session()
        .store()
        .write(move |c| {
            for (sha256, uuid) in &fresh {
                uploads::remember(c, &backend, sha256, uuid)?;
            }
            Ok(())
        })
        .await
        .map_err(ToolError::from)
}
