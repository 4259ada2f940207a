//! Pulls manifests and blobs of one repository (OCI distribution specification, "Pull").

use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::{Client, Response};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use url::Url;

use super::address_scope::AddressScope;
use super::host::is_loopback;
use super::led_client::refusal;
use super::manifest::{
    self, Descriptor, Document, ImageConfig, ImagePart, Manifest, ManifestError,
};
use super::transport::{connection_error, read_bounded};
use super::{Digest, Hasher, HttpClients, Login, Reference, RegistryError, authorize, challenges};

/// The most retries of a failed request, or of a download that makes no progress.
const MAX_RETRIES: usize = 4;
/// The wait before the first retry. Each further wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// The longest wait that a server may request.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How long a response may take to begin, or to continue.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a download may take. An import's own time-out ends it earlier.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// The most redirects of one request.
const MAX_REDIRECTS: usize = 5;
/// The most levels of nested indexes.
const MAX_NESTING: usize = 3;

/// The waits before retries, each twice as long as the one before.
fn retry_waits(first: Duration) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_times(MAX_RETRIES)
        .build()
}

/// A repository of a registry, with the credentials to read from it.
pub struct Repository<'a> {
    http: &'a HttpClients,
    reference: Reference,
    login: Option<Login>,
    authorization: Mutex<Option<HeaderValue>>,
    first_wait: Duration,
    /// The registry's part of the network, once a redirect needs it.
    scope: OnceLock<AddressScope>,
}

/// The content that a request asks for.
#[derive(Clone, Copy)]
enum RequestedContent<'a> {
    /// The image or index that the reference names.
    Image,
    /// A part of the image.
    Part(ImagePart, &'a Digest),
}

/// An image in a registry that can run on this machine.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// The digest of its manifest.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
}

impl<'a> Repository<'a> {
    /// The repository of a reference.
    pub fn new(http: &'a HttpClients, reference: Reference, login: Option<Login>) -> Self {
        Self {
            http,
            reference,
            login,
            authorization: Mutex::new(None),
            first_wait: FIRST_WAIT,
            scope: OnceLock::new(),
        }
    }

    /// Finds the image of the reference.
    ///
    /// # Errors
    /// Fails if the image does not exist or does not match its digest, and if it is not an image or
    /// is for another kind of machine.
    pub async fn find_image(&self) -> Result<ResolvedImage, RegistryError> {
        let mut tag_or_digest = self.reference.tag_or_digest();
        let mut expected = self.reference.digest().cloned();
        for depth in 0..MAX_NESTING {
            let content = match &expected {
                Some(digest) if depth > 0 => RequestedContent::Part(ImagePart::Manifest, digest),
                _ => RequestedContent::Image,
            };
            let (digest, bytes) = self
                .fetch_manifest(&tag_or_digest, expected.as_ref(), content)
                .await?;
            match manifest::parse(&bytes).map_err(|error| self.image_error(error))? {
                Document::Image(manifest) => return Ok(ResolvedImage { digest, manifest }),
                Document::Index(index) => {
                    let chosen =
                        manifest::choose(&index).map_err(|error| self.image_error(error))?;
                    tag_or_digest = chosen.digest.to_string();
                    expected = Some(chosen.digest.clone());
                }
            }
        }
        Err(self.protocol_error("its indexes are nested too deeply".to_owned()))
    }

    /// Fetches the configuration of an image.
    ///
    /// # Errors
    /// Fails if the configuration cannot be fetched, does not match its digest, or is for another
    /// kind of machine.
    pub async fn config(&self, descriptor: &Descriptor) -> Result<ImageConfig, RegistryError> {
        let part = RequestedContent::Part(ImagePart::Configuration, &descriptor.digest);
        let response = self
            .get_with_retries(&self.blob_path(&descriptor.digest), HeaderMap::new(), part)
            .await?;
        let bytes = self.read_body(response).await?;
        if Digest::of(&bytes) != descriptor.digest {
            return Err(self.protocol_error(format!(
                "sent content that does not match the digest {} of the configuration",
                descriptor.digest
            )));
        }
        manifest::parse_config(&bytes).map_err(|error| self.image_error(error))
    }

    /// Fetches a manifest and checks its digest.
    async fn fetch_manifest(
        &self,
        tag_or_digest: &str,
        expected: Option<&Digest>,
        content: RequestedContent<'_>,
    ) -> Result<(Digest, Vec<u8>), RegistryError> {
        let path = format!(
            "/v2/{}/manifests/{tag_or_digest}",
            self.reference.repository()
        );
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(manifest::ACCEPT));
        let response = self.get_with_retries(&path, headers, content).await?;
        let stated = response
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok()?.parse::<Digest>().ok());
        let bytes = self.read_body(response).await?;
        let digest = Digest::of(&bytes);
        if expected
            .or(stated.as_ref())
            .is_some_and(|other| *other != digest)
        {
            return Err(self.protocol_error(format!(
                "sent a manifest that does not match the digest {}",
                expected
                    .or(stated.as_ref())
                    .map(ToString::to_string)
                    .unwrap_or_default()
            )));
        }
        Ok((digest, bytes))
    }

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
        let mut hasher = Hasher::new();
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
        hasher: &mut Hasher,
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
            *hasher = Hasher::new();
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

    fn blob_path(&self, digest: &Digest) -> String {
        format!("/v2/{}/blobs/{digest}", self.reference.repository())
    }

    /// Reads a body of at most [`manifest::MAX_DOCUMENT_BYTES`] bytes.
    async fn read_body(&self, response: Response) -> Result<Vec<u8>, RegistryError> {
        tokio::time::timeout(
            SILENCE_TIMEOUT,
            read_bounded(
                self.reference.host(),
                response,
                manifest::MAX_DOCUMENT_BYTES,
            ),
        )
        .await
        .map_err(|_| self.connection_error("it went silent"))?
    }

    /// Sends a GET, and repeats it after errors that may pass.
    async fn get_with_retries(
        &self,
        path: &str,
        headers: HeaderMap,
        content: RequestedContent<'_>,
    ) -> Result<Response, RegistryError> {
        let mut waits = retry_waits(self.first_wait);
        loop {
            let (error, requested_wait) = match self.get_authorized(path, &headers).await {
                Ok(response) => match self.check_status(response, content).await {
                    Ok(response) => return Ok(response),
                    Err(failure) => failure,
                },
                Err(error) => (error, None),
            };
            let Some(wait) = waits.next().filter(|_| is_transient(&error)) else {
                return Err(error);
            };
            tokio::time::sleep(requested_wait.unwrap_or(wait).min(LONGEST_WAIT)).await;
        }
    }

    /// Returns a successful response. Otherwise returns the error, and the wait that the registry
    /// requests.
    async fn check_status(
        &self,
        response: Response,
        content: RequestedContent<'_>,
    ) -> Result<Response, (RegistryError, Option<Duration>)> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let registry = self.reference.host().clone();
        let wait = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let message = error_message(response).await;
        let error = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.login.is_none() => {
                RegistryError::LoginNeeded { registry }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Rejected {
                registry,
                message: format!("{status}{message}"),
            },
            StatusCode::NOT_FOUND => match content {
                RequestedContent::Image => {
                    self.protocol_error(format!("there is no {}{message}", self.reference))
                }
                RequestedContent::Part(part, digest) => {
                    self.image_error(ManifestError::MissingPart {
                        part,
                        digest: digest.clone(),
                    })
                }
            },
            StatusCode::TOO_MANY_REQUESTS => RegistryError::Unreachable {
                host: registry.to_string(),
                why: format!("it asks for fewer requests ({status}){message}; wait, or log in"),
            },
            status if status.is_server_error() => RegistryError::Unreachable {
                host: registry.to_string(),
                why: format!("it answers {status}{message}"),
            },
            status => {
                let content = match content {
                    RequestedContent::Image => self.reference.to_string(),
                    RequestedContent::Part(part, digest) => format!("the {part} {digest}"),
                };
                self.protocol_error(format!("answers {status} for {content}{message}"))
            }
        };
        Err((error, wait))
    }

    /// Sends a GET with the authorization that the registry requires.
    async fn get_authorized(
        &self,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Response, RegistryError> {
        let response = self.get_following_redirects(path, headers).await?;
        // A challenge after a redirect to another origin is not the registry's, and the password is
        // not for that origin.
        let is_registry = response.url().origin() == self.api_url(path)?.origin();
        if response.status() != StatusCode::UNAUTHORIZED || !is_registry {
            return Ok(response);
        }
        let challenges = challenges(response.headers());
        drop(response);
        let scope = format!("repository:{}:pull", self.reference.repository());
        let authorization = authorize(
            self.http,
            self.reference.host(),
            &challenges,
            Some(&scope),
            self.login.as_ref(),
        )
        .await?;
        *self
            .authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        self.get_following_redirects(path, headers).await
    }

    /// The URL of a path of the registry's API.
    fn api_url(&self, path: &str) -> Result<Url, RegistryError> {
        Url::parse(&format!("{}{path}", self.reference.host().api()))
            .map_err(|_| self.protocol_error("cannot be addressed".to_owned()))
    }

    /// The client for a URL of the registry, or for one to which it redirects. The latter must be
    /// on the internet or where the registry is.
    async fn client(&self, start: &Url, url: &Url) -> Result<Client, RegistryError> {
        if url.origin() == start.origin() {
            return self.http.client(url);
        }
        let scope = match self.scope.get() {
            Some(scope) => *scope,
            None => {
                let scope = AddressScope::of_server(start).await;
                *self.scope.get_or_init(|| scope)
            }
        };
        self.http.client_led_by(self.reference.host(), scope, url)
    }

    /// Sends a GET and follows redirects. The authorization goes only to the registry's own origin.
    async fn get_following_redirects(
        &self,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Response, RegistryError> {
        let start = self.api_url(path)?;
        let mut url = start.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self
                .client(&start, &url)
                .await?
                .get(url.clone())
                .headers(headers.clone())
                .timeout(DOWNLOAD_TIMEOUT);
            let authorization = self
                .authorization
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
                .filter(|_| url.origin() == start.origin());
            if let Some(authorization) = authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let response = tokio::time::timeout(SILENCE_TIMEOUT, request.send())
                .await
                .map_err(|_| self.connection_error("it does not answer"))?
                .map_err(|error| {
                    refusal(self.reference.host(), &error)
                        .unwrap_or_else(|| connection_error(&url, &error.without_url()))
                })?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let next = response
                .headers()
                .get(header::LOCATION)
                .and_then(|value| value.to_str().ok())
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| {
                    self.protocol_error("redirects without a valid location".to_owned())
                })?;
            let plain = next.scheme() == "http" && is_loopback(&next) && is_loopback(&start);
            if next.scheme() != "https" && !plain {
                return Err(self.protocol_error(
                    "redirects to an address that is not https, which is refused".to_owned(),
                ));
            }
            url = next;
        }
        Err(self.protocol_error(format!("redirects more than {MAX_REDIRECTS} times")))
    }

    fn image_error(&self, source: ManifestError) -> RegistryError {
        RegistryError::Image {
            registry: self.reference.host().clone(),
            source,
        }
    }

    fn protocol_error(&self, why: String) -> RegistryError {
        RegistryError::Protocol {
            registry: self.reference.host().clone(),
            why,
        }
    }

    fn connection_error(&self, why: &str) -> RegistryError {
        RegistryError::Unreachable {
            host: self.reference.host().to_string(),
            why: why.to_owned(),
        }
    }
}

fn write_error(path: &Path) -> impl FnOnce(std::io::Error) -> RegistryError {
    move |source| RegistryError::LocalFile {
        path: path.to_owned(),
        source,
    }
}

/// Returns whether a retry may help.
fn is_transient(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Unreachable { .. })
}

/// The registry's first error after `: `, for the end of a sentence, with at most 200 characters.
/// Empty if there is none.
async fn error_message(mut response: Response) -> String {
    let mut body = Vec::new();
    while let Ok(Ok(Some(chunk))) =
        tokio::time::timeout(Duration::from_secs(5), response.chunk()).await
    {
        body.extend_from_slice(&chunk);
        if body.len() > 64 * 1024 {
            return String::new();
        }
    }
    let message = serde_json::from_slice::<serde_json::Value>(&body)
        .ok()
        .and_then(|body| {
            let first = body.get("errors")?.get(0)?;
            let text = |name| {
                first
                    .get(name)
                    .and_then(serde_json::Value::as_str)
                    .filter(|t| !t.is_empty())
            };
            text("message").or_else(|| text("code")).map(str::to_owned)
        });
    match message {
        Some(message) => {
            let message: String = message
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            format!(": {message}")
        }
        None => String::new(),
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

#[cfg(test)]
mod tests;
