//! Requests for manifests and blobs: retries, authorization and redirects.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Body, Client, Response};
use url::Url;

use super::error_message::error_message;
use super::{MAX_REQUESTED_WAIT, Repository, SILENCE_TIMEOUT, is_transient, retry_waits};
use crate::address_scope::AddressScope;
use crate::host::is_loopback;
use crate::manifest::{ImagePart, ManifestError};
use crate::named_server::refused_server_error;
use crate::transport::connection_error;
use crate::{Challenge, Digest, RegistryError, authorize, challenges};

/// How long a request and its response may take, with all their content. The time-out of an import
/// or push ends it earlier.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// The most redirects of one request.
const MAX_REDIRECTS: usize = 5;

/// How often a request with a body checks that the body is still being sent.
const BODY_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The body of a request, which can be made again for another attempt.
pub(crate) struct RequestBody<'b> {
    /// Makes the body for one attempt.
    pub(crate) make: &'b (dyn Fn() -> Body + Send + Sync),
    /// The number of bytes that the current attempt has sent.
    pub(crate) sent: &'b AtomicU64,
    /// Receives the number of bytes that the current attempt has sent.
    pub(crate) progress: &'b (dyn Fn(u64) + Send + Sync),
}

/// A request to a registry.
pub(crate) struct OutgoingRequest<'b> {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<RequestBody<'b>>,
}

impl OutgoingRequest<'_> {
    /// A request without a body.
    pub(crate) fn new(method: Method, headers: HeaderMap) -> Self {
        Self {
            method,
            headers,
            body: None,
        }
    }

    /// Returns whether a redirect with this status repeats the request.
    fn follows(&self, status: StatusCode) -> bool {
        let is_read = self.method == Method::GET || self.method == Method::HEAD;
        is_read
            || matches!(
                status,
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
            )
    }
}

/// The content that a request asks for.
#[derive(Clone, Copy)]
pub(super) enum RequestedContent<'a> {
    /// The image or index that the reference names.
    Image,
    /// A part of the image.
    Part(ImagePart, &'a Digest),
}

impl Repository<'_> {
    /// Sends a GET, and repeats it after temporary errors.
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
            tokio::time::sleep(requested_wait.unwrap_or(wait).min(MAX_REQUESTED_WAIT)).await;
        }
    }

    /// Returns a successful response. Otherwise returns the error, and the wait that the registry
    /// requests.
    async fn check_status(
        &self,
        response: Response,
        content: RequestedContent<'_>,
    ) -> Result<Response, (RegistryError, Option<Duration>)> {
        if response.status().is_success() {
            return Ok(response);
        }
        let missing = |message: &str| match content {
            RequestedContent::Image => {
                self.protocol_error(format!("there is no {}{message}", self.reference))
            }
            RequestedContent::Part(part, digest) => self.image_error(ManifestError::MissingPart {
                part,
                digest: digest.clone(),
            }),
        };
        let subject = match content {
            RequestedContent::Image => self.reference.to_string(),
            RequestedContent::Part(part, digest) => format!("the {part} {digest}"),
        };
        Err(self.failure(response, &subject, missing).await)
    }

    /// The error of an unsuccessful response, and the wait that the registry requests. `subject`
    /// names the content. `missing` makes the error for status 404 from the registry's message.
    pub(crate) async fn failure(
        &self,
        response: Response,
        subject: &str,
        missing: impl FnOnce(&str) -> RegistryError,
    ) -> (RegistryError, Option<Duration>) {
        let status = response.status();
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
            StatusCode::NOT_FOUND => missing(&message),
            StatusCode::TOO_MANY_REQUESTS => RegistryError::Unreachable {
                host: registry.to_string(),
                why: format!("it asks for fewer requests ({status}){message}; wait, or log in"),
            },
            status if status.is_server_error() => RegistryError::Unreachable {
                host: registry.to_string(),
                why: format!("it answers {status}{message}"),
            },
            status => self.protocol_error(format!("answers {status} for {subject}{message}")),
        };
        (error, wait)
    }

    /// Sends a GET with the authorization that the registry requires.
    async fn get_authorized(
        &self,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Response, RegistryError> {
        let request = OutgoingRequest::new(Method::GET, headers.clone());
        self.send_authorized(&self.api_url(path)?, &request).await
    }

    /// Sends a request with the authorization that the registry requires. The URL is one of the
    /// registry's API, or one that the registry named.
    pub(crate) async fn send_authorized(
        &self,
        url: &Url,
        request: &OutgoingRequest<'_>,
    ) -> Result<Response, RegistryError> {
        let response = self.send_following_redirects(url, request).await?;
        // A challenge after a redirect to another origin is not the registry's, and the password is
        // not for that origin.
        let is_registry = response.url().origin() == self.api_url("/")?.origin();
        if response.status() != StatusCode::UNAUTHORIZED || !is_registry {
            return Ok(response);
        }
        let challenges = challenges(response.headers());
        drop(response);
        let authorization = self.authorization_for(&challenges).await?;
        *self
            .authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        self.send_following_redirects(url, request).await
    }

    /// Answers the registry's challenges. If a token server refuses the repositories from which
    /// blobs could be mounted, the token is for this repository alone.
    async fn authorization_for(
        &self,
        challenges: &[Challenge],
    ) -> Result<HeaderValue, RegistryError> {
        let own = format!(
            "repository:{}:{}",
            self.reference.repository(),
            self.access.actions()
        );
        let mut scope = own.clone();
        for source in &self.sources {
            scope.push_str(&format!(" repository:{source}:pull"));
        }
        let authorize = async |scope: &str| {
            authorize(
                self.http,
                self.reference.host(),
                challenges,
                Some(scope),
                self.login.as_ref(),
            )
            .await
        };
        match authorize(&scope).await {
            Err(error) if error.is_rejection() && scope != own => authorize(&own).await,
            other => other,
        }
    }

    /// The URL of a path of the registry's API.
    pub(crate) fn api_url(&self, path: &str) -> Result<Url, RegistryError> {
        Url::parse(&format!("{}{path}", self.reference.host().api()))
            .map_err(|_| self.protocol_error("its URL is not valid".to_owned()))
    }

    /// The client for a URL of the registry, or for one to which it redirects. The target of a
    /// redirect must be on the internet or in the registry's part of the network.
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

    /// Sends a request and follows redirects. The authorization goes only to the registry's own
    /// origin.
    async fn send_following_redirects(
        &self,
        first: &Url,
        request: &OutgoingRequest<'_>,
    ) -> Result<Response, RegistryError> {
        let start = self.api_url("/")?;
        let mut url = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut builder = self
                .client(&start, &url)
                .await?
                .request(request.method.clone(), url.clone())
                .headers(request.headers.clone())
                .timeout(TRANSFER_TIMEOUT);
            let authorization = self
                .authorization
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
                .filter(|_| url.origin() == start.origin());
            if let Some(authorization) = authorization {
                builder = builder.header(header::AUTHORIZATION, authorization);
            }
            if let Some(body) = &request.body {
                builder = builder.body((body.make)());
            }
            let response = self
                .wait_for_response(builder.send(), request.body.as_ref())
                .await?
                .map_err(|error| {
                    refused_server_error(self.reference.host(), &error)
                        .unwrap_or_else(|| connection_error(&url, &error.without_url()))
                })?;
            let status = response.status();
            if !status.is_redirection() || !request.follows(status) {
                return Ok(response);
            }
            url = self.location(&url, &response)?.ok_or_else(|| {
                self.protocol_error("redirects without a valid location".to_owned())
            })?;
        }
        Err(self.protocol_error(format!("redirects more than {MAX_REDIRECTS} times")))
    }

    /// Waits for a response. Fails if the registry neither answers nor takes more of the body for
    /// [`SILENCE_TIMEOUT`].
    async fn wait_for_response<T>(
        &self,
        response: impl Future<Output = T>,
        body: Option<&RequestBody<'_>>,
    ) -> Result<T, RegistryError> {
        let Some(body) = body else {
            return tokio::time::timeout(SILENCE_TIMEOUT, response)
                .await
                .map_err(|_| self.connection_error("it does not answer"));
        };
        let mut response = std::pin::pin!(response);
        let (mut sent, mut since) = (body.sent.load(Ordering::Relaxed), Instant::now());
        loop {
            let waited = tokio::time::timeout(BODY_CHECK_INTERVAL, &mut response).await;
            let now = body.sent.load(Ordering::Relaxed);
            if now != sent {
                (sent, since) = (now, Instant::now());
                (body.progress)(now);
            }
            match waited {
                Ok(response) => return Ok(response),
                Err(_) if since.elapsed() >= SILENCE_TIMEOUT => {
                    return Err(self.connection_error("it takes no more data and does not answer"));
                }
                Err(_) => {}
            }
        }
    }

    /// The URL in the header `Location` of a response to a request for `url`. `None` if there is
    /// no valid one.
    ///
    /// # Errors
    /// Fails if it is not `https`, unless both it and the registry are on this machine.
    pub(crate) fn location(
        &self,
        url: &Url,
        response: &Response,
    ) -> Result<Option<Url>, RegistryError> {
        let location = response
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|location| url.join(location).ok());
        let Some(next) = location else {
            return Ok(None);
        };
        let plain =
            next.scheme() == "http" && is_loopback(&next) && self.reference.host().is_loopback();
        if next.scheme() != "https" && !plain {
            return Err(self.protocol_error(
                "redirects to an address that is not https, which is refused".to_owned(),
            ));
        }
        Ok(Some(next))
    }
}
