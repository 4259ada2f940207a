//! The route for listing a directory of an image, as JSON or as text.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use contree_sandbox::{Entry, EntryKind};
use uuid::Uuid;

use super::{Path, Query, required_path, with_view};
use crate::api::types::{
    DirectoryList, FileItem, FileItemGroup, FileItemOwner, InspectImageFileQuery,
};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::view_cache::AccountNames;

/// The name of a user or group, or its number if it has no name.
fn name_or_id(name: Option<&str>, id: u32) -> String {
    name.map_or_else(|| id.to_string(), str::to_owned)
}

/// An entry as JSON answers show it.
fn file_item(names: &Names, entry: &Entry) -> FileItem {
    let (user, group) = (names.user(entry.uid), names.group(entry.gid));
    FileItem {
        size: entry.size,
        path: entry.name.to_string_lossy().into_owned(),
        owner: user.map_or(FileItemOwner::Integer(entry.uid.into()), |name| {
            FileItemOwner::String(name.to_owned())
        }),
        group: group.map_or(FileItemGroup::Integer(entry.gid.into()), |name| {
            FileItemGroup::String(name.to_owned())
        }),
        uid: entry.uid,
        gid: entry.gid,
        mode: entry.mode.into(),
        mtime: entry.mtime,
        nlink: entry.nlink,
        is_dir: entry.kind == EntryKind::Directory,
        is_regular: entry.kind == EntryKind::File,
        is_symlink: entry.kind == EntryKind::Symlink,
        is_socket: entry.kind == EntryKind::Socket,
        is_fifo: entry.kind == EntryKind::Fifo,
        symlink_to: entry
            .target
            .as_ref()
            .map(|target| target.to_string_lossy().into_owned())
            .unwrap_or_default(),
    }
}

/// `GET /inspect/{image_uuid}/list`.
pub(in crate::api::routes) async fn list(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<InspectImageFileQuery>,
) -> Result<Response, ApiError> {
    let path = required_path(query.path.as_deref())?;
    let text = query.text.0;
    with_view(&engine, uuid, path, move |open, path| {
        let entries = open.view.list(path)?;
        Ok(if text {
            as_text(&open.names, &entries).into_response()
        } else {
            Answer(DirectoryList {
                path: path.to_string_lossy().into_owned(),
                files: entries
                    .iter()
                    .map(|entry| file_item(&open.names, entry))
                    .collect(),
            })
            .into_response()
        })
    })
    .await
}

/// Formats entries like `ls -l`.
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
            name_or_id(names.user(entry.uid), entry.uid),
            name_or_id(names.group(entry.gid), entry.gid),
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
        EntryKind::Directory => 'd',
        EntryKind::Symlink => 'l',
        EntryKind::Socket => 's',
        EntryKind::Fifo => 'p',
        EntryKind::CharacterDevice => 'c',
        EntryKind::BlockDevice => 'b',
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
