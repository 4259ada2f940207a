//! Listing a directory of an image, for programs and for people.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use contree_sandbox::{Entry, Kind};
use serde::Serialize;
use uuid::Uuid;

use super::{Path, PathQuery, Query, look};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::views::Names;

/// The API's `DirectoryList`.
#[derive(Serialize)]
struct Listing<'a> {
    path: Cow<'a, str>,
    files: Vec<Item<'a>>,
}

/// The API's `FileItem`.
#[derive(Serialize)]
struct Item<'a> {
    size: u64,
    path: Cow<'a, str>,
    owner: Owner<'a>,
    group: Owner<'a>,
    uid: u32,
    gid: u32,
    mode: u32,
    mtime: i64,
    nlink: u64,
    is_dir: bool,
    is_regular: bool,
    is_symlink: bool,
    is_socket: bool,
    is_fifo: bool,
    symlink_to: Cow<'a, str>,
}

/// A name, or the number of who has none.
#[derive(Serialize)]
#[serde(untagged)]
enum Owner<'a> {
    Name(&'a str),
    Id(u32),
}

impl<'a> Owner<'a> {
    fn new(name: Option<&'a str>, id: u32) -> Self {
        name.map_or(Self::Id(id), Self::Name)
    }
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => out.pad(name),
            Self::Id(id) => out.pad(&id.to_string()),
        }
    }
}

impl<'a> Item<'a> {
    fn new(names: &'a Names, entry: &'a Entry) -> Self {
        Self {
            size: entry.size,
            path: entry.name.to_string_lossy(),
            owner: Owner::new(names.user(entry.uid), entry.uid),
            group: Owner::new(names.group(entry.gid), entry.gid),
            uid: entry.uid,
            gid: entry.gid,
            mode: entry.mode,
            mtime: entry.mtime,
            nlink: entry.nlink,
            is_dir: entry.kind == Kind::Directory,
            is_regular: entry.kind == Kind::File,
            is_symlink: entry.kind == Kind::Symlink,
            is_socket: entry.kind == Kind::Socket,
            is_fifo: entry.kind == Kind::Fifo,
            symlink_to: entry
                .target
                .as_ref()
                .map(|target| target.to_string_lossy())
                .unwrap_or_default(),
        }
    }
}

/// `GET /inspect/{image_uuid}/list`.
pub(in crate::api::routes) async fn list(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<PathQuery>,
) -> Result<Response, ApiError> {
    let path = query.path()?;
    let text = query.text.unwrap_or_default().0;
    look(&engine, uuid, path, move |open, path| {
        let entries = open.view.list(path)?;
        Ok(if text {
            as_text(&open.names, &entries).into_response()
        } else {
            Answer(Listing {
                path: path.to_string_lossy(),
                files: entries
                    .iter()
                    .map(|entry| Item::new(&open.names, entry))
                    .collect(),
            })
            .into_response()
        })
    })
    .await
}

/// Entries as `ls -l` would print them.
fn as_text(names: &Names, entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let when = DateTime::from_timestamp(entry.mtime, 0)
            .unwrap_or_default()
            .format("%Y-%m-%d %H:%M");
        let target = entry
            .target
            .as_ref()
            .map(|target| format!(" -> {}", target.to_string_lossy().escape_debug()))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "{} {:>3} {:<8} {:<8} {:>10} {when} {}{target}",
            permissions(entry),
            entry.nlink,
            Owner::new(names.user(entry.uid), entry.uid),
            Owner::new(names.group(entry.gid), entry.gid),
            entry.size,
            entry.name.to_string_lossy().escape_debug(),
        );
    }
    text
}

/// The first column of `ls -l`.
fn permissions(entry: &Entry) -> String {
    let mut text = String::with_capacity(10);
    text.push(match entry.kind {
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Socket => 's',
        Kind::Fifo => 'p',
        Kind::CharacterDevice => 'c',
        Kind::BlockDevice => 'b',
        _ => '-',
    });
    for (shift, special, set, plain) in [
        (6, 0o4000, 's', 'S'),
        (3, 0o2000, 's', 'S'),
        (0, 0o1000, 't', 'T'),
    ] {
        let bits = entry.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (entry.mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => plain,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}
