//! Checks whether a registry accepts credentials.

use http::{HeaderValue, StatusCode, header::AUTHORIZATION};
use reqwest::Response;
use url::Url;

use super::transport::connection_error;
use super::{HttpClients, Login, RegistryError, RegistryHost, authorize, challenges};

/// The result of checking credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialCheck {
    /// The registry accepts the credentials.
    Accepted,
    /// The registry requires no credentials, so it did not check them.
    NotRequired,
}

/// Checks a login with the registry's version check, `GET /v2/`.
///
/// # Errors
/// Returns [`RegistryError::Rejected`] if the registry rejects the login, and other errors if the
/// check fails.
pub async fn check(
    http: &HttpClients,
    registry: &RegistryHost,
    login: &Login,
) -> Result<CredentialCheck, RegistryError> {
    let response = request_version(http, registry, None).await?;
    let status = response.status();
    if status.is_success() {
        return Ok(CredentialCheck::NotRequired);
    }
    if status != StatusCode::UNAUTHORIZED {
        return Err(RegistryError::Protocol {
            registry: registry.clone(),
            why: format!("it is not a registry, or it is failing: /v2/ answers {status}"),
        });
    }
    let challenges = challenges(response.headers());
    let authorization = authorize(http, registry, &challenges, None, Some(login)).await?;
    let response = request_version(http, registry, Some(authorization)).await?;
    let status = response.status();
    if status.is_success() {
        return Ok(CredentialCheck::Accepted);
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(RegistryError::Rejected {
            registry: registry.clone(),
            message: status.to_string(),
        });
    }
    Err(RegistryError::Protocol {
        registry: registry.clone(),
        why: format!("/v2/ answers {status}"),
    })
}

/// Sends `GET /v2/`.
async fn request_version(
    http: &HttpClients,
    registry: &RegistryHost,
    authorization: Option<HeaderValue>,
) -> Result<Response, RegistryError> {
    let url = format!("{}/v2/", registry.api());
    let url = Url::parse(&url).map_err(|_| RegistryError::Name {
        input: registry.to_string(),
        why: "give HOST or HOST:PORT",
    })?;
    let mut request = http.client(&url)?.get(url.clone());
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request
        .send()
        .await
        .map_err(|error| connection_error(&url, &error.without_url()))
}
