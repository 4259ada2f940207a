//! Whether a registry accepts credentials.

use http::{HeaderValue, StatusCode, header::AUTHORIZATION};
use reqwest::Response;
use url::Url;

use super::transport::failed;
use super::{Host, Http, Login, RegistryError, authorize, challenges};

/// What a registry makes of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It accepts them.
    Granted,
    /// It asks for none, so that they could not be tried.
    Open,
}

/// Tries a login on the registry's own version check, `GET /v2/`.
///
/// # Errors
/// [`RegistryError::Rejected`] if it is not accepted; others if it could not be tried.
pub async fn check(http: &Http, registry: &Host, login: &Login) -> Result<Access, RegistryError> {
    let asked = version(http, registry, None).await?;
    let status = asked.status();
    if status.is_success() {
        return Ok(Access::Open);
    }
    if status != StatusCode::UNAUTHORIZED {
        return Err(RegistryError::Protocol {
            registry: registry.clone(),
            why: format!("it is no registry, or is out of order: /v2/ answers {status}"),
        });
    }
    let asked = challenges(asked.headers());
    let authorization = authorize(http, registry, &asked, None, Some(login)).await?;
    let answer = version(http, registry, Some(authorization)).await?;
    let status = answer.status();
    if status.is_success() {
        return Ok(Access::Granted);
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(RegistryError::Rejected {
            registry: registry.clone(),
            said: status.to_string(),
        });
    }
    Err(RegistryError::Protocol {
        registry: registry.clone(),
        why: format!("/v2/ answers {status}"),
    })
}

async fn version(
    http: &Http,
    registry: &Host,
    authorization: Option<HeaderValue>,
) -> Result<Response, RegistryError> {
    let url = format!("{}/v2/", registry.api());
    let url = Url::parse(&url).map_err(|_| RegistryError::Name {
        given: registry.to_string(),
        why: "give HOST or HOST:PORT",
    })?;
    let mut request = http.client(&url)?.get(url.clone());
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request
        .send()
        .await
        .map_err(|error| failed(&url, &error.without_url()))
}
