//! Reads files and directories of images through a cache. An image never changes, so entries stay
//! valid.

use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::image::resolve;
use super::{Context, ToolError, params};
use crate::Client;
use crate::store::contents;
use crate::types::{FileItem, GrepResult, InspectImageGrepCase};

/// Size up to which files are cached whole, in bytes.
const MAX_WHOLE_FILE: u64 = 4 * 1024 * 1024;

/// A range of a file, with the size of the whole file.
pub(super) struct FileRange {
    pub(super) bytes: Vec<u8>,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// Cache of the images of one backend.
struct ImageCache<'a> {
    cx: &'a Context,
    backend: String,
}

impl<'a> ImageCache<'a> {
    fn of(cx: &'a Context, client: &Client) -> Self {
        Self {
            cx,
            backend: client.backend().identity(),
        }
    }

    /// Finds an entry. A failing cache counts as empty.
    async fn find(&self, key: &str) -> Option<contents::CachedContent> {
        let store = self.cx.session().store();
        let (backend, key) = (self.backend.clone(), key.to_owned());
        let (backend_again, key_again) = (backend.clone(), key.clone());
        let found = store
            .read(move |c| contents::find(c, &backend, &key))
            .await
            .unwrap_or_else(|error| {
                tracing::warn!("cannot read the cache of image contents: {error}");
                None
            })?;
        if found.needs_renewal {
            let touched = store.write(move |c| contents::touch(c, &backend_again, &key_again));
            drop(touched.await);
        }
        Some(found)
    }

    /// Adds an entry. `whole_size` is the size of the whole file.
    async fn insert(&self, key: String, body: Vec<u8>, whole_size: u64) {
        let backend = self.backend.clone();
        let store = self.cx.session().store();
        let written = store.write(move |c| contents::insert(c, &backend, &key, &body, whole_size));
        if let Err(error) = written.await {
            tracing::warn!("cannot write the cache of image contents: {error}");
        }
    }

    async fn find_json<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_slice(&self.find(key).await?.body).ok()
    }

    async fn insert_json<T: Serialize>(&self, key: String, value: &T) {
        if let Ok(body) = serde_json::to_vec(value) {
            let size = body.len() as u64;
            self.insert(key, body, size).await;
        }
    }
}

/// Lists the entries of a directory, sorted by name.
pub(super) async fn list(
    cx: &Context,
    image: &str,
    path: &str,
) -> Result<Vec<FileItem>, ToolError> {
    let client = cx.client().await?;
    cx.unless_cancelled(async {
        let image = resolve(client, image).await?;
        let cache = ImageCache::of(cx, client);
        let key = format!("list\n{image}\n{path}");
        if let Some(list) = cache.find_json(&key).await {
            return Ok(list);
        }
        let answer = client
            .inspect_image_file()
            .image_uuid(image)
            .path(path)
            .send()
            .await?;
        let mut list = answer.into_inner().files;
        list.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        cache.insert_json(key, &list).await;
        Ok::<_, ToolError>(list)
    })
    .await
}

/// Reads a range of a file.
pub(super) async fn read(
    cx: &Context,
    image: &str,
    path: &str,
    offset: u64,
    limit: u64,
) -> Result<FileRange, ToolError> {
    let client = cx.client().await?;
    cx.unless_cancelled(async {
        let image = resolve(client, image).await?;
        let cache = ImageCache::of(cx, client);
        let whole_key = format!("read\n{image}\n{path}");
        let range_key = format!("{whole_key}\n{offset}\n{limit}");
        if let Some(found) = cache.find(&whole_key).await {
            let size = found.body.len() as u64;
            let from = offset.min(size);
            let to = offset.saturating_add(limit).min(size);
            // Both are at most the body's length, so they fit into `usize`.
            let bytes = found.body[from as usize..to as usize].to_vec();
            return Ok::<_, ToolError>(FileRange {
                bytes,
                offset: from,
                size,
            });
        }
        if let Some(found) = cache.find(&range_key).await {
            return Ok(FileRange {
                bytes: found.body,
                offset: offset.min(found.file_size),
                size: found.file_size,
            });
        }
        let (range, whole_file) = fetch(client, image, path, offset, limit).await?;
        match whole_file {
            Some(whole_file) => cache.insert(whole_key, whole_file, range.size).await,
            None => {
                cache
                    .insert(range_key, range.bytes.clone(), range.size)
                    .await
            }
        }
        Ok(range)
    })
    .await
}

/// Fetches `limit` bytes from `offset` on, and the whole file if it is small.
///
/// If the backend reports the size of a large file beforehand, the transfer ends after the range.
async fn fetch(
    client: &Client,
    image: Uuid,
    path: &str,
    offset: u64,
    limit: u64,
) -> Result<(FileRange, Option<Vec<u8>>), ToolError> {
    let mut content = client.read(image, path).await?;
    let size = content.size;
    if let Some(size) = size.filter(|size| *size > MAX_WHOLE_FILE && offset >= *size) {
        let empty = FileRange {
            bytes: Vec::new(),
            offset: size,
            size,
        };
        return Ok((empty, None));
    }
    let end = offset.saturating_add(limit);
    let mut whole_file = size
        .is_none_or(|size| size <= MAX_WHOLE_FILE)
        .then(Vec::new);
    let mut bytes = Vec::new();
    let mut position = 0u64;
    while let Some(chunk) = content.next().await {
        let chunk = chunk?;
        let (from, to) = (position, position + chunk.len() as u64);
        position = to;
        let start = offset.clamp(from, to) - from;
        let stop = end.clamp(from, to) - from;
        // Both are at most the chunk's length, so they fit into `usize`.
        bytes.extend_from_slice(&chunk[start as usize..stop as usize]);
        match &mut whole_file {
            Some(bytes_so_far) if position <= MAX_WHOLE_FILE => {
                bytes_so_far.extend_from_slice(&chunk)
            }
            _ => whole_file = None,
        }
        if whole_file.is_none() && position >= end && size.is_some() {
            break;
        }
    }
    let size = size.unwrap_or(position);
    let range = FileRange {
        bytes,
        offset: offset.min(size),
        size,
    };
    // A transfer that ended early is not the whole file.
    Ok((
        range,
        whole_file.filter(|whole_file| whole_file.len() as u64 == size),
    ))
}

/// Parameters of a search in the files of an image.
pub(super) struct ImageSearch<'a> {
    /// A UUID or `tag:NAME`.
    pub(super) image: &'a str,
    pub(super) pattern: &'a str,
    /// The file or directory to search.
    pub(super) path: &'a str,
    /// Pattern of the files to search; `None` searches all.
    pub(super) glob: Option<&'a str>,
    pub(super) max_count: Option<u64>,
    pub(super) max_total: u64,
    pub(super) case: params::GrepCase,
}

/// Searches the files of an image.
pub(super) async fn grep(cx: &Context, search: &ImageSearch<'_>) -> Result<GrepResult, ToolError> {
    let client = cx.client().await?;
    cx.unless_cancelled(async {
        let image = resolve(client, search.image).await?;
        let cache = ImageCache::of(cx, client);
        let search_key = serde_json::json!([
            search.path,
            search.pattern,
            search.glob,
            search.max_count,
            search.max_total,
            search.case.as_str()
        ]);
        let key = format!("grep\n{image}\n{search_key}");
        if let Some(found) = cache.find_json(&key).await {
            return Ok(found);
        }
        let mut request = client
            .inspect_image_grep()
            .image_uuid(image)
            .pattern(vec![search.pattern.to_owned()])
            .path(vec![search.path.to_owned()])
            .max_total(search.max_total);
        if let Some(glob) = search.glob {
            request = request.glob(vec![glob.to_owned()]);
        }
        if let Some(count) = search.max_count {
            request = request.max_count(count);
        }
        let case = match search.case {
            params::GrepCase::Sensitive => InspectImageGrepCase::Sensitive,
            params::GrepCase::Insensitive => InspectImageGrepCase::Insensitive,
            params::GrepCase::Smart => InspectImageGrepCase::Smart,
        };
        let found = request.case(case).send().await?.into_inner();
        // A backend that ran out of time may find more the next time.
        if !found.truncated || found.matches.len() as u64 >= search.max_total {
            cache.insert_json(key, &found).await;
        }
        Ok::<_, ToolError>(found)
    })
    .await
}
