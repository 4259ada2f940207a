//! Sends contents that a backend does not store yet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use futures_util::StreamExt as _;

use super::error::SyncError;
use super::hash::open_without_links;
use super::host::SyncHost;
use crate::{Client, Error};

/// Uploads that run concurrently.
const CONCURRENCY: usize = 12;
/// Size in bytes up to which contents are sent without first asking the backend for them.
const MAX_SIZE_WITHOUT_LOOKUP: u64 = 16 * 1024;
/// Maximum number of uploads that are not yet recorded. A cancelled call thus loses few records.
const MAX_UNRECORDED: usize = 100;

/// A content, and a local file that has it.
#[derive(Clone, Debug)]
pub(crate) struct LocalContent {
    pub(crate) sha256: String,
    pub(crate) size: u64,
    pub(crate) path: PathBuf,
}

/// Result of sending contents.
#[derive(Debug, Default)]
pub(crate) struct SentContents {
    /// Number of contents sent.
    pub(crate) count: u64,
    /// Hashes of contents whose file had changed or could not be read.
    pub(crate) changed: BTreeSet<String>,
}

/// Sends each content once, and records the uploads.
///
/// # Errors
/// If the backend refuses or cannot be reached. Earlier uploads are recorded.
pub(crate) async fn send<H: SyncHost>(
    host: &H,
    client: &Client,
    contents: Vec<LocalContent>,
) -> Result<SentContents, H::Failure> {
    let total = contents.len();
    let bytes: u64 = contents.iter().map(|content| content.size).sum();
    let mut uploads = futures_util::stream::iter(contents)
        .map(|content| async move {
            let path = content.path.clone();
            let open = move || open_without_links(&path);
            let look_up_first = content.size > MAX_SIZE_WITHOUT_LOOKUP;
            let stored = client
                .upload_with_hash(
                    open,
                    &content.path,
                    &content.sha256,
                    content.size,
                    look_up_first,
                )
                .await;
            (content, stored)
        })
        .buffer_unordered(CONCURRENCY);
    let mut sent = SentContents::default();
    let mut unrecorded = BTreeMap::new();
    let mut sent_bytes = 0u64;
    let ended = loop {
        let next = tokio::select! {
            biased;
            () = host.cancelled() => break Err(SyncError::Cancelled.into()),
            next = uploads.next() => next,
        };
        let Some((content, stored)) = next else {
            break Ok(());
        };
        match stored {
            Ok(file) => {
                sent.count += 1;
                sent_bytes += content.size;
                unrecorded.insert(content.sha256, file.uuid.to_string());
            }
            Err(Error::FileChanged { .. } | Error::Io { .. }) => {
                sent.changed.insert(content.sha256);
            }
            Err(error) => break Err(error.into()),
        }
        host.progress(&format!(
            "sent {} of {total} files, {sent_bytes} of {bytes} bytes",
            sent.count
        ));
        if unrecorded.len() >= MAX_UNRECORDED {
            host.remember_uploads(std::mem::take(&mut unrecorded))
                .await?;
        }
    };
    if !unrecorded.is_empty() {
        host.remember_uploads(unrecorded).await?;
    }
    ended.map(|()| sent)
}
