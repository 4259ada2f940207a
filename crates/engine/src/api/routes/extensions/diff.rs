//! The route that compares two images.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use contree_diff::{Change, Summary};
use contree_error_codes::ErrorCode;
use contree_sandbox::ViewError;
use uuid::Uuid;

use crate::api::extract::{Path, Query, offset};
use crate::api::types::{GetImageDiffQuery, ImageChange, ImageDiff};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::diff::{self, DiffError, DiffRequest};
use crate::image::lookup;
use crate::rows::log;

/// The most changes of a page.
const MAX_LIMIT: u32 = 10_000;

/// `GET /x/images/{imageUUID}/diff`.
pub(in crate::api::routes) async fn diff(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<GetImageDiffQuery>,
) -> Result<Answer<ImageDiff>, ApiError> {
    if !(1..=MAX_LIMIT).contains(&query.limit) {
        return Err(ApiError::bad(format!(
            "`limit` must be from 1 to {MAX_LIMIT}, not {}",
            query.limit
        )));
    }
    let offset = offset(query.offset)?;
    let path = image_path(query.path.as_deref().unwrap_or("/"))?;
    let image = lookup::find(&engine, uuid).await?;
    let base = match query.base {
        Some(base) => base,
        None => {
            let child = image.clone();
            let parent = engine.read(move |c| log::parent_of(c, &child)).await?;
            parent.ok_or_else(|| no_parent(uuid))?
        }
    };
    let base = lookup::find(&engine, base).await?;
    let request = DiffRequest {
        after: image.layer,
        before: base.layer,
        path: path.clone(),
        patch: query.patch.0,
        limit: query.limit as usize,
        offset: usize::try_from(offset).unwrap_or(usize::MAX),
    };
    let permit = Arc::clone(&engine.views.searches)
        .acquire_owned()
        .await
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let page = blocking(move || {
        let _permit = permit;
        diff::diff(&engine, &request).map_err(|error| diff_error(&request.path, error))
    })
    .await?;
    let next = page.more.then(|| offset + page.changes.len() as u64);
    let root = path.to_string_lossy().into_owned();
    Ok(Answer(ImageDiff {
        image: uuid,
        base: base.uuid,
        changes: page
            .changes
            .iter()
            .filter_map(|change| to_answer(&root, change))
            .collect(),
        count: page.count as u64,
        next,
        patch: page.patch,
    }))
}

/// Converts a text to an absolute path without `.` and `..`.
fn image_path(text: &str) -> Result<PathBuf, ApiError> {
    if text.contains('\0') {
        return Err(ApiError::bad("`path` cannot contain a NUL byte"));
    }
    let path: PathBuf = PathBuf::from("/").join(text).components().collect();
    if text.split('/').any(|name| name == "..") {
        return Err(ApiError::bad(format!(
            "`path` cannot contain `..`; give the path without it instead of {}",
            path.display()
        )));
    }
    Ok(path)
}

fn no_parent(image: Uuid) -> ApiError {
    ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::NoParent,
        format!(
            "the image {image} was made from no other image, or its parent is unknown; give a `base` to compare it with"
        ),
    )
}

fn diff_error(path: &std::path::Path, error: DiffError) -> ApiError {
    let path = path.display();
    match error {
        DiffError::TooMany => ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::TooManyEntries,
            error.to_string(),
        ),
        DiffError::View(ViewError::NotFound) => {
            ApiError::missing(ErrorCode::PathNotFound, format!("neither image has {path}"))
        }
        DiffError::View(ViewError::TooManyLinks) => ApiError::wrong_file_kind(format!(
            "{path} leads through a symbolic link, which a comparison does not follow; give the path without links"
        )),
        DiffError::View(ViewError::TooMany) => ApiError::wrong_file_kind(format!(
            "{path} has too many names to compare; give the path of a part of it"
        ))
        .with_code(ErrorCode::TooManyEntries),
        DiffError::View(ViewError::Sandbox(error)) => error.into(),
        DiffError::View(error) => ApiError::internal(format!("{path}: {error}")),
        DiffError::File(error) => error.into(),
        DiffError::Records(error) => error.into(),
    }
}

fn to_answer(root: &str, change: &Change) -> Option<ImageChange> {
    let summary = Summary::of(root, change)?;
    Some(ImageChange {
        path: summary.path,
        change: summary.change.to_owned(),
        kind: summary.kind.to_owned(),
        kind_before: summary.kind_before.map(str::to_owned),
        from: summary.from,
        size_before: summary.size_before,
        size_after: summary.size_after,
        mode_before: summary.mode_before,
        mode_after: summary.mode_after,
        owner_before: summary.owner_before,
        owner_after: summary.owner_after,
    })
}
