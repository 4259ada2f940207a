//! Looking into images without running anything of theirs.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use contree_sandbox::{Entry, Kind, ViewError};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::extract::{Flag, Path, Query};
use super::images as image_routes;
use crate::engine::error::ApiError;
use crate::engine::request::check_tag;
use crate::engine::rows::{images, layers};
use crate::engine::state::{Engine, blocking};
use crate::engine::views::OpenView;

/// How much of a file is read at once.
const CHUNK: usize = 256 * 1024;

#[derive(Deserialize)]
pub(super) struct TagQuery {
    tag: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct PathQuery {
    path: Option<String>,
    text: Option<Flag>,
}

impl PathQuery {
    /// The path inside the image. Without a leading slash it counts from the root too.
    fn path(&self) -> Result<PathBuf, ApiError> {
        let path = self
            .path
            .as_deref()
            .ok_or_else(|| ApiError::bad("`path` is missing: give a path inside the image"))?;
        if path.contains('\0') {
            return Err(ApiError::bad("`path` cannot hold a NUL byte"));
        }
        Ok(PathBuf::from("/").join(path))
    }
}

fn see(status: StatusCode, location: String) -> Response {
    (status, [(header::LOCATION, location)]).into_response()
}

/// `GET /inspect`.
pub(super) async fn redirect(uri: axum::http::Uri) -> Response {
    let query = uri
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    see(
        StatusCode::TEMPORARY_REDIRECT,
        format!("/v1/inspect/{query}"),
    )
}

/// `GET /inspect/{imageUUID}`.
pub(super) async fn redirect_image(Path(uuid): Path<Uuid>) -> Response {
    see(
        StatusCode::TEMPORARY_REDIRECT,
        format!("/v1/inspect/{uuid}/"),
    )
}

/// `GET /inspect/?tag=`.
pub(super) async fn find(
    State(engine): State<Arc<Engine>>,
    Query(query): Query<TagQuery>,
) -> Result<Response, ApiError> {
    let tag = query.tag.ok_or_else(|| ApiError::bad("`tag` is missing"))?;
    check_tag(&tag).map_err(ApiError::bad)?;
    let image = image_routes::find_tag(&engine, tag).await?;
    Ok(see(
        StatusCode::FOUND,
        format!("/v1/inspect/{}/", image.uuid),
    ))
}

/// `GET /inspect/{image_uuid}/`.
pub(super) async fn image(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
) -> Result<Answer<Value>, ApiError> {
    let image = image_routes::find(&engine, uuid).await?;
    let tag = engine.read(move |c| images::newest_tag(c, uuid)).await?;
    Ok(Answer(image_routes::shown(&image, tag.as_deref())))
}

/// Looks into an image; a view whose helper has ended is opened anew once.
async fn look<T: Send + 'static>(
    engine: &Arc<Engine>,
    uuid: Uuid,
    at: PathBuf,
    ask: impl Fn(&OpenView, &std::path::Path) -> Result<T, ViewError> + Send + 'static,
) -> Result<T, ApiError> {
    let image = image_routes::find(engine, uuid).await?;
    let engine = Arc::clone(engine);
    blocking(move || {
        let chain = engine.rows.read(|c| layers::chain(c, image.layer))?;
        let chain: Vec<u64> = chain.iter().map(|layer| layer.id).collect();
        let answer = match ask(&*engine.views.get(&engine.store, &chain)?, &at) {
            Err(ViewError::Sandbox(_)) => {
                engine.views.forget(image.layer);
                ask(&*engine.views.get(&engine.store, &chain)?, &at)
            }
            answer => answer,
        };
        answer.map_err(|error| refused(&at, error))
    })
    .await
}

fn refused(path: &std::path::Path, error: ViewError) -> ApiError {
    let path = path.display();
    match error {
        ViewError::NotFound => ApiError::missing(format!("the image has no {path}")),
        ViewError::NotADirectory => ApiError::kind(format!("{path} is not a directory")),
        ViewError::NotAFile => ApiError::kind(format!("{path} is not a regular file")),
        ViewError::TooManyLinks => {
            ApiError::kind(format!("{path} leads through too many symbolic links"))
        }
        ViewError::Sandbox(error) => error.into(),
        other => ApiError::internal(format!("{path}: {other}")),
    }
}

/// `GET /inspect/{image_uuid}/list`.
pub(super) async fn list(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<PathQuery>,
) -> Result<Response, ApiError> {
    let path = query.path()?;
    let text = query.text.unwrap_or_default().0;
    look(&engine, uuid, path, move |open, path| {
        let mut entries = open.view.list(path)?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(if text {
            as_text(open, &entries).into_response()
        } else {
            let files: Vec<Value> = entries.iter().map(|entry| item(open, entry)).collect();
            Answer(json!({"path": path.to_string_lossy(), "files": files})).into_response()
        })
    })
    .await
}

/// `GET` and `HEAD /inspect/{image_uuid}/download`.
pub(super) async fn download(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    Query(query): Query<PathQuery>,
) -> Result<Response, ApiError> {
    let path = query.path()?;
    let (file, entry) = look(&engine, uuid, path, |open, path| open.view.open_file(path)).await?;
    let kind = if query.text.unwrap_or_default().0 {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    };
    let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK);
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_LENGTH, entry.size.to_string()),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}

/// An entry as the API's `FileItem`.
fn item(open: &OpenView, entry: &Entry) -> Value {
    let named = |names: &std::collections::HashMap<u32, String>, id: u32| {
        names.get(&id).map_or_else(|| json!(id), |name| json!(name))
    };
    json!({
        "size": entry.size,
        "path": entry.name.to_string_lossy(),
        "owner": named(&open.users, entry.uid),
        "group": named(&open.groups, entry.gid),
        "uid": entry.uid,
        "gid": entry.gid,
        "mode": entry.mode,
        "mtime": entry.mtime,
        "nlink": entry.nlink,
        "is_dir": entry.kind == Kind::Directory,
        "is_regular": entry.kind == Kind::File,
        "is_symlink": entry.kind == Kind::Symlink,
        "is_socket": entry.kind == Kind::Socket,
        "is_fifo": entry.kind == Kind::Fifo,
        "symlink_to": entry.target.as_ref().map(|target| target.to_string_lossy()).unwrap_or_default(),
    })
}

/// Entries as `ls -l` would print them.
fn as_text(open: &OpenView, entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let name = |names: &std::collections::HashMap<u32, String>, id: u32| {
            names.get(&id).cloned().unwrap_or_else(|| id.to_string())
        };
        let when = DateTime::from_timestamp(entry.mtime, 0)
            .unwrap_or_default()
            .format("%Y-%m-%d %H:%M");
        let target = entry
            .target
            .as_ref()
            .map(|target| format!(" -> {}", target.to_string_lossy()))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "{} {:>3} {:<8} {:<8} {:>10} {when} {}{target}",
            permissions(entry),
            entry.nlink,
            name(&open.users, entry.uid),
            name(&open.groups, entry.gid),
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
