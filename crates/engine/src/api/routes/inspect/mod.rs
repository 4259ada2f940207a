//! Routes that read images without running a command. One file for each operation.

mod archive;
mod download;
mod encoding;
mod grep;
mod list;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use contree_error_codes::ErrorCode;
use contree_sandbox::ViewError;
use uuid::Uuid;

pub(super) use archive::{archive, check_archive};
pub(super) use download::{check_file, download};
pub(super) use grep::grep;
pub(super) use list::list;

use super::images as image_routes;
use crate::api::extract::{Path, Query};
use crate::api::request::check_tag;
use crate::api::types::{Image, InspectFindImageByTagQuery};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::lookup;
use crate::image::view_cache::OpenView;
use crate::rows::{images, layers};

/// The required `path` of a query. A path without a leading slash starts at the root too.
fn required_path(path: Option<&str>) -> Result<PathBuf, ApiError> {
    let path =
        path.ok_or_else(|| ApiError::bad("`path` is missing: give a path inside the image"))?;
    image_path(path)
}

/// Converts a text to an absolute path inside an image.
fn image_path(path: &str) -> Result<PathBuf, ApiError> {
    if path.contains('\0') {
        return Err(ApiError::bad("`path` cannot contain a NUL byte"));
    }
    Ok(PathBuf::from("/").join(path).components().collect())
}

fn redirect_to(status: StatusCode, location: String) -> Response {
    (status, [(header::LOCATION, location)]).into_response()
}

/// `GET /inspect`.
pub(super) async fn redirect(uri: axum::http::Uri) -> Response {
    let query = uri
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    redirect_to(
        StatusCode::TEMPORARY_REDIRECT,
        format!("/v1/inspect/{query}"),
    )
}

/// `GET /inspect/{imageUUID}`.
pub(super) async fn redirect_image(Path(uuid): Path<Uuid>) -> Response {
    redirect_to(
        StatusCode::TEMPORARY_REDIRECT,
        format!("/v1/inspect/{uuid}/"),
    )
}

/// `GET /inspect/?tag=`.
pub(super) async fn find(
    State(engine): State<Arc<Engine>>,
    Query(query): Query<InspectFindImageByTagQuery>,
) -> Result<Response, ApiError> {
    let tag = query.tag.ok_or_else(|| ApiError::bad("`tag` is missing"))?;
    check_tag(&tag)?;
    let image = lookup::find_tag(&engine, tag).await?;
    Ok(redirect_to(
        StatusCode::FOUND,
        format!("/v1/inspect/{}/", image.uuid),
    ))
}

/// `GET /inspect/{image_uuid}/`.
pub(super) async fn image(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
) -> Result<Answer<Image>, ApiError> {
    let image = lookup::find(&engine, uuid).await?;
    let tag = engine.read(move |c| images::newest_tag(c, uuid)).await?;
    Ok(Answer(image_routes::to_answer(&image, tag.as_deref())))
}

/// Reads from a shared view of an image. If the view's helper process has ended, opens the view
/// once again.
async fn with_view<T: Send + 'static>(
    engine: &Arc<Engine>,
    uuid: Uuid,
    path: PathBuf,
    read: impl Fn(&OpenView, &std::path::Path) -> Result<T, ViewError> + Send + 'static,
) -> Result<T, ApiError> {
    let image = lookup::find(engine, uuid).await?;
    let engine = Arc::clone(engine);
    blocking(move || {
        let chain = engine.rows.read(|c| layers::chain(c, image.layer))?;
        let chain: Vec<u64> = chain.iter().map(|layer| layer.id).collect();
        let result = match read(&*engine.views.get(&engine.store, &chain)?, &path) {
            Err(ViewError::Sandbox(_)) => {
                engine.views.forget(&chain);
                read(&*engine.views.get(&engine.store, &chain)?, &path)
            }
            result => result,
        };
        result.map_err(|error| view_error(&path, error))
    })
    .await
}

/// Opens a view for a single request, which may use it for long.
async fn own_view(engine: &Arc<Engine>, uuid: Uuid) -> Result<OpenView, ApiError> {
    let image = lookup::find(engine, uuid).await?;
    let engine = Arc::clone(engine);
    blocking(move || {
        let chain = engine.rows.read(|c| layers::chain(c, image.layer))?;
        let chain: Vec<u64> = chain.iter().map(|layer| layer.id).collect();
        Ok(OpenView::open(&engine.store, &chain)?)
    })
    .await
}

/// The answer to an error of reading an image.
fn view_error(path: &std::path::Path, error: ViewError) -> ApiError {
    let path = path.display();
    match error {
        ViewError::NotFound => {
            ApiError::missing(ErrorCode::PathNotFound, format!("the image has no {path}"))
        }
        ViewError::NotADirectory => ApiError::wrong_file_kind(format!("{path} is not a directory")),
        ViewError::NotAFile => ApiError::wrong_file_kind(format!("{path} is not a regular file")),
        ViewError::TooManyLinks => {
            ApiError::wrong_file_kind(format!("{path} has too many symbolic links to follow"))
        }
        ViewError::TooMany => ApiError::wrong_file_kind(format!(
            "{path} has too many entries to list; read it as an archive"
        ))
        .with_code(ErrorCode::TooManyEntries),
        ViewError::Sandbox(error) => error.into(),
        other => ApiError::internal(format!("{path}: {other}")),
    }
}
