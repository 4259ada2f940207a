//! Checking requests to push an image.

use contree_registry::Login;
use contree_registry::push::layer::LayerCompression;

use super::import::{MASK, TIMEOUT, login};
use crate::api::request::RequestError;
use crate::api::types::{
    ImageImportMetadata, MaskedRegistry, MaskedRegistryCredentials, PushRequest,
};
use crate::push::plan::PushOptions;
use crate::push::target::PushTarget;

/// A checked request to push an image.
pub(crate) struct CheckedPush {
    pub(crate) target: PushTarget,
    /// The target as the request states it. It holds no password.
    pub(crate) url: String,
    pub(crate) login: Option<Login>,
    pub(crate) options: PushOptions,
    pub(crate) timeout: u64,
}

impl PushRequest {
    /// Checks values that no type restricts, and parses the target.
    pub(crate) fn check(self) -> Result<CheckedPush, RequestError> {
        if !(1..=TIMEOUT).contains(&self.timeout) {
            return Err(RequestError::OutOfBounds {
                field: "timeout",
                least: "1".to_owned(),
                most: format!("{TIMEOUT} seconds"),
                given: self.timeout.to_string(),
            });
        }
        let compression = match self.compression.as_str() {
            "gzip" => LayerCompression::Gzip,
            "zstd" => LayerCompression::Zstd,
            other => return Err(RequestError::Compression(other.to_owned())),
        };
        let target = PushTarget::parse(&self.registry.url)?;
        Ok(CheckedPush {
            target,
            url: self.registry.url,
            login: login(self.registry.credentials)?,
            options: PushOptions {
                squash: self.squash,
                compression,
            },
            timeout: self.timeout,
        })
    }
}

impl CheckedPush {
    /// The request as it is recorded and shown: with masked secrets.
    pub(crate) fn masked(&self) -> ImageImportMetadata {
        let credentials = self.login.as_ref().map(|_| MaskedRegistryCredentials {
            username: Some(MASK.to_owned()),
            password: Some(MASK.to_owned()),
        });
        ImageImportMetadata {
            registry: Some(MaskedRegistry {
                url: Some(self.url.clone()),
                credentials,
            }),
            tag: None,
            timeout: self.timeout,
        }
    }
}
