//! Pulls manifests and blobs of one repository (OCI distribution specification, "Pull").

mod download;
mod error_message;
pub(super) mod request;

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use http::{HeaderMap, HeaderValue, header};
use reqwest::Response;

use self::request::RequestedContent;
use super::address_scope::AddressScope;
use super::manifest::{
    self, Descriptor, Document, ImageConfig, ImagePart, Manifest, ManifestError,
};
use super::transport::read_bounded;
use super::{Digest, HttpClients, Login, Reference, RegistryError};

/// The most retries of a failed request, or of a download that makes no progress.
const MAX_RETRIES: usize = 4;
/// The wait before the first retry. Each further wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// The longest wait that a server may request before a retry.
pub(super) const MAX_REQUESTED_WAIT: Duration = Duration::from_secs(20);
/// How long a response may take to begin, or to continue.
pub(super) const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// The most levels of nested indexes.
const MAX_NESTING: usize = 3;

/// The waits before retries, each twice as long as the one before.
pub(super) fn retry_waits(first: Duration) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_times(MAX_RETRIES)
        .build()
}

/// The actions that a token for a repository allows (distribution specification, "Token Scope").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Pull,
    Push,
}

impl Access {
    /// The actions in the scope of a token.
    fn actions(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        }
    }
}

/// A repository of a registry, with the credentials to read from it or to write to it.
pub struct Repository<'a> {
    http: &'a HttpClients,
    pub(super) reference: Reference,
    login: Option<Login>,
    access: Access,
    /// Repositories of the same registry from which blobs may be mounted.
    sources: Vec<String>,
    authorization: Mutex<Option<HeaderValue>>,
    pub(super) first_wait: Duration,
    /// The registry's part of the network. The first redirect to another server determines it.
    scope: OnceLock<AddressScope>,
}

/// An image in a registry that can run on this machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResolvedImage {
    /// The digest of its manifest.
    pub digest: Digest,
    /// The bytes of its manifest.
    pub bytes: Vec<u8>,
    /// The manifest.
    pub manifest: Manifest,
}

impl<'a> Repository<'a> {
    /// The repository of a reference, to pull from.
    pub fn new(http: &'a HttpClients, reference: Reference, login: Option<Login>) -> Self {
        Self::with_access(http, reference, login, Access::Pull, Vec::new())
    }

    /// The repository of a reference, to push to. Blobs may be mounted from `sources`, which are
    /// repositories of the same registry.
    pub fn for_push(
        http: &'a HttpClients,
        reference: Reference,
        login: Option<Login>,
        sources: Vec<String>,
    ) -> Self {
        Self::with_access(http, reference, login, Access::Push, sources)
    }

    fn with_access(
        http: &'a HttpClients,
        reference: Reference,
        login: Option<Login>,
        access: Access,
        sources: Vec<String>,
    ) -> Self {
        Self {
            http,
            reference,
            login,
            access,
            sources,
            authorization: Mutex::new(None),
            first_wait: FIRST_WAIT,
            scope: OnceLock::new(),
        }
    }

    /// Finds the image of the reference.
    ///
    /// # Errors
    /// Fails if the content does not exist, does not match its digest, is not an image, or is for
    /// another kind of machine.
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
                Document::Image(manifest) => {
                    return Ok(ResolvedImage {
                        digest,
                        bytes,
                        manifest,
                    });
                }
                Document::Index(index) => {
                    let chosen = manifest::choose_manifest(&index)
                        .map_err(|error| self.image_error(error))?;
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
        self.parse_config(&self.config_bytes(descriptor).await?)
    }

    /// Fetches the bytes of the configuration of an image.
    ///
    /// # Errors
    /// Fails if the configuration cannot be fetched, or does not match its digest.
    pub async fn config_bytes(&self, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> {
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
        Ok(bytes)
    }

    /// Parses the configuration of an image of this repository.
    ///
    /// # Errors
    /// Fails if it cannot be used, or is for another kind of machine.
    pub fn parse_config(&self, bytes: &[u8]) -> Result<ImageConfig, RegistryError> {
        manifest::parse_config(bytes).map_err(|error| self.image_error(error))
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

    pub(super) fn blob_path(&self, digest: &Digest) -> String {
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

    fn image_error(&self, source: ManifestError) -> RegistryError {
        RegistryError::Image {
            registry: self.reference.host().clone(),
            source,
        }
    }

    pub(super) fn protocol_error(&self, why: String) -> RegistryError {
        RegistryError::Protocol {
            registry: self.reference.host().clone(),
            why,
        }
    }

    pub(super) fn connection_error(&self, why: &str) -> RegistryError {
        RegistryError::Unreachable {
            host: self.reference.host().to_string(),
            why: why.to_owned(),
        }
    }
}

/// Returns whether a retry may help.
pub(super) fn is_transient(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Unreachable { .. })
}

#[cfg(test)]
mod tests;
