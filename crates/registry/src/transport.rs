//! HTTP as registries are spoken to: no redirect is followed, so that no credentials go where they were not meant to.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Response, redirect};
use url::Url;

use super::tls::{install_provider, no_certificates};
use super::{Host, RegistryError};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a whole exchange may take; none of them is large.
const WHOLE: Duration = Duration::from_secs(30);

/// Clients for `https` and for `http` on this machine, each made at its first use.
#[derive(Debug, Default)]
pub struct Http {
    encrypted: OnceLock<Client>,
    plain: OnceLock<Client>,
}

impl Http {
    /// The client for a URL.
    ///
    /// # Errors
    /// If the system's certificates cannot be read.
    pub fn client(&self, url: &Url) -> Result<Client, RegistryError> {
        let (kept, builder) = if url.scheme() == "https" {
            install_provider();
            (&self.encrypted, builder())
        } else {
            let certificates = no_certificates().map_err(|error| failed(url, &error))?;
            let builder = builder().no_proxy().tls_backend_preconfigured(certificates);
            (&self.plain, builder)
        };
        if let Some(client) = kept.get() {
            return Ok(client.clone());
        }
        let made = builder.build().map_err(|error| failed(url, &error))?;
        Ok(kept.get_or_init(|| made).clone())
    }
}

/// How the client names itself.
fn user_agent() -> String {
    format!(
        "contree/{} ({}; {})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

fn builder() -> ClientBuilder {
    Client::builder()
        .user_agent(user_agent())
        .connect_timeout(CONNECT)
        .timeout(WHOLE)
        .redirect(redirect::Policy::none())
}

/// An error of the HTTP library without the URL, whose query may hold what is nobody's business.
pub(super) fn failed(url: &Url, error: &dyn std::error::Error) -> RegistryError {
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        why = cause.to_string();
        source = cause.source();
    }
    let mut at = url.host_str().unwrap_or_default().to_owned();
    if let Some(port) = url.port() {
        at = format!("{at}:{port}");
    }
    RegistryError::Unreachable { at, why }
}

/// A body of at most `limit` bytes.
///
/// # Errors
/// If it is longer, or breaks off.
pub async fn bounded(
    registry: &Host,
    mut response: Response,
    limit: usize,
) -> Result<Vec<u8>, RegistryError> {
    let url = response.url().clone();
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| failed(&url, &error.without_url()))?
    {
        if body.len() + chunk.len() > limit {
            return Err(RegistryError::Protocol {
                registry: registry.clone(),
                why: format!("an answer is longer than {limit} bytes"),
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
