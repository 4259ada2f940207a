//! The image `tag:host`: this machine's own programs, copied once, without any download.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use chrono::Utc;
use contree_sandbox::LayerId;
use rusqlite::Connection;
use uuid::Uuid;

use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::{ApiError, StorageError};
use crate::image::DEFAULT_PATH;
use crate::rows::{Rows, images, layers};
use contree_sqlite::DbError;

/// The tag of the image.
const TAG: &str = "host";

/// Names the image once it was made; its tag may be moved to another image after that.
const MADE: &str = "host_image";

/// The image of this machine's programs, made anew.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct Refreshed {
    /// The new image.
    pub image: uuid::Uuid,
    /// The image that `tag:host` named before.
    pub previous: Option<uuid::Uuid>,
    /// Files copied.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Makes the image if the store never had it. Called by whatever lists or resolves images, never at start.
pub(crate) async fn ensure(engine: &Arc<Engine>) -> Result<(), ApiError> {
    if engine.read(is_there).await? {
        return Ok(());
    }
    let engine = Arc::clone(engine);
    blocking(move || Ok(make(&engine)?)).await
}

/// Whether the image was made and the tag names an image, be it another one.
fn is_there(c: &Connection) -> Result<bool, DbError> {
    Ok(Rows::meta(c, MADE)?.is_some() && images::by_tag(c, TAG)?.is_some())
}

/// The image that was made, if there is one.
fn made(c: &Connection) -> Result<Option<Uuid>, DbError> {
    Ok(Rows::meta(c, MADE)?.and_then(|uuid| Uuid::parse_str(&uuid).ok()))
}

/// The layer of the image that was made. It can be made again, so a process need not wait at its end until it is on disk.
pub(crate) fn layer(c: &Connection) -> Result<Option<u64>, DbError> {
    let image = match made(c)? {
        Some(uuid) => images::by_uuid(c, uuid)?,
        None => None,
    };
    Ok(image.map(|image| image.layer))
}

fn lock_file(engine: &Engine) -> std::io::Result<File> {
    let path = engine.store.root().join("host.lock");
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// The lock under which the image is made, if nobody holds it.
pub(crate) fn try_lock(engine: &Engine) -> std::io::Result<Option<File>> {
    let lock = lock_file(engine)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Copies the programs under a lock of the store, so that of several engines one does it and the others wait.
fn make(engine: &Engine) -> Result<(), StorageError> {
    let lock = lock_file(engine)?;
    lock.lock()?;
    if engine.rows.read(is_there)? {
        return Ok(());
    }
    // The tag was removed, and everything begins with it: it goes back to where it was.
    if let Some(image) = engine.rows.read(made)? {
        return Ok(engine.rows.write(|t| images::set_tag(t, TAG, image))?);
    }
    copy(engine).map(drop)
}

/// Makes a new image of this machine's programs and moves the tag to it.
pub(crate) fn refresh(engine: &Engine) -> Result<Refreshed, StorageError> {
    let lock = lock_file(engine)?;
    lock.lock()?;
    let previous = engine.rows.read(|c| images::by_tag(c, TAG))?;
    Ok(Refreshed {
        previous: previous.map(|image| image.uuid),
        ..copy(engine)?
    })
}

/// Makes the image. The caller holds the lock.
fn copy(engine: &Engine) -> Result<Refreshed, StorageError> {
    let maker = Uuid::new_v4();
    let layer = engine
        .rows
        .write(|t| layers::reserve(t, None, maker, &engine.boot))?;
    let report = engine
        .store
        .stage_host_layer(LayerId(layer))
        .inspect_err(|_| {
            let _ = engine.rows.write(|t| layers::remove(t, layer));
        })?;
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
    engine.rows.write(|t| {
        layers::mark_ready(t, layer, report.bytes)?;
        images::insert(t, &image)?;
        images::set_tag(t, TAG, image.uuid)?;
        Rows::set_meta(t, MADE, &image.uuid.to_string())
    })?;
    engine.committed.notify_one();
    tracing::info!(
        files = report.files,
        bytes = report.bytes,
        "made tag:host from this machine's programs"
    );
    Ok(Refreshed {
        image: image.uuid,
        previous: None,
        files: report.files,
        bytes: report.bytes,
    })
}
