//! The encryption of connections to registries.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};

/// Installs a cryptography provider for the process, unless the program has installed one.
pub(super) fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // Fails only if another thread has just installed one, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// A TLS configuration without root certificates, for clients that never encrypt.
///
/// Without it, rustls would load the system's certificates. That is slow, and fails where there are
/// none.
pub(super) fn no_certificates() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}
