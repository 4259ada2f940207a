//! How connections to registries are encrypted.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};

/// Chooses a cryptography provider for the process, unless the program has chosen one.
pub(super) fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // It fails only if another thread was quicker, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// A configuration without certificates, for connections that are never encrypted.
///
/// Without one, rustls loads the system's certificates, which takes long, and fails where there are none.
pub(super) fn no_certificates() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}
