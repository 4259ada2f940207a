//! The image `tag:host`: a copy of this machine's own programs, made once and without a download.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use contree_sandbox::LayerId;
use rusqlite::Connection;
use uuid::Uuid;

use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::{ApiError, StorageError};
use crate::image::DEFAULT_PATH;
use crate::layer_note::{self, LayerNote, NotedImage, NotedLayer, NotedTag};
use crate::operation::discard;
use crate::rows::{Rows, images, layers};
use contree_sqlite::DatabaseError;

/// The tag of the image.
const TAG: &str = "host";

/// How long to wait for another engine that makes the image.
const LOCK_TIMEOUT: Duration = Duration::from_secs(600);

/// The key of the metadata row that names the image. The tag may move to another image later.
const META_KEY: &str = "host_image";

/// The result of copying this machine's programs into a new image.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct HostImageRefresh {
    /// The new image.
    pub image: uuid::Uuid,
    /// The image that had `tag:host` before.
    pub previous: Option<uuid::Uuid>,
    /// The number of copied files.
    pub files: u64,
    /// The bytes of these files.
    pub bytes: u64,
}

/// Makes the image if the store never had it, or restores its tag. Routes that list or resolve
/// images call this; startup does not.
pub(crate) async fn ensure(engine: &Arc<Engine>) -> Result<(), ApiError> {
    if engine.read(exists).await? {
        return Ok(());
    }
    let engine = Arc::clone(engine);
    blocking(move || Ok(make_once(&engine)?)).await
}

/// Returns whether the image was made before and its tag names an image, even another one.
fn exists(c: &Connection) -> Result<bool, DatabaseError> {
    Ok(Rows::meta(c, META_KEY)?.is_some() && images::by_tag(c, TAG)?.is_some())
}

/// The image that was made before, if any.
fn recorded_image(c: &Connection) -> Result<Option<Uuid>, DatabaseError> {
    Ok(Rows::meta(c, META_KEY)?.and_then(|uuid| Uuid::parse_str(&uuid).ok()))
}

/// The layer of the image, if it was made. The layer can be made again, so shutdown need not wait
/// until it is on disk.
pub(crate) fn layer(c: &Connection) -> Result<Option<u64>, DatabaseError> {
    let image = match recorded_image(c)? {
        Some(uuid) => images::by_uuid(c, uuid)?,
        None => None,
    };
    Ok(image.map(|image| image.layer))
}

fn lock_path(engine: &Engine) -> PathBuf {
    engine.store.root().join("host.lock")
}

fn open_lock(engine: &Engine) -> std::io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(lock_path(engine))
}

/// Waits until no other engine makes the image, and takes the lock.
fn lock(engine: &Engine) -> std::io::Result<File> {
    let lock = open_lock(engine)?;
    contree_sqlite::lock_file(&lock, &lock_path(engine), LOCK_TIMEOUT)?;
    Ok(lock)
}

/// Takes the lock of the image's creation, if it is free.
pub(crate) fn try_lock(engine: &Engine) -> std::io::Result<Option<File>> {
    let lock = open_lock(engine)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Makes the image under a lock of the store: one of several engines makes it, and the others wait.
fn make_once(engine: &Engine) -> Result<(), StorageError> {
    let _lock = lock(engine)?;
    if engine.rows.read(exists)? {
        return Ok(());
    }
    // The tag was removed. Clients start from it, so it names the recorded image again.
    if let Some(image) = engine.rows.read(recorded_image)? {
        return Ok(engine.rows.write(|t| images::set_tag(t, TAG, image))?);
    }
    copy_programs(engine).map(drop)
}

/// Makes a new image of this machine's programs and moves the tag to it.
pub(crate) fn refresh(engine: &Engine) -> Result<HostImageRefresh, StorageError> {
    let _lock = lock(engine)?;
    let previous = engine.rows.read(|c| images::by_tag(c, TAG))?;
    Ok(HostImageRefresh {
        previous: previous.map(|image| image.uuid),
        ..copy_programs(engine)?
    })
}

/// Copies the programs into a new image. The caller holds the lock.
fn copy_programs(engine: &Engine) -> Result<HostImageRefresh, StorageError> {
    let run_id = Uuid::new_v4();
    let layer = engine
        .rows
        .write(|t| layers::reserve(t, None, run_id, &engine.boot))?;
    let report = engine
        .store
        .stage_host_layer(LayerId(layer))
        .inspect_err(|_| discard::forget(engine, layer))?;
    let image = images::Image {
        uuid: Uuid::new_v4(),
        layer,
        env: BTreeMap::from([
            ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ]),
        cwd: String::new(),
        operation: None,
        lost: false,
        created_at: Utc::now(),
    };
    for note in [
        LayerNote::Layer(NotedLayer {
            parent: None,
            bytes: report.bytes,
            chain: None,
            stands_for: None,
            files: Some(report.files),
        }),
        LayerNote::Image(NotedImage::of(&image)),
        LayerNote::Tag(NotedTag::now(TAG, image.uuid, false)),
    ] {
        layer_note::add(engine, layer, &note);
    }
    engine
        .rows
        .write(|t| {
            layers::mark_ready(t, layer, report.bytes, Some(report.files))?;
            images::insert(t, &image)?;
            images::set_tag(t, TAG, image.uuid)?;
            Rows::set_meta(t, META_KEY, &image.uuid.to_string())
        })
        .inspect_err(|_| discard::failed_commit(engine, layer))?;
    engine.committed.notify_one();
    tracing::info!(
        files = report.files,
        bytes = report.bytes,
        "made tag:host from this machine's programs"
    );
    Ok(HostImageRefresh {
        image: image.uuid,
        previous: None,
        files: report.files,
        bytes: report.bytes,
    })
}
