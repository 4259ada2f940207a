//! Pulling: manifests and blobs of one repository (OCI distribution specification, "Pull").

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::Response;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use url::Url;

use super::host::is_loopback;
use super::manifest::{self, Config, Descriptor, Document, Manifest, ManifestError};
use super::transport::{bounded, failed};
use super::{Digest, Http, Login, Reference, RegistryError, authorize, challenges};

/// How often a request is sent again that did not succeed, or a download that makes no progress.
const RETRIES: usize = 4;
/// The first wait before a request is sent again; each further one is twice as long.
const WAIT: Duration = Duration::from_millis(300);
/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How long an answer may take to begin, or to go on.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a download may take; the import's own time-out ends it before.
const WHOLE: Duration = Duration::from_secs(24 * 3600);
/// Most redirects of one request.
const REDIRECTS: usize = 5;
/// Most indexes in one another.
const NESTING: usize = 3;

/// The waits before a request is sent again, each twice as long as the one before.
fn retry_waits(first: Duration) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_times(RETRIES)
        .build()
}

/// One repository of a registry, with what it takes to read from it.
pub struct Repository<'a> {
    http: &'a Http,
    reference: Reference,
    login: Option<Login>,
    authorization: Mutex<Option<HeaderValue>>,
    first_wait: Duration,
}

/// An image of a registry that is for this machine.
#[derive(Clone, Debug)]
pub struct Found {
    /// Of its manifest.
    pub digest: Digest,
    /// The manifest itself.
    pub manifest: Manifest,
}

impl<'a> Repository<'a> {
    /// The repository that a reference is in.
    pub fn new(http: &'a Http, reference: Reference, login: Option<Login>) -> Self {
        Self {
            http,
            reference,
            login,
            authorization: Mutex::new(None),
            first_wait: WAIT,
        }
    }

    /// The image that the reference leads to.
    ///
    /// # Errors
    /// If it is not there, not for this machine, no image, or not what its digest says.
    pub async fn find(&self) -> Result<Found, RegistryError> {
        let mut wanted = self.reference.wanted();
        let mut expected = self.reference.digest().cloned();
        for _ in 0..NESTING {
            let (digest, bytes) = self.manifest(&wanted, expected.as_ref()).await?;
            match manifest::read(&bytes).map_err(|error| self.unusable(error))? {
                Document::Image(manifest) => return Ok(Found { digest, manifest }),
                Document::Index(index) => {
                    let chosen = manifest::choose(&index).map_err(|error| self.unusable(error))?;
                    wanted = chosen.digest.to_string();
                    expected = Some(chosen.digest.clone());
                }
            }
        }
        Err(self.wrong("its indexes lead to indexes, and to no image".to_owned()))
    }

    /// The configuration of an image.
    ///
    /// # Errors
    /// If it cannot be had, is not what its digest says, or is for another machine.
    pub async fn config(&self, of: &Descriptor) -> Result<Config, RegistryError> {
        let response = self
            .get(&self.blob_path(&of.digest), HeaderMap::new())
            .await?;
        let bytes = self.body(response).await?;
        if Digest::of(&bytes) != of.digest {
            return Err(self.wrong(format!(
                "sent something else than its configuration {}",
                of.digest
            )));
        }
        manifest::config(&bytes).map_err(|error| self.unusable(error))
    }

    async fn manifest(
        &self,
        wanted: &str,
        expected: Option<&Digest>,
    ) -> Result<(Digest, Vec<u8>), RegistryError> {
        let path = format!("/v2/{}/manifests/{wanted}", self.reference.repository());
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(manifest::ACCEPT));
        let response = self.get(&path, headers).await?;
        let stated = response
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok()?.parse::<Digest>().ok());
        let bytes = self.body(response).await?;
        let digest = Digest::of(&bytes);
        if expected
            .or(stated.as_ref())
            .is_some_and(|other| *other != digest)
        {
            return Err(self.wrong(format!(
                "sent another manifest than {}",
                expected
                    .or(stated.as_ref())
                    .map(ToString::to_string)
                    .unwrap_or_default()
            )));
        }
        Ok((digest, bytes))
    }

    /// Downloads a blob into a new file. What arrived before a connection broke is kept, where the registry can go on from there;
    /// `progress` is told how many bytes have arrived.
    ///
    /// # Errors
    /// If it cannot be had, is larger than its descriptor says, or is not what its digest says; the file is then of no use.
    pub async fn download(
        &self,
        blob: &Descriptor,
        path: &Path,
        mut progress: impl FnMut(u64),
    ) -> Result<(), RegistryError> {
        let mut file = tokio::fs::File::create_new(path)
            .await
            .map_err(|error| self.disk(path, &error))?;
        let mut hasher = Sha256::new();
        let mut arrived: u64 = 0;
        // The first wait after progress, and longer ones as long as there is none.
        let mut waits = retry_waits(self.first_wait * 2);
        while arrived < blob.size {
            let before = arrived;
            let ended = self
                .pour(
                    blob,
                    &mut file,
                    path,
                    &mut hasher,
                    &mut arrived,
                    &mut progress,
                )
                .await;
            match ended {
                Ok(()) if arrived >= blob.size => break,
                Err(error) if !worth_another(&error) => return Err(error),
                other => {
                    let wait = if arrived > before {
                        waits = retry_waits(self.first_wait * 2);
                        Some(self.first_wait)
                    } else {
                        waits.next()
                    };
                    let Some(wait) = wait else {
                        return Err(other.err().unwrap_or_else(|| {
                            self.wrong(format!(
                                "ended the layer {} after {arrived} of {} bytes",
                                blob.digest, blob.size
                            ))
                        }));
                    };
                    tokio::time::sleep(wait).await;
                }
            }
        }
        file.flush()
            .await
            .map_err(|error| self.disk(path, &error))?;
        if Digest::finish(hasher) != blob.digest {
            return Err(self.wrong(format!(
                "sent something else than the layer {}: the digest of what arrived differs",
                blob.digest
            )));
        }
        Ok(())
    }

    /// Takes what one answer has of a blob.
    async fn pour(
        &self,
        blob: &Descriptor,
        file: &mut tokio::fs::File,
        path: &Path,
        hasher: &mut Sha256,
        arrived: &mut u64,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), RegistryError> {
        let mut headers = HeaderMap::new();
        if *arrived > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={arrived}-"))
        {
            headers.insert(header::RANGE, range);
        }
        let mut response = self.get(&self.blob_path(&blob.digest), headers).await?;
        let goes_on = response.status() == StatusCode::PARTIAL_CONTENT
            && response
                .headers()
                .get(header::CONTENT_RANGE)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|value| value.starts_with(&format!("bytes {arrived}-")));
        if *arrived > 0 && !goes_on {
            *arrived = 0;
            *hasher = Sha256::new();
            file.set_len(0)
                .await
                .map_err(|error| self.disk(path, &error))?;
            file.rewind()
                .await
                .map_err(|error| self.disk(path, &error))?;
            if response.status() == StatusCode::PARTIAL_CONTENT {
                return Err(self.broken("it answered with another part than was asked for"));
            }
        }
        loop {
            let chunk = tokio::time::timeout(SILENCE, response.chunk())
                .await
                .map_err(|_| self.broken("it went silent"))?
                .map_err(|error| self.broken(&innermost(&error)))?;
            let Some(chunk) = chunk else {
                return Ok(());
            };
            if chunk.len() as u64 > blob.size - *arrived {
                return Err(self.wrong(format!(
                    "sent more of the layer {} than its {} bytes",
                    blob.digest, blob.size
                )));
            }
            hasher.update(&chunk);
            file.write_all(&chunk)
                .await
                .map_err(|error| self.disk(path, &error))?;
            *arrived += chunk.len() as u64;
            progress(*arrived);
        }
    }

    fn blob_path(&self, digest: &Digest) -> String {
        format!("/v2/{}/blobs/{digest}", self.reference.repository())
    }

    async fn body(&self, response: Response) -> Result<Vec<u8>, RegistryError> {
        tokio::time::timeout(
            SILENCE,
            bounded(self.reference.host(), response, manifest::LARGEST),
        )
        .await
        .map_err(|_| self.broken("it went silent"))?
    }

    /// A GET that is sent again when it fails for a reason that may pass.
    async fn get(&self, path: &str, headers: HeaderMap) -> Result<Response, RegistryError> {
        let mut waits = retry_waits(self.first_wait);
        loop {
            let (error, wait) = match self.authorized(path, &headers).await {
                Ok(response) => match self.judge(response).await {
                    Ok(response) => return Ok(response),
                    Err(refused) => refused,
                },
                Err(error) => (error, None),
            };
            let Some(own) = waits.next().filter(|_| worth_another(&error)) else {
                return Err(error);
            };
            tokio::time::sleep(wait.unwrap_or(own).min(LONGEST_WAIT)).await;
        }
    }

    /// Whether an answer is one. If not, why, and how long to wait before asking again.
    async fn judge(
        &self,
        response: Response,
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
        let said = said(response).await;
        let error = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.login.is_none() => {
                RegistryError::LoginNeeded { registry }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Rejected {
                registry,
                said: format!("{status}{said}"),
            },
            StatusCode::NOT_FOUND => self.wrong(format!("there is no {}{said}", self.reference)),
            StatusCode::TOO_MANY_REQUESTS => RegistryError::Unreachable {
                at: registry.to_string(),
                why: format!("it asks for fewer requests ({status}){said}; wait, or log in"),
            },
            status if status.is_server_error() => RegistryError::Unreachable {
                at: registry.to_string(),
                why: format!("it answers {status}{said}"),
            },
            status => self.wrong(format!("answers {status} for {}{said}", self.reference)),
        };
        Err((error, wait))
    }

    /// A GET with the authorization that the registry asks for.
    async fn authorized(&self, path: &str, headers: &HeaderMap) -> Result<Response, RegistryError> {
        let response = self.redirected(path, headers).await?;
        // The challenge of a place that the registry led to says nothing of the registry, and the password is not for it.
        let is_own = response.url().origin() == self.address(path)?.origin();
        if response.status() != StatusCode::UNAUTHORIZED || !is_own {
            return Ok(response);
        }
        let asked = challenges(response.headers());
        drop(response);
        let scope = format!("repository:{}:pull", self.reference.repository());
        let authorization = authorize(
            self.http,
            self.reference.host(),
            &asked,
            Some(&scope),
            self.login.as_ref(),
        )
        .await?;
        *self
            .authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        self.redirected(path, headers).await
    }

    /// Where the registry itself answers.
    fn address(&self, path: &str) -> Result<Url, RegistryError> {
        Url::parse(&format!("{}{path}", self.reference.host().api()))
            .map_err(|_| self.wrong("cannot be addressed".to_owned()))
    }

    /// Follows redirects. The authorization stays with the registry's own origin.
    async fn redirected(&self, path: &str, headers: &HeaderMap) -> Result<Response, RegistryError> {
        let start = self.address(path)?;
        let mut url = start.clone();
        for _ in 0..=REDIRECTS {
            let mut request = self
                .http
                .client(&url)?
                .get(url.clone())
                .headers(headers.clone())
                .timeout(WHOLE);
            let authorization = self
                .authorization
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
                .filter(|_| url.origin() == start.origin());
            if let Some(authorization) = authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let response = tokio::time::timeout(SILENCE, request.send())
                .await
                .map_err(|_| self.broken("it does not answer"))?
                .map_err(|error| failed(&url, &error.without_url()))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let next = response
                .headers()
                .get(header::LOCATION)
                .and_then(|value| value.to_str().ok())
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| self.wrong("redirects to nowhere".to_owned()))?;
            let plain = next.scheme() == "http" && is_loopback(&next) && is_loopback(&start);
            if next.scheme() != "https" && !plain {
                return Err(self.wrong(
                    "redirects to an address that is not https, which is refused".to_owned(),
                ));
            }
            url = next;
        }
        Err(self.wrong(format!("redirects more than {REDIRECTS} times")))
    }

    fn unusable(&self, source: ManifestError) -> RegistryError {
        RegistryError::Image {
            registry: self.reference.host().clone(),
            source,
        }
    }

    fn wrong(&self, why: String) -> RegistryError {
        RegistryError::Protocol {
            registry: self.reference.host().clone(),
            why,
        }
    }

    fn broken(&self, why: &str) -> RegistryError {
        RegistryError::Unreachable {
            at: self.reference.host().to_string(),
            why: why.to_owned(),
        }
    }

    fn disk(&self, path: &Path, error: &std::io::Error) -> RegistryError {
        self.wrong(format!(
            "what it sends cannot be written to {}: {error}",
            path.display()
        ))
    }
}

/// Whether asking again may help.
fn worth_another(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Unreachable { .. })
}

/// The registry's own words, if it has some: the first of its errors, bounded.
async fn said(mut response: Response) -> String {
    let mut body = Vec::new();
    while let Ok(Ok(Some(chunk))) =
        tokio::time::timeout(Duration::from_secs(5), response.chunk()).await
    {
        body.extend_from_slice(&chunk);
        if body.len() > 64 * 1024 {
            return String::new();
        }
    }
    let words = serde_json::from_slice::<serde_json::Value>(&body)
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
    match words {
        Some(words) => {
            let words: String = words
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            format!(": {words}")
        }
        None => String::new(),
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
