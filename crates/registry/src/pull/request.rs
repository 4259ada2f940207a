//! Requests for manifests and blobs: retries, authorization and redirects.

use std::sync::PoisonError;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use reqwest::{Client, Response};
use url::Url;

use super::{Repository, SILENCE_TIMEOUT, is_transient, retry_waits};
use crate::address_scope::AddressScope;
use crate::host::is_loopback;
use crate::manifest::{ImagePart, ManifestError};
use crate::named_server::refused_server_error;
use crate::transport::connection_error;
use crate::{Digest, RegistryError, authorize, challenges};

/// The longest wait that a server may request.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How long a download may take. An import's own time-out ends it earlier.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// The most redirects of one request.
const MAX_REDIRECTS: usize = 5;

/// The content that a request asks for.
#[derive(Clone, Copy)]
pub(super) enum RequestedContent<'a> {
    /// The image or index that the reference names.
    Image,
    /// A part of the image.
    Part(ImagePart, &'a Digest),
}

impl Repository<'_> {
    /// Sends a GET, and repeats it after errors that may pass.
    pub(super) async fn get_with_retries(
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
        self.http
            .client_for_named_server(self.reference.host(), scope, url)
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
                    refused_server_error(self.reference.host(), &error)
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
