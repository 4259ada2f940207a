//! A directory as it was sent, on its way into a sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use futures_util::StreamExt as _;
use uuid::Uuid;

use super::super::{Context, ToolError};
use super::hash::{digest, open_here};
use super::send::{LocalContent, send};
use crate::store::states::{self, StateFile};
use crate::store::{self, uploads};
use crate::types::InstanceFile;
use crate::{Client, Error};

/// How many contents are asked for at once.
const AT_ONCE: usize = 16;

/// A state, and what the backend has of it.
pub(in super::super) struct DirectoryState {
    id: i64,
    source: String,
    files: Vec<StateFile>,
    /// UUIDs by hash; what is missing here is not known to be there.
    uuids: BTreeMap<String, String>,
}

impl DirectoryState {
    /// The state with this id, complete on the backend as far as is known.
    pub(in super::super) async fn load(
        cx: &Context,
        client: &Client,
        id: i64,
    ) -> Result<Self, ToolError> {
        let backend = client.backend().identity();
        let store = cx.session().store();
        let found = store.read(move |c| states::find(c, id)).await;
        let found = found.map_err(ToolError::from)?.ok_or_else(|| {
            ToolError::not_found(format!("there is no directory state {id}"))
                .with_hint("`rsync(source=…, destination=…)` answers with the id to give here.")
        })?;
        if found.backend != backend {
            return Err(ToolError::invalid(format!(
                "directory state {id} belongs to the backend {}, and the one in use is {backend}",
                found.backend
            ))
            .with_hint(format!(
                "Send it to this one: `rsync(source={:?}, destination=…)`.",
                found.source
            )));
        }
        let mut state = Self {
            id,
            source: found.source,
            files: found.files,
            uuids: BTreeMap::new(),
        };
        state.look_up(cx, &backend).await?;
        if state
            .hashes()
            .iter()
            .any(|hash| !state.uuids.contains_key(*hash))
        {
            state.heal(cx, client).await?;
        }
        Ok(state)
    }

    async fn look_up(&mut self, cx: &Context, backend: &str) -> Result<(), ToolError> {
        let (id, backend) = (self.id, backend.to_owned());
        let hashes: Vec<String> = self.hashes().into_iter().map(str::to_owned).collect();
        self.uuids = cx
            .session()
            .store()
            .write(move |c| {
                states::touch(c, id)?;
                uploads::known(c, &backend, hashes.iter().map(String::as_str))
            })
            .await
            .map_err(ToolError::from)?;
        Ok(())
    }

    fn hashes(&self) -> BTreeSet<&str> {
        self.files.iter().map(|file| file.sha256.as_str()).collect()
    }

    /// The files as a run takes them.
    pub(in super::super) fn placed(&self) -> BTreeMap<String, InstanceFile> {
        let placed = self.files.iter().filter_map(|file| {
            let uuid: Uuid = self.uuids.get(&file.sha256)?.parse().ok()?;
            let mode = if file.executable { "0755" } else { "0644" };
            Some((
                file.path.clone(),
                InstanceFile {
                    uuid: Some(uuid),
                    mode: Some(mode.to_owned()),
                    gid: None,
                    uid: None,
                },
            ))
        });
        placed.collect()
    }

    /// Whether a message could be about a file of this state that the backend has lost.
    pub(in super::super) fn is_named(&self, message: &str) -> bool {
        let message = message.to_ascii_lowercase();
        message.contains("file")
            || self
                .uuids
                .values()
                .any(|uuid| message.contains(uuid.as_str()))
    }

    /// Whether a refusal could be for a file of this state that the backend has lost.
    pub(in super::super) fn may_have_lost(&self, error: &Error) -> bool {
        let refused = error.status().map(|status| status.as_u16());
        matches!(refused, Some(400 | 404 | 409 | 410 | 422 | 500))
            && self.is_named(&error.to_string())
    }

    /// Asks the backend for every content, and sends again what it has lost. Answers whether anything was amiss.
    ///
    /// # Errors
    /// If a lost content is not in its file any more.
    pub(in super::super) async fn heal(
        &mut self,
        cx: &Context,
        client: &Client,
    ) -> Result<bool, ToolError> {
        cx.watcher()
            .progress("looking for files that the backend has lost");
        let backend = client.backend().identity();
        let hashes: Vec<String> = self.hashes().into_iter().map(str::to_owned).collect();
        let begun = store::now();
        let mut asked = futures_util::stream::iter(hashes)
            .map(|sha256| async move {
                let found = client.find_file(&sha256).await;
                (sha256, found)
            })
            .buffer_unordered(AT_ONCE);
        let (mut there, mut lost) = (Vec::new(), BTreeSet::new());
        loop {
            let next = tokio::select! {
                biased;
                () = cx.cancelled() => return Err(ToolError::cancelled("cancelled")),
                next = asked.next() => next,
            };
            match next {
                None => break,
                Some((sha256, Ok(Some(file)))) => there.push((sha256, file.uuid.to_string())),
                Some((sha256, Ok(None))) => drop(lost.insert(sha256)),
                Some((_, Err(error))) => return Err(error.into()),
            }
        }
        drop(asked);
        let moved = there
            .iter()
            .any(|(sha256, uuid)| self.uuids.get(sha256) != Some(uuid));
        let (known, forgotten) = (there, lost.clone());
        let key = backend.clone();
        cx.session()
            .store()
            .write(move |c| {
                for sha256 in &forgotten {
                    uploads::forget(c, &key, sha256, begun)?;
                }
                for (sha256, uuid) in &known {
                    uploads::remember(c, &key, sha256, uuid)?;
                }
                Ok(())
            })
            .await
            .map_err(ToolError::from)?;
        if !lost.is_empty() {
            self.send_again(cx, client, &lost).await?;
        }
        self.look_up(cx, &backend).await?;
        let mut hashes = self.hashes().into_iter();
        if hashes.any(|hash| !self.uuids.contains_key(hash)) {
            return Err(ToolError::operation_failed(format!(
                "other calls have changed what is known of directory state {}; run it again",
                self.id
            )));
        }
        Ok(moved || !lost.is_empty())
    }

    async fn send_again(
        &self,
        cx: &Context,
        client: &Client,
        lost: &BTreeSet<String>,
    ) -> Result<(), ToolError> {
        let mut wanted: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for file in self.files.iter().filter(|file| lost.contains(&file.sha256)) {
            wanted
                .entry(file.sha256.clone())
                .or_default()
                .push(PathBuf::from(&file.source));
        }
        let work = cx.clone();
        let (contents, gone) = tokio::task::spawn_blocking(move || still_there(wanted, &work))
            .await
            .map_err(|error| ToolError::internal("hashing failed", error))?;
        let changed = if gone.is_empty() {
            send(cx, client, contents).await?.changed
        } else {
            gone
        };
        if changed.is_empty() {
            return Ok(());
        }
        Err(ToolError::operation_failed(format!(
            "the backend has lost {} content(s) of directory state {}, and {} of them cannot be sent again: their files \
             have changed or are gone",
            lost.len(),
            self.id,
            changed.len()
        ))
        .with_hint(format!(
            "Send the directory as it is now: `rsync(source={:?}, destination=…)`.",
            self.source
        )))
    }
}

/// For each content a file that still holds it; and the hashes of those that none holds.
fn still_there(
    wanted: BTreeMap<String, Vec<PathBuf>>,
    cx: &Context,
) -> (Vec<LocalContent>, BTreeSet<String>) {
    let (mut contents, mut gone) = (Vec::new(), BTreeSet::new());
    for (sha256, paths) in wanted {
        let holder = paths.into_iter().find_map(|path| {
            let file = open_here(&path).ok()?;
            let about = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
            cx.session().local().judge_file(&path, &about).ok()?;
            let (found, size) = digest(&file, cx).ok()?;
            (found == sha256).then_some((path, size))
        });
        match holder {
            Some((path, size)) => contents.push(LocalContent { sha256, size, path }),
            None => drop(gone.insert(sha256)),
        }
    }
    (contents, gone)
}
