//! Pushes blobs and manifests to one repository (OCI distribution specification, "Push").

pub mod document;
pub mod layer;
pub mod local_path;
mod upload;

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Body, Response};
use url::Url;

use crate::pull::request::{OutgoingRequest, RequestBody};
use crate::pull::{MAX_REQUESTED_WAIT, Repository, is_transient, retry_waits};
use crate::{Digest, RegistryError};

/// A blob in a local file.
#[derive(Clone, Copy, Debug)]
pub struct LocalBlob<'a> {
    /// The digest of the file.
    pub digest: &'a Digest,
    /// The size of the file in bytes.
    pub size: u64,
    /// The file.
    pub path: &'a Path,
}

/// An upload that a registry has begun.
#[derive(Clone, Debug)]
pub struct UploadSession(Url);

/// The result of mounting a blob.
#[derive(Clone, Debug)]
pub enum MountOutcome {
    /// The repository has the blob now.
    Mounted,
    /// The registry does not mount it. It may have begun an upload instead.
    Refused(Option<UploadSession>),
}

impl Repository<'_> {
    /// Returns whether the repository has a blob of this digest and size.
    ///
    /// # Errors
    /// Fails if the registry does not answer, or denies access.
    pub async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, RegistryError> {
        let url = self.api_url(&self.blob_path(digest))?;
        let request = OutgoingRequest::new(Method::HEAD, HeaderMap::new());
        let response = self
            .send_with_retries(&url, &request, &format!("the blob {digest}"), |status| {
                status.is_success() || status == StatusCode::NOT_FOUND
            })
            .await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let stated = response
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        Ok(stated.is_none_or(|stated| stated == size))
    }

    /// Mounts a blob from another repository of the same registry.
    ///
    /// # Errors
    /// Fails if the registry does not answer, or its token server denies access to this repository.
    pub async fn mount(&self, digest: &Digest, from: &str) -> Result<MountOutcome, RegistryError> {
        let mut url = self.uploads_url()?;
        url.query_pairs_mut()
            .append_pair("mount", &digest.to_string())
            .append_pair("from", from);
        let request = OutgoingRequest::new(Method::POST, no_content());
        // Refusals are answers here, since a registry may deny access to the source.
        let response = self
            .send_with_retries(&url, &request, "a mounted blob", |_| true)
            .await?;
        match response.status() {
            StatusCode::CREATED => Ok(MountOutcome::Mounted),
            StatusCode::ACCEPTED => {
                let session = self.location(response.url(), &response)?;
                Ok(MountOutcome::Refused(session.map(UploadSession)))
            }
            _ => Ok(MountOutcome::Refused(None)),
        }
    }

    /// Stores a manifest under the digest and the tag that the reference states. If it states
    /// neither, the tag is `latest`.
    ///
    /// # Errors
    /// Fails if the reference states another digest, or the registry refuses the manifest.
    pub async fn put_manifest(
        &self,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::of(bytes);
        if let Some(expected) = self.reference.digest()
            && *expected != digest
        {
            return Err(self.protocol_error(format!(
                "the reference states the digest {expected}, but the image has {digest}: leave the digest out"
            )));
        }
        let mut names = Vec::new();
        if self.reference.digest().is_some() {
            names.push(digest.to_string());
        }
        match self.reference.tag() {
            Some(tag) => names.push(tag.to_owned()),
            None if names.is_empty() => names.push("latest".to_owned()),
            None => {}
        }
        for name in names {
            self.put_manifest_as(&name, media_type, bytes, &digest)
                .await?;
        }
        Ok(digest)
    }

    async fn put_manifest_as(
        &self,
        name: &str,
        media_type: &str,
        bytes: &[u8],
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        let path = format!("/v2/{}/manifests/{name}", self.reference.repository());
        let mut headers = HeaderMap::new();
        let media_type = HeaderValue::from_str(media_type)
            .map_err(|_| self.protocol_error("the manifest's type is not valid".to_owned()))?;
        headers.insert(header::CONTENT_TYPE, media_type);
        let (make, sent) = (|| Body::from(bytes.to_vec()), AtomicU64::new(0));
        let request = OutgoingRequest {
            method: Method::PUT,
            headers,
            body: Some(RequestBody {
                make: &make,
                sent: &sent,
                progress: &|_| {},
            }),
        };
        let subject = format!("the manifest {name}");
        let url = self.api_url(&path)?;
        let response = self
            .send_with_retries(&url, &request, &subject, |status| status.is_success())
            .await?;
        let stated = response
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok()?.parse::<Digest>().ok());
        match stated {
            Some(stated) if stated != *digest => Err(self.protocol_error(format!(
                "stored the manifest under the digest {stated} instead of {digest}"
            ))),
            _ => Ok(()),
        }
    }

    fn uploads_url(&self) -> Result<Url, RegistryError> {
        self.api_url(&format!(
            "/v2/{}/blobs/uploads/",
            self.reference.repository()
        ))
    }

    /// Sends a request, and repeats it after temporary errors. `accepts` returns true for a status
    /// that is an answer, and not an error.
    async fn send_with_retries(
        &self,
        url: &Url,
        request: &OutgoingRequest<'_>,
        subject: &str,
        accepts: impl Fn(StatusCode) -> bool,
    ) -> Result<Response, RegistryError> {
        let mut waits = retry_waits(self.first_wait);
        loop {
            let (error, requested_wait) = match self.send_authorized(url, request).await {
                Ok(response) => {
                    let status = response.status();
                    let may_pass =
                        status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                    if accepts(status) && !may_pass {
                        return Ok(response);
                    }
                    self.push_failure(response, subject).await
                }
                Err(error) => (error, None),
            };
            let Some(wait) = waits.next().filter(|_| is_transient(&error)) else {
                return Err(error);
            };
            tokio::time::sleep(requested_wait.unwrap_or(wait).min(MAX_REQUESTED_WAIT)).await;
        }
    }

    async fn push_failure(
        &self,
        response: Response,
        subject: &str,
    ) -> (RegistryError, Option<Duration>) {
        let repository = self.reference.repository().to_owned();
        self.failure(response, subject, |message| {
            self.protocol_error(format!(
                "has no repository {repository} to push to{message}: create it there, or correct the name"
            ))
        })
        .await
    }
}

/// The headers of a request with an empty body.
fn no_content() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    headers
}

#[cfg(test)]
mod tests;
