//! Directory states: loads one for a run, and restores files that the backend has lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use futures_util::StreamExt as _;
use uuid::Uuid;

use super::super::{Context, ToolError, lineage};
use super::host::ToolHost;
use super::placed;
use crate::store::states::{self, StateFile};
use crate::store::{self, placements, uploads};
use crate::sync::{
    EXTENSION, LocalContent, SyncHost as _, absent, digest, octal, open_without_links, removals,
    send,
};
use crate::types::InstanceFile;
use crate::{Client, Error, ImageRef};

/// Lookups of files at the backend that run concurrently.
const CONCURRENCY: usize = 16;

/// A directory state, with the uploads that the backend stores for it.
pub(in super::super) struct DirectoryState {
    id: i64,
    source: String,
    destination: Option<String>,
    files: Vec<StateFile>,
    /// Upload UUIDs by hash. Uploads without an entry are not known to exist.
    uuids: BTreeMap<String, String>,
}

impl DirectoryState {
    /// Loads the state with this id. Unknown uploads are looked up at the backend, and lost ones
    /// are sent again.
    pub(in super::super) async fn load(
        cx: &Context,
        client: &Client,
        id: i64,
    ) -> Result<Self, ToolError> {
        let backend = client.backend().identity();
        let store = cx.session().store();
        let found = store.read_durably(move |c| states::find(c, id)).await;
        let found = found.map_err(ToolError::from)?.ok_or_else(|| {
            ToolError::not_found(format!("there is no directory state {id}"))
                .with_hint("Call `rsync(source=…, destination=…)` and pass the id that it returns.")
        })?;
        if found.backend != backend {
            return Err(ToolError::invalid(format!(
                "directory state {id} belongs to the backend {}, but the backend in use is {backend}",
                found.backend
            ))
            .with_hint(format!(
                "Send the directory to the backend in use: `rsync(source={:?}, destination=…)`.",
                found.source
            )));
        }
        let mut state = Self {
            id,
            source: found.source,
            destination: found.destination,
            files: found.files,
            uuids: BTreeMap::new(),
        };
        state.load_uuids(cx, &backend).await?;
        if state
            .hashes()
            .iter()
            .any(|hash| !state.uuids.contains_key(*hash))
        {
            state.restore_uploads(cx, client).await?;
        }
        Ok(state)
    }

    /// Reads the UUIDs of known uploads from the store, and sets the state's time of use.
    async fn load_uuids(&mut self, cx: &Context, backend: &str) -> Result<(), ToolError> {
        let (id, backend) = (self.id, backend.to_owned());
        let hashes: Vec<String> = self.hashes().into_iter().map(str::to_owned).collect();
        self.uuids = cx
            .session()
            .store()
            .write(move |c| {
                states::touch(c, id)?;
                uploads::find_all(c, &backend, hashes.iter().map(String::as_str))
            })
            .await
            .map_err(ToolError::from)?;
        Ok(())
    }

    fn hashes(&self) -> BTreeSet<&str> {
        let hashes = self.files.iter().map(|file| file.sha256.as_str());
        hashes.filter(|hash| !hash.is_empty()).collect()
    }

    /// Returns the files as a run's request takes them.
    pub(in super::super) fn run_files(&self) -> BTreeMap<String, InstanceFile> {
        let run_files = self.files.iter().filter_map(|file| {
            if let Some(other) = file.other() {
                return Some((file.path.clone(), other.to_place()));
            }
            let uuid: Uuid = self.uuids.get(&file.sha256)?.parse().ok()?;
            Some((
                file.path.clone(),
                InstanceFile {
                    uuid: Some(uuid),
                    mode: Some(octal(file.placed_mode())),
                    gid: None,
                    uid: None,
                    x_kind: None,
                    x_target: None,
                },
            ))
        });
        run_files.collect()
    }

    /// Returns the paths to be removed from an image before this state is placed.
    ///
    /// The nearest state of the same destination on the way to the image has placed them, and they
    /// are gone here since.
    pub(in super::super) async fn removals(
        &self,
        cx: &Context,
        client: &Client,
        image: &ImageRef,
    ) -> Result<BTreeMap<String, InstanceFile>, ToolError> {
        let Some(destination) = self.destination.clone() else {
            return Ok(BTreeMap::new());
        };
        let Some(before) = self.placed_before(cx, client, image, &destination).await? else {
            return Ok(BTreeMap::new());
        };
        let (after, source) = (self.files.clone(), PathBuf::from(&self.source));
        let compare = move || removals(placed(&before), placed(&after), &destination, &source);
        let gone = contree_tasks::blocking(compare)
            .await
            .map_err(|error| ToolError::internal("comparing the states failed", error))?;
        let absent = |path| (path, absent());
        Ok(gone.into_iter().map(absent).collect())
    }

    /// The files of the nearest other state of this destination on the way to an image.
    async fn placed_before(
        &self,
        cx: &Context,
        client: &Client,
        image: &ImageRef,
        destination: &str,
    ) -> Result<Option<Vec<StateFile>>, ToolError> {
        let store = cx.session().store();
        let (backend, wanted) = (client.backend().identity(), destination.to_owned());
        let placed =
            store.read_durably(move |c| placements::of_destination(c, &backend, Some(&wanted)));
        let placed = placed.await.map_err(ToolError::from)?;
        if placed.is_empty() || !client.has_extension(EXTENSION).await? {
            return Ok(None);
        }
        let Some(image) = client.resolve(image).await?.uuid else {
            return Ok(None);
        };
        let found = lineage::nearest_operation(cx, client, image, &placed).await?;
        let Some((_, id)) = found.filter(|(_, id)| *id != self.id) else {
            return Ok(None);
        };
        let before = store.read_durably(move |c| states::find(c, id)).await;
        Ok(before.map_err(ToolError::from)?.map(|before| before.files))
    }

    /// Reports whether a message may be about a lost upload of this state.
    pub(in super::super) fn may_concern(&self, message: &str) -> bool {
        let message = message.to_ascii_lowercase();
        message.contains("file")
            || self
                .uuids
                .values()
                .any(|uuid| message.contains(uuid.as_str()))
    }

    /// Reports whether the backend may have refused a request because an upload of this state is
    /// lost.
    pub(in super::super) fn may_have_lost(&self, error: &Error) -> bool {
        let refused = error.status().map(|status| status.as_u16());
        matches!(refused, Some(400 | 404 | 409 | 410 | 422 | 500))
            && self.may_concern(&error.to_string())
    }

    /// Looks up every upload at the backend, and sends lost ones again. Returns whether anything
    /// had changed.
    ///
    /// # Errors
    /// If the file of a lost upload has changed or is missing.
    pub(in super::super) async fn restore_uploads(
        &mut self,
        cx: &Context,
        client: &Client,
    ) -> Result<bool, ToolError> {
        cx.watcher()
            .progress("checking which files the backend has lost");
        let backend = client.backend().identity();
        let hashes: Vec<String> = self.hashes().into_iter().map(str::to_owned).collect();
        let checked_at = store::now();
        let mut lookups = futures_util::stream::iter(hashes)
            .map(|sha256| async move {
                let found = client.find_file(&sha256).await;
                (sha256, found)
            })
            .buffer_unordered(CONCURRENCY);
        let (mut stored, mut lost) = (Vec::new(), BTreeSet::new());
        loop {
            let next = tokio::select! {
                biased;
                () = cx.cancelled() => return Err(ToolError::cancelled("the call was cancelled")),
                next = lookups.next() => next,
            };
            match next {
                None => break,
                Some((sha256, Ok(Some(file)))) => stored.push((sha256, file.uuid.to_string())),
                Some((sha256, Ok(None))) => drop(lost.insert(sha256)),
                Some((_, Err(error))) => return Err(error.into()),
            }
        }
        drop(lookups);
        let changed = stored
            .iter()
            .any(|(sha256, uuid)| self.uuids.get(sha256) != Some(uuid));
        let (known, lost_hashes) = (stored, lost.clone());
        let key = backend.clone();
        cx.session()
            .store()
            .write(move |c| {
                for sha256 in &lost_hashes {
                    uploads::delete(c, &key, sha256, checked_at)?;
                }
                for (sha256, uuid) in &known {
                    uploads::insert(c, &key, sha256, uuid)?;
                }
                Ok(())
            })
            .await
            .map_err(ToolError::from)?;
        if !lost.is_empty() {
            self.resend(cx, client, &lost).await?;
        }
        self.load_uuids(cx, &backend).await?;
        let mut hashes = self.hashes().into_iter();
        if hashes.any(|hash| !self.uuids.contains_key(hash)) {
            return Err(ToolError::operation_failed(format!(
                "other calls changed the uploads of directory state {} meanwhile; run the command again",
                self.id
            )));
        }
        Ok(changed || !lost.is_empty())
    }

    async fn resend(
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
        let host = ToolHost::new(cx, &client.backend().identity());
        let hashing_host = host.clone();
        let (contents, missing) =
            contree_tasks::blocking(move || find_sources(wanted, &hashing_host))
                .await
                .map_err(|error| ToolError::internal("hashing failed", error))?;
        let unavailable = if missing.is_empty() {
            send(&host, client, contents).await?.changed
        } else {
            missing
        };
        if unavailable.is_empty() {
            return Ok(());
        }
        Err(ToolError::operation_failed(format!(
            "the backend has lost {} file(s) of directory state {}, and {} of them cannot be sent again: the local files \
             have changed or are missing",
            lost.len(),
            self.id,
            unavailable.len()
        ))
        .with_hint(format!(
            "Send the directory in its present state: `rsync(source={:?}, destination=…)`.",
            self.source
        )))
    }
}

/// Finds a local file for each hash. Also returns the hashes without a file.
fn find_sources(
    wanted: BTreeMap<String, Vec<PathBuf>>,
    host: &ToolHost,
) -> (Vec<LocalContent>, BTreeSet<String>) {
    let (mut contents, mut missing) = (Vec::new(), BTreeSet::new());
    for (sha256, paths) in wanted {
        let source = paths.into_iter().find_map(|path| {
            let file = open_without_links(&path).ok()?;
            let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
            host.check(&path, &metadata).ok()?;
            let (found, size) = digest(&file, host).ok()?;
            (found == sha256).then_some((path, size))
        });
        match source {
            Some((path, size)) => contents.push(LocalContent { sha256, size, path }),
            None => drop(missing.insert(sha256)),
        }
    }
    (contents, missing)
}
