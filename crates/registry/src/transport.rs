//! HTTP clients for registries. They follow no redirects, so that credentials reach no other
//! server.

use std::error::Error;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Response, redirect};
use url::Url;

use super::address_scope::AddressScope;
use super::checking_resolver::CheckingResolver;
use super::tls::{no_certificates, system_certificates};
use super::{RegistryError, RegistryHost};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a small request and its response may take. Requests to a repository set a longer time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Clients for `https`, and for `http` on this machine. Each is made when first used.
#[derive(Debug, Default)]
pub struct HttpClients {
    encrypted: OnceLock<Client>,
    plain: OnceLock<Client>,
    /// Clients for servers that a registry names, by the scope of the registry. Each has its own
    /// connections, since those of the other clients may lead anywhere.
    checking: [OnceLock<Client>; 4],
}

impl HttpClients {
    /// Returns the client for a URL.
    ///
    /// # Errors
    /// Fails if the system's certificates cannot be read.
    pub fn client(&self, url: &Url) -> Result<Client, RegistryError> {
        if url.scheme() == "https" {
            return build_once(&self.encrypted, url, || encrypted_builder(url));
        }
        build_once(&self.plain, url, || {
            let certificates = no_certificates().map_err(|error| connection_error(url, &error))?;
            Ok(client_builder()
                .no_proxy()
                .tls_backend_preconfigured(certificates))
        })
    }

    /// Returns the client that connects only to addresses to which a registry in the scope `from`
    /// may lead it.
    ///
    /// # Errors
    /// Fails if the system's certificates cannot be read.
    pub(super) fn checking_client(
        &self,
        from: AddressScope,
        url: &Url,
    ) -> Result<Client, RegistryError> {
        build_once(&self.checking[from as usize], url, || {
            Ok(encrypted_builder(url)?.dns_resolver(CheckingResolver::shared(from)))
        })
    }
}

fn build_once(
    slot: &OnceLock<Client>,
    url: &Url,
    builder: impl FnOnce() -> Result<ClientBuilder, RegistryError>,
) -> Result<Client, RegistryError> {
    if let Some(client) = slot.get() {
        return Ok(client.clone());
    }
    let client = builder()?
        .build()
        .map_err(|error| connection_error(url, &error))?;
    Ok(slot.get_or_init(|| client).clone())
}

/// The value of the `User-Agent` header.
fn user_agent() -> String {
    format!(
        "contree/{} ({}; {})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

fn client_builder() -> ClientBuilder {
    Client::builder()
        .user_agent(user_agent())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .redirect(redirect::Policy::none())
}

/// The builder of a client that encrypts.
fn encrypted_builder(url: &Url) -> Result<ClientBuilder, RegistryError> {
    let certificates = system_certificates().map_err(|error| RegistryError::Certificate {
        host: host_and_port(url),
        why: error.to_string(),
    })?;
    Ok(client_builder().tls_backend_preconfigured(certificates))
}

/// Converts an error of the HTTP library. The URL is omitted, because its query may hold secrets.
pub(super) fn connection_error(url: &Url, error: &(dyn Error + 'static)) -> RegistryError {
    let host = host_and_port(url);
    if let Some(error) = certificate_error(error) {
        let why = error.to_string();
        return RegistryError::Certificate { host, why };
    }
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        why = cause.to_string();
        source = cause.source();
    }
    RegistryError::Unreachable { host, why }
}

/// Looks for a certificate that is not accepted among the causes of an error.
fn certificate_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        let is_certificate = matches!(
            error,
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented
        );
        return is_certificate.then_some(error);
    }
    // The source of an I/O error is not the error that it wraps, but the source of that one.
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .map(|wrapped| wrapped as &(dyn Error + 'static));
    certificate_error(wrapped.or_else(|| error.source())?)
}

fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// Fails if the body is longer or the connection breaks.
pub async fn read_bounded(
    registry: &RegistryHost,
    mut response: Response,
    limit: usize,
) -> Result<Vec<u8>, RegistryError> {
    let url = response.url().clone();
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| connection_error(&url, &error.without_url()))?
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
