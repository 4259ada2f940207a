//! The routes for reading a file or directory of an image as a tar archive.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use contree_sandbox::{EntryKind, ViewError, Walk};
use uuid::Uuid;

use super::encoding::{accepts_gzip, attachment, headers};
use super::{Path, Query, own_view, required_path, view_error, with_view};
use crate::api::types::{CheckImageArchiveQuery, InspectImageArchiveQuery};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::archive::ArchiveWriter;
use crate::image::view_cache::OpenView;
use crate::serve::body;

/// The headers of the answer.
fn archive_headers(path: &std::path::Path, gzip: bool) -> HeaderMap {
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

/// The name of the archive's first entry: the last component of the path, or `.` for the root.
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
    let path = required_path(query.path.as_deref())?;
    let permit = Arc::clone(&engine.views.archives)
        .acquire_owned()
        .await
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let OpenView { view, names } = own_view(&engine, uuid).await?;
    let archived = path.clone();
    let (walk, entry, file) = blocking(move || {
        let mut walk = Walk::new(view);
        let started = walk.start(&archived).and_then(|entry| match entry.kind {
            EntryKind::Directory => Ok((entry, None)),
            EntryKind::File => Ok((entry, Some(walk.view().open_file(&archived)?.0))),
            _ => Err(ViewError::NotAFile),
        });
        match started {
            Ok((entry, file)) => Ok((walk, entry, file)),
            Err(error) => Err(archive_error(&archived, error)),
        }
    })
    .await?;
    let gzip = accepts_gzip(&request);
    let headers = archive_headers(&path, gzip);
    let body = body::body(gzip, move |out| {
        let _permit = permit;
        let archive = ArchiveWriter::new(out, &names);
        match file {
            Some(file) => archive.file(&root_name(&path), &entry, file),
            None => archive.directory(&root_name(&path), &entry, walk),
        }
    });
    Ok((headers, body).into_response())
}

/// `HEAD /inspect/{image_uuid}/archive`: answers the headers without reading files.
pub(in crate::api::routes) async fn check_archive(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<CheckImageArchiveQuery>,
    request: HeaderMap,
) -> Result<HeaderMap, ApiError> {
    let path = required_path(query.path.as_deref())?;
    let kind = with_view(&engine, uuid, path.clone(), move |open, path| {
        Ok(open.view.find(path)?.kind)
    })
    .await?;
    match kind {
        EntryKind::File | EntryKind::Directory => {
            Ok(archive_headers(&path, accepts_gzip(&request)))
        }
        _ => Err(archive_error(&path, ViewError::NotAFile)),
    }
}

/// The answer to an error of making an archive.
fn archive_error(path: &std::path::Path, error: ViewError) -> ApiError {
    match error {
        ViewError::NotAFile => ApiError::wrong_file_kind(format!(
            "{} is neither a regular file nor a directory",
            path.display()
        )),
        other => view_error(path, other),
    }
}
