//! Facts of one image for the web page: its history, its differences and its files.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::routing::get;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::activity::ActivityMonitor;
use super::answers::{RouteAnswer, answer, checked, identifier};
use crate::tools::{ToolError, take_complete_characters};
use crate::{DiffRequest, LogRequest, types};

/// Maximum number of entries of a directory in an answer.
const MAX_ENTRIES: usize = 2000;
/// Maximum number of bytes of a file in an answer.
const MAX_TEXT_BYTES: usize = 256 * 1024;
/// Maximum number of images or changes in an answer.
const MAX_LISTED: u64 = 500;

/// Routes below `/images/{id}` that only read.
pub(super) fn router() -> Router<ActivityMonitor> {
    Router::new()
        .route("/images/{id}/log", get(log))
        .route("/images/{id}/diff", get(diff))
        .route("/images/{id}/files", get(files))
        .route("/images/{id}/text", get(text))
}

#[derive(Deserialize)]
struct LogQuery {
    #[serde(default)]
    offset: u64,
    #[serde(default = "default_log_limit")]
    limit: u64,
    #[serde(default)]
    children: bool,
}

fn default_log_limit() -> u64 {
    50
}

#[derive(Deserialize)]
struct DiffQuery {
    base: Option<Uuid>,
    #[serde(default = "root")]
    path: String,
    #[serde(default)]
    patch: bool,
    #[serde(default)]
    offset: u64,
}

#[derive(Deserialize)]
struct PathQuery {
    #[serde(default = "root")]
    path: String,
}

fn root() -> String {
    "/".to_owned()
}

/// A directory of an image.
#[derive(Serialize)]
struct Directory {
    path: String,
    entries: Vec<DirectoryEntry>,
    /// Entries of the directory, of which the answer may have fewer.
    count: usize,
}

/// A file or directory of a directory.
#[derive(Serialize)]
struct DirectoryEntry {
    name: String,
    kind: &'static str,
    size: i64,
    /// Permissions, in octal.
    mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

/// The beginning of a file.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct FileText {
    /// `None` if the file is not text.
    text: Option<String>,
    size: Option<u64>,
    /// Whether the file is longer than the text.
    cut: bool,
}

async fn log(
    State(activity): State<ActivityMonitor>,
    Path(image): Path<String>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> RouteAnswer {
    let (image, query) = (identifier(&image, "image")?, checked(query)?);
    let request = LogRequest {
        limit: query.limit.clamp(1, MAX_LISTED),
        offset: query.offset,
        children: query.children,
    };
    let found = async { Ok(activity.client().await?.log(image, request).await?) };
    Ok(answer(&activity, found.await))
}

async fn diff(
    State(activity): State<ActivityMonitor>,
    Path(image): Path<String>,
    query: Result<Query<DiffQuery>, QueryRejection>,
) -> RouteAnswer {
    let (image, query) = (identifier(&image, "image")?, checked(query)?);
    let request = DiffRequest {
        base: query.base,
        path: query.path,
        patch: query.patch,
        limit: MAX_LISTED,
        offset: query.offset,
    };
    let found = async { Ok(activity.client().await?.diff(image, &request).await?) };
    Ok(answer(&activity, found.await))
}

async fn files(
    State(activity): State<ActivityMonitor>,
    Path(image): Path<String>,
    query: Result<Query<PathQuery>, QueryRejection>,
) -> RouteAnswer {
    let (image, PathQuery { path }) = (identifier(&image, "image")?, checked(query)?);
    Ok(answer(&activity, directory(&activity, image, path).await))
}

async fn text(
    State(activity): State<ActivityMonitor>,
    Path(image): Path<String>,
    query: Result<Query<PathQuery>, QueryRejection>,
) -> RouteAnswer {
    let (image, PathQuery { path }) = (identifier(&image, "image")?, checked(query)?);
    Ok(answer(&activity, file_text(&activity, image, &path).await))
}

/// Lists a directory: first directories, then the rest, each by name.
async fn directory(
    activity: &ActivityMonitor,
    image: Uuid,
    path: String,
) -> Result<Directory, ToolError> {
    let client = activity.client().await?;
    let request = client.inspect_image_file().image_uuid(image).path(&path);
    let mut files = request.send().await?.into_inner().files;
    let count = files.len();
    files.sort_unstable_by(|a, b| (!a.is_dir, &a.path).cmp(&(!b.is_dir, &b.path)));
    files.truncate(MAX_ENTRIES);
    Ok(Directory {
        path,
        entries: files.into_iter().map(DirectoryEntry::from).collect(),
        count,
    })
}

impl From<types::FileItem> for DirectoryEntry {
    fn from(item: types::FileItem) -> Self {
        let kind = if item.is_symlink {
            "link"
        } else if item.is_dir {
            "directory"
        } else if item.is_regular {
            "file"
        } else {
            "special"
        };
        Self {
            name: item.path,
            kind,
            size: item.size,
            mode: format!("{:04o}", item.mode & 0o7777),
            target: item.is_symlink.then_some(item.symlink_to),
        }
    }
}

/// Reads the beginning of a file. The rest is not requested from the backend.
async fn file_text(
    activity: &ActivityMonitor,
    image: Uuid,
    path: &str,
) -> Result<FileText, ToolError> {
    let mut stream = activity.client().await?.read(image, path).await?;
    let size = stream.size;
    let mut bytes = Vec::new();
    while bytes.len() <= MAX_TEXT_BYTES
        && let Some(chunk) = stream.next().await
    {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(FileText::of(bytes, size))
}

impl FileText {
    /// Makes text of the beginning of a file. A file with a NUL byte or invalid UTF-8 is not text.
    fn of(mut bytes: Vec<u8>, size: Option<u64>) -> Self {
        let cut = bytes.len() > MAX_TEXT_BYTES;
        bytes.truncate(MAX_TEXT_BYTES);
        let is_text = match std::str::from_utf8(&bytes) {
            Ok(_) => true,
            Err(error) => cut && error.error_len().is_none(),
        };
        let text = (is_text && !bytes.contains(&0)).then(|| take_complete_characters(&mut bytes));
        Self { text, size, cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_shown_only_if_it_is_text() {
        let text = |bytes: &[u8]| FileText::of(bytes.to_vec(), None).text;
        assert_eq!(text(b"one\n").as_deref(), Some("one\n"));
        assert_eq!(text(b"").as_deref(), Some(""));
        assert_eq!(text(b"a\0b"), None);
        assert_eq!(text(b"\xff\xfe"), None);
        assert_eq!(text("ä".as_bytes().split_last().unwrap().1), None);
    }

    #[test]
    fn a_long_file_is_cut_between_characters() {
        let long = format!("a{}", "ä".repeat(MAX_TEXT_BYTES));
        let shown = FileText::of(long.into_bytes(), Some(7));
        assert!(shown.cut && shown.size == Some(7));
        let text = shown.text.unwrap();
        assert_eq!(text.len(), MAX_TEXT_BYTES - 1);
        assert!(text.ends_with('ä'));
    }
}
