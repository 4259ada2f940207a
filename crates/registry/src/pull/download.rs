//! Downloads blobs, and continues after broken connections.

use std::path::Path;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use super::request::RequestedContent;
use super::{Repository, SILENCE_TIMEOUT, is_transient, retry_waits};
use crate::manifest::{Descriptor, ImagePart};
use crate::{DigestHasher, RegistryError};

impl Repository<'_> {
    /// Downloads a blob into a new file and reports the number of bytes so far to `progress`.
    ///
    /// After a broken connection, the download continues where it stopped if the registry supports
    /// ranges.
    ///
    /// # Errors
    /// Fails if the blob cannot be fetched, is larger than its descriptor states, or does not match
    /// its digest. The file is then unusable.
    pub async fn download(
        &self,
        blob: &Descriptor,
        path: &Path,
        mut progress: impl FnMut(u64),
    ) -> Result<(), RegistryError> {
        let mut file = tokio::fs::File::create_new(path)
            .await
            .map_err(write_error(path))?;
        let mut hasher = DigestHasher::new();
        let mut downloaded: u64 = 0;
        // Waits grow until the download makes progress again.
        let mut waits = retry_waits(self.first_wait * 2);
        while downloaded < blob.size {
            let before = downloaded;
            let result = self
                .download_rest(
                    blob,
                    &mut file,
                    path,
                    &mut hasher,
                    &mut downloaded,
                    &mut progress,
                )
                .await;
            match result {
                Ok(()) if downloaded >= blob.size => break,
                Err(error) if !is_transient(&error) => return Err(error),
                other => {
                    let wait = if downloaded > before {
                        waits = retry_waits(self.first_wait * 2);
                        Some(self.first_wait)
                    } else {
                        waits.next()
                    };
                    let Some(wait) = wait else {
                        return Err(other.err().unwrap_or_else(|| {
                            self.protocol_error(format!(
                                "ended the layer {} after {downloaded} of {} bytes",
                                blob.digest, blob.size
                            ))
                        }));
                    };
                    tokio::time::sleep(wait).await;
                }
            }
        }
        file.flush().await.map_err(write_error(path))?;
        if hasher.finish() != blob.digest {
            return Err(self.protocol_error(format!(
                "sent content that does not match the digest of the layer {}",
                blob.digest
            )));
        }
        Ok(())
    }

    /// Appends the body of one response to the file.
    async fn download_rest(
        &self,
        blob: &Descriptor,
        file: &mut tokio::fs::File,
        path: &Path,
        hasher: &mut DigestHasher,
        downloaded: &mut u64,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), RegistryError> {
        let mut headers = HeaderMap::new();
        if *downloaded > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={downloaded}-"))
        {
            headers.insert(header::RANGE, range);
        }
        let layer = RequestedContent::Part(ImagePart::Layer, &blob.digest);
        let mut response = self
            .get_with_retries(&self.blob_path(&blob.digest), headers, layer)
            .await?;
        let continues = response.status() == StatusCode::PARTIAL_CONTENT
            && response
                .headers()
                .get(header::CONTENT_RANGE)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|value| value.starts_with(&format!("bytes {downloaded}-")));
        if *downloaded > 0 && !continues {
            *downloaded = 0;
            *hasher = DigestHasher::new();
            file.set_len(0).await.map_err(write_error(path))?;
            file.rewind().await.map_err(write_error(path))?;
            if response.status() == StatusCode::PARTIAL_CONTENT {
                return Err(
                    self.connection_error("it answered with a different range than requested")
                );
            }
        }
        loop {
            let chunk = tokio::time::timeout(SILENCE_TIMEOUT, response.chunk())
                .await
                .map_err(|_| self.connection_error("it went silent"))?
                .map_err(|error| self.connection_error(&root_cause(&error)))?;
            let Some(chunk) = chunk else {
                return Ok(());
            };
            if chunk.len() as u64 > blob.size - *downloaded {
                return Err(self.protocol_error(format!(
                    "sent more of the layer {} than its {} bytes",
                    blob.digest, blob.size
                )));
            }
            hasher.update(&chunk);
            file.write_all(&chunk).await.map_err(write_error(path))?;
            *downloaded += chunk.len() as u64;
            progress(*downloaded);
        }
    }
}

fn write_error(path: &Path) -> impl FnOnce(std::io::Error) -> RegistryError {
    move |source| RegistryError::LocalFile {
        path: path.to_owned(),
        source,
    }
}

/// The message of an error's root cause.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
