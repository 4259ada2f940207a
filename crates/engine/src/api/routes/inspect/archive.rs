//! Reading a file or directory of an image as a tar archive.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use contree_sandbox::{EntryKind, ViewError, Walk};
use uuid::Uuid;

use super::encoding::{attachment, headers, takes_gzip};
use super::{Path, Query, given, look, own_view, refused};
use crate::api::types::{CheckImageArchiveQuery, InspectImageArchiveQuery};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::archive::Archive;
use crate::image::views::OpenView;
use crate::serve::body;

/// The headers of an archive of this path.
fn described(path: &std::path::Path, gzip: bool) -> HeaderMap {
    let mut headers = headers(gzip, "application/x-tar");
    let name = path.to_string_lossy();
    let name = match name.trim_matches('/') {
        "" => "rootfs".into(),
        name => name.replace('/', "_"),
    };
    headers.insert(
        header::CONTENT_DISPOSITION,
        attachment(&format!("{name}.tar")),
    );
    headers
}

/// What the archive's own entry is called: the path's last name, and `.` for the root.
fn root_name(path: &std::path::Path) -> Vec<u8> {
    path.file_name()
        .map_or(b".".to_vec(), |name| name.as_bytes().to_vec())
}

/// `GET /inspect/{image_uuid}/archive`.
pub(in crate::api::routes) async fn archive(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<InspectImageArchiveQuery>,
    request: HeaderMap,
) -> Result<Response, ApiError> {
    let path = given(query.path.as_deref())?;
    let slot = Arc::clone(&engine.views.archives)
        .acquire_owned()
        .await
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let OpenView { view, names } = own_view(&engine, uuid).await?;
    let at = path.clone();
    let (walk, entry, file) = blocking(move || {
        let mut walk = Walk::new(view);
        let started = walk.start(&at).and_then(|entry| match entry.kind {
            EntryKind::Directory => Ok((entry, None)),
            EntryKind::File => Ok((entry, Some(walk.view().open_file(&at)?.0))),
            _ => Err(ViewError::NotAFile),
        });
        match started {
            Ok((entry, file)) => Ok((walk, entry, file)),
            Err(error) => Err(unfit(&at, error)),
        }
    })
    .await?;
    let gzip = takes_gzip(&request);
    let headers = described(&path, gzip);
    let body = body::body(gzip, move |out| {
        let _slot = slot;
        let archive = Archive::new(out, &names);
        match file {
            Some(file) => archive.file(&root_name(&path), &entry, file),
            None => archive.directory(&root_name(&path), &entry, walk),
        }
    });
    Ok((headers, body).into_response())
}

/// `HEAD /inspect/{image_uuid}/archive`: nothing is read.
pub(in crate::api::routes) async fn check_archive(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<CheckImageArchiveQuery>,
    request: HeaderMap,
) -> Result<HeaderMap, ApiError> {
    let path = given(query.path.as_deref())?;
    let at = path.clone();
    let kind = look(&engine, uuid, path.clone(), move |open, path| {
        Ok(open.view.find(path)?.kind)
    })
    .await?;
    match kind {
        EntryKind::File | EntryKind::Directory => Ok(described(&path, takes_gzip(&request))),
        _ => Err(unfit(&at, ViewError::NotAFile)),
    }
}

fn unfit(path: &std::path::Path, error: ViewError) -> ApiError {
    match error {
        ViewError::NotAFile => ApiError::kind(format!(
            "{} is neither a regular file nor a directory",
            path.display()
        )),
        other => refused(path, other),
    }
}
