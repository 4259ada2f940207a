//! The encryption of connections to registries.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};

/// The cryptography that the program has installed, or else ring. This function installs none.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}

/// A TLS configuration with the certificates that the system trusts.
pub(super) fn system_certificates() -> Result<ClientConfig, rustls::Error> {
    let provider = provider();
    let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(&provider))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec!["http/1.1".into()];
    Ok(config)
}

/// A TLS configuration without root certificates, for clients that never encrypt.
///
/// Without it, rustls would load the system's certificates. That is slow, and fails on a system
/// without certificates.
pub(super) fn no_certificates() -> Result<ClientConfig, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}
