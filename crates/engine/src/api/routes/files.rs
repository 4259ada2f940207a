//! Routes of uploaded files.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use contree_error_codes::ErrorCode;
use contree_registry::DigestHasher;
use futures_util::StreamExt as _;

use crate::api::extract::{Path, Query, limit, offset};
use crate::api::types::{File, FileResponse, FilesListResponse, ListFilesQuery};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::events::timestamp;
use crate::operation::recover::UPLOAD_PREFIX;
use crate::rows::files::{self, StoredFile};

fn to_answer(file: &StoredFile) -> File {
    File {
        uuid: file.uuid,
        sha256: file.sha256.clone(),
        size: file.size,
        created_at: timestamp(file.created_at),
        updated_at: timestamp(file.updated_at),
    }
}

/// `POST /files`: the content is hashed as it arrives, and stored once for each digest.
pub(super) async fn upload(
    State(engine): State<Arc<Engine>>,
    body: Body,
) -> Result<(StatusCode, Answer<FileResponse>), ApiError> {
    let folder = engine.store.root().join("files");
    let mut file = blocking(move || {
        let file = tempfile::Builder::new()
            .prefix(UPLOAD_PREFIX)
            .tempfile_in(folder)?;
        // No engine takes a locked file for left behind, even after a jump of the clock.
        file.as_file().lock()?;
        Ok(file)
    })
    .await?;
    let mut hash = DigestHasher::new();
    let mut size: u64 = 0;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            ApiError::malformed(format!("the upload was cut after {size} bytes: {error}"))
        })?;
        size += chunk.len() as u64;
        (file, hash) = blocking(move || {
            hash.update(&chunk);
            file.write_all(&chunk)?;
            Ok((file, hash))
        })
        .await?;
    }
    let digest = hash.finish().hex().to_owned();
    let stored = blocking(move || {
        // Readable by all: a sandbox's first process runs as another user. The data directory
        // itself is private.
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))?;
        let path = engine.file_path(&digest);
        file.persist(&path).map_err(|error| error.error)?;
        engine.sync_with_records(path);
        Ok(engine.rows.write(|t| files::record(t, &digest, size))?)
    })
    .await?;
    let answer = FileResponse {
        uuid: stored.uuid,
        sha256: stored.sha256,
        size: stored.size,
    };
    Ok((StatusCode::CREATED, Answer(answer)))
}

/// `GET` and `HEAD /files/{sha256}`.
pub(super) async fn get(
    State(engine): State<Arc<Engine>>,
    Path(sha256): Path<String>,
) -> Result<Answer<File>, ApiError> {
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ApiError::bad(format!(
            "`{}` is not a SHA-256 digest, which has 64 hexadecimal digits",
            sha256.escape_debug()
        )));
    }
    let digest = sha256.to_ascii_lowercase();
    let file = engine.read(move |c| files::by_digest(c, &digest)).await?;
    match file.filter(|file| engine.has_content(file)) {
        Some(file) => Ok(Answer(to_answer(&file))),
        None => Err(ApiError::missing(
            ErrorCode::FileNotUploaded,
            format!("no file has the digest {sha256}"),
        )),
    }
}

/// `GET /files`.
pub(super) async fn list(
    State(engine): State<Arc<Engine>>,
    Query(query): Query<ListFilesQuery>,
) -> Result<Answer<FilesListResponse>, ApiError> {
    let (limit, offset) = (limit(query.limit)?, offset(query.offset)?);
    let files = engine
        .read(move |c| files::list(c, limit, offset, query.since, query.until))
        .await?;
    Ok(Answer(FilesListResponse {
        files: Some(files.iter().map(to_answer).collect()),
    }))
}
