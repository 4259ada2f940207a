//! The routes for reading one file of an image.

use std::io::{self, Read as _};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use contree_sandbox::ViewError;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::encoding::{accepts_gzip, headers};
use super::{Path, Query, required_path, with_view};
use crate::api::types::InspectImageDownloadQuery;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::serve::body;

/// Bytes of a file that are read at once.
const CHUNK: usize = 256 * 1024;

/// The headers of the answer.
fn file_headers(query: &InspectImageDownloadQuery, gzip: bool, size: u64) -> HeaderMap {
    let kind = if query.text.0 {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    };
    let mut headers = headers(gzip, kind);
    if !gzip {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    }
    headers
}

/// `GET /inspect/{image_uuid}/download`.
pub(in crate::api::routes) async fn download(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<InspectImageDownloadQuery>,
    request: HeaderMap,
) -> Result<Response, ApiError> {
    let path = required_path(query.path.as_deref())?;
    let (file, entry) =
        with_view(&engine, uuid, path, |open, path| open.view.open_file(path)).await?;
    let gzip = accepts_gzip(&request);
    let body = if gzip {
        body::body(true, move |out| {
            io::copy(&mut file.take(entry.size), out).map(|_| ())
        })
    } else {
        let file = tokio::fs::File::from_std(file);
        Body::from_stream(ReaderStream::with_capacity(file, CHUNK))
    };
    Ok((file_headers(&query, gzip, entry.size), body).into_response())
}

/// `HEAD /inspect/{image_uuid}/download`: answers the headers without opening the file.
pub(in crate::api::routes) async fn check_file(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<InspectImageDownloadQuery>,
    request: HeaderMap,
) -> Result<HeaderMap, ApiError> {
    let path = required_path(query.path.as_deref())?;
    let entry = with_view(&engine, uuid, path, |open, path| {
        let entry = open.view.find(path)?;
        match entry.kind {
            contree_sandbox::EntryKind::File => Ok(entry),
            _ => Err(ViewError::NotAFile),
        }
    })
    .await?;
    Ok(file_headers(&query, accepts_gzip(&request), entry.size))
}
