//! Uploads blobs, and continues after broken connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream::try_unfold;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Body, Response};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom};
use url::Url;

use super::{LocalBlob, UploadSession, no_content};
use crate::pull::request::{OutgoingRequest, RequestBody};
use crate::pull::{Repository, is_transient, retry_waits};
use crate::{Digest, RegistryError};

/// The number of bytes that are read from the file at once.
const READ_BYTES: u64 = 256 * 1024;
/// The largest chunk after a registry has refused a request for its size (413 Content Too Large).
const MAX_SPLIT_CHUNK_BYTES: u64 = 64 << 20;
/// The smallest chunk.
const MIN_CHUNK_BYTES: u64 = 1 << 20;

/// An upload in progress.
struct Upload {
    /// The URL for the next request. `None` before the upload has begun.
    location: Option<Url>,
    /// The bytes that the registry has.
    offset: u64,
    /// True if the registry may have more or fewer bytes than `offset`, because a request failed.
    in_doubt: bool,
    /// The most bytes of one request.
    chunk: u64,
}

impl Repository<'_> {
    /// Begins an upload whose blob is not ready yet. A registry that denies access says so here,
    /// before the blob is made.
    ///
    /// # Errors
    /// Fails if the registry denies access, or does not answer.
    pub async fn begin(&self) -> Result<UploadSession, RegistryError> {
        Ok(UploadSession(self.begin_session().await?))
    }

    /// Uploads a blob, and reports the number of bytes so far to `progress`.
    ///
    /// After a broken connection, the upload continues where the registry says that it stopped. An
    /// upload starts again if the registry has forgotten it, or does not say where it stopped. The
    /// whole blob is one request, unless the registry refuses a request of that size.
    ///
    /// # Errors
    /// Fails if the registry denies access or refuses the blob, or if it cannot be reached again.
    pub async fn upload(
        &self,
        blob: LocalBlob<'_>,
        session: Option<UploadSession>,
        progress: impl Fn(u64) + Send + Sync,
    ) -> Result<(), RegistryError> {
        let mut upload = Upload {
            location: session.map(|session| session.0),
            offset: 0,
            in_doubt: false,
            chunk: u64::MAX,
        };
        // Waits grow until the upload makes progress again.
        let mut waits = retry_waits(self.first_wait * 2);
        let mut farthest = 0;
        loop {
            let chunk = upload.chunk;
            let error = match self.continue_upload(&mut upload, blob, &progress).await {
                Ok(()) => return Ok(()),
                Err(error) if !is_transient(&error) => return Err(error),
                Err(error) => error,
            };
            let wait = if upload.offset > farthest {
                farthest = upload.offset;
                waits = retry_waits(self.first_wait * 2);
                Some(self.first_wait)
            } else if upload.chunk < chunk {
                // A smaller request does not count as a retry. The size soon reaches the minimum.
                Some(self.first_wait)
            } else {
                waits.next()
            };
            let Some(wait) = wait else {
                return Err(error);
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Uploads the rest of a blob and completes it.
    async fn continue_upload(
        &self,
        upload: &mut Upload,
        blob: LocalBlob<'_>,
        progress: &(impl Fn(u64) + Send + Sync),
    ) -> Result<(), RegistryError> {
        if upload.in_doubt && self.find_offset(upload, blob).await? {
            return Ok(());
        }
        let mut location = match upload.location.clone() {
            Some(location) => location,
            None => self.begin_upload(upload).await?,
        };
        while upload.offset < blob.size {
            location = self.send_chunk(upload, location, blob, progress).await?;
        }
        self.complete_upload(upload, location, blob).await
    }

    /// Begins an upload.
    async fn begin_upload(&self, upload: &mut Upload) -> Result<Url, RegistryError> {
        upload.offset = 0;
        upload.in_doubt = false;
        let location = self.begin_session().await?;
        upload.location = Some(location.clone());
        Ok(location)
    }

    /// Asks for an upload. Returns the URL for its first request.
    async fn begin_session(&self) -> Result<Url, RegistryError> {
        let request = OutgoingRequest::new(Method::POST, no_content());
        let response = self
            .send_with_retries(&self.uploads_url()?, &request, "a new upload", |status| {
                status.is_success()
            })
            .await?;
        self.next_location(&response)?.ok_or_else(|| {
            self.protocol_error("begins an upload without a valid location".to_owned())
        })
    }

    /// Asks how much of a blob the registry has. Returns true if it has the whole blob and has
    /// completed the upload.
    async fn find_offset(
        &self,
        upload: &mut Upload,
        blob: LocalBlob<'_>,
    ) -> Result<bool, RegistryError> {
        if upload.offset >= blob.size && self.has_blob(blob.digest, blob.size).await? {
            return Ok(true);
        }
        let Some(location) = upload.location.clone() else {
            return Ok(false);
        };
        let request = OutgoingRequest::new(Method::GET, HeaderMap::new());
        let response = self.send_authorized(&location, &request).await?;
        if !response.status().is_success() {
            let status = response.status();
            if status.is_client_error()
                && !matches!(
                    status,
                    StatusCode::UNAUTHORIZED
                        | StatusCode::FORBIDDEN
                        | StatusCode::TOO_MANY_REQUESTS
                )
            {
                // The registry has forgotten the upload, or does not say how far it is.
                upload.location = None;
                upload.in_doubt = false;
                return Ok(false);
            }
            return Err(self.push_failure(response, "an upload").await.0);
        }
        let Some(end) = range_end(&response) else {
            // Without a range, the registry may have any number of bytes. Only a new upload is
            // known to have none.
            upload.location = None;
            upload.in_doubt = false;
            return Ok(false);
        };
        upload.offset = end.min(blob.size);
        upload.location = Some(self.next_location(&response)?.unwrap_or(location));
        upload.in_doubt = false;
        Ok(false)
    }

    /// Sends the next part of a blob. Returns the URL for the next request.
    async fn send_chunk(
        &self,
        upload: &mut Upload,
        location: Url,
        blob: LocalBlob<'_>,
        progress: &(impl Fn(u64) + Send + Sync),
    ) -> Result<Url, RegistryError> {
        let start = upload.offset;
        let length = (blob.size - start).min(upload.chunk);
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        // A blob that is sent in one request needs no range, and some registries refuse one there.
        if (start > 0 || length < blob.size)
            && let Ok(range) = HeaderValue::from_str(&format!("{start}-{}", start + length - 1))
        {
            headers.insert(header::CONTENT_RANGE, range);
        }
        let attempt = Arc::new(AtomicU64::new(0));
        let make = || {
            // An attempt that follows a challenge or a redirect sends the whole part again.
            attempt.store(0, Ordering::Relaxed);
            part_of_file(blob.path.to_owned(), start, length, Arc::clone(&attempt))
        };
        let request = OutgoingRequest {
            method: Method::PATCH,
            headers,
            body: Some(RequestBody {
                make: &make,
                sent: &attempt,
                progress: &|sent| progress(start + sent),
            }),
        };
        upload.in_doubt = true;
        let response = self.send_authorized(&location, &request).await?;
        let status = response.status();
        if status.is_success() {
            upload.in_doubt = false;
            upload.offset = range_end(&response)
                .filter(|end| *end > start && *end <= blob.size)
                .unwrap_or(start + length);
            let next = self.next_location(&response)?.unwrap_or(location);
            upload.location = Some(next.clone());
            progress(upload.offset);
            return Ok(next);
        }
        match status {
            StatusCode::PAYLOAD_TOO_LARGE if length > MIN_CHUNK_BYTES => {
                upload.chunk = (length / 2).clamp(MIN_CHUNK_BYTES, MAX_SPLIT_CHUNK_BYTES);
                // The next step asks how much the registry has.
                Err(self.connection_error("it refuses a request of that size"))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                Err(self.connection_error("it expects another part of the blob"))
            }
            StatusCode::NOT_FOUND => {
                upload.location = None;
                upload.in_doubt = false;
                Err(self.connection_error("it has forgotten the upload"))
            }
            _ => Err(self
                .push_failure(response, &format!("the blob {}", blob.digest))
                .await
                .0),
        }
    }

    /// Completes an upload whose content the registry has.
    async fn complete_upload(
        &self,
        upload: &mut Upload,
        location: Url,
        blob: LocalBlob<'_>,
    ) -> Result<(), RegistryError> {
        let url = with_digest(location, blob.digest);
        upload.in_doubt = true;
        let request = OutgoingRequest::new(Method::PUT, no_content());
        let response = self.send_authorized(&url, &request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        if status == StatusCode::NOT_FOUND {
            upload.location = None;
            return Err(self.connection_error("it has forgotten the upload"));
        }
        Err(self
            .push_failure(response, &format!("the blob {}", blob.digest))
            .await
            .0)
    }

    /// The URL for the next request of an upload.
    fn next_location(&self, response: &Response) -> Result<Option<Url>, RegistryError> {
        self.location(response.url(), response)
    }
}

/// Adds the digest to the URL of an upload, whose query the registry may need.
fn with_digest(mut location: Url, digest: &Digest) -> Url {
    location
        .query_pairs_mut()
        .append_pair("digest", &digest.to_string());
    location
}

/// The number of bytes that the header `Range: 0-END` states. A registry without any bytes sends
/// `0-0`.
fn range_end(response: &Response) -> Option<u64> {
    let range = response.headers().get(header::RANGE)?.to_str().ok()?;
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let (_, last) = range.split_once('-')?;
    match last.trim().parse::<u64>().ok()? {
        0 => Some(0),
        last => last.checked_add(1),
    }
}

/// A body with a part of a file. `sent` counts its bytes.
fn part_of_file(path: PathBuf, start: u64, length: u64, sent: Arc<AtomicU64>) -> Body {
    let stream = try_unfold((None, length), move |(file, remaining)| {
        let (path, sent) = (path.clone(), Arc::clone(&sent));
        async move {
            if remaining == 0 {
                return Ok(None);
            }
            let mut file: File = match file {
                Some(file) => file,
                None => {
                    let mut file = File::open(&path).await?;
                    file.seek(SeekFrom::Start(start)).await?;
                    file
                }
            };
            let size = usize::try_from(remaining.min(READ_BYTES)).unwrap_or(usize::MAX);
            let mut buffer = vec![0; size];
            let read = file.read(&mut buffer).await?;
            if read == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            }
            buffer.truncate(read);
            sent.fetch_add(read as u64, Ordering::Relaxed);
            Ok(Some((buffer, (Some(file), remaining - read as u64))))
        }
    });
    Body::wrap_stream(stream)
}
