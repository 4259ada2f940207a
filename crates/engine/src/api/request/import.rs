//! Checking requests to import an image.

use crate::api::request::{RequestError, check_tag};
use crate::api::types::{
    ImageImportMetadata, ImageImportRequest, MaskedRegistry, MaskedRegistryCredentials,
    RegistryCredentials,
};
use crate::import::source::ImageSource;
use contree_registry::Login;

/// The longest time-out of an import, in seconds.
pub(super) const TIMEOUT: u64 = 24 * 3600;
/// The text that replaces secrets in answers.
pub(super) const MASK: &str = "***";

/// A checked request to import an image.
pub(crate) struct CheckedImport {
    pub(crate) origin: ImageSource,
    pub(crate) login: Option<Login>,
    pub(crate) tag: Option<String>,
    pub(crate) timeout: u64,
}

impl ImageImportRequest {
    /// Checks values that no type restricts, and parses the source.
    pub(crate) fn check(self) -> Result<CheckedImport, RequestError> {
        let tag = self.tag.filter(|tag| !tag.is_empty());
        if let Some(tag) = &tag {
            check_tag(tag)?;
        }
        if !(1..=TIMEOUT).contains(&self.timeout) {
            return Err(RequestError::OutOfBounds {
                field: "timeout",
                least: "1".to_owned(),
                most: format!("{TIMEOUT} seconds"),
                given: self.timeout.to_string(),
            });
        }
        let origin = ImageSource::parse(&self.registry.url)?;
        let login = login(self.registry.credentials)?;
        Ok(CheckedImport {
            origin,
            login,
            tag,
            timeout: self.timeout,
        })
    }
}

/// The login of a request. Empty texts count as none.
pub(super) fn login(
    credentials: Option<RegistryCredentials>,
) -> Result<Option<Login>, RequestError> {
    let non_empty = |text: Option<String>| text.filter(|text| !text.is_empty());
    let credentials =
        credentials.map(|login| (non_empty(login.username), non_empty(login.password)));
    match credentials {
        None | Some((None, None)) => Ok(None),
        Some((Some(username), Some(password))) => Ok(Some(Login::password(username, password))),
        Some(_) => Err(RequestError::HalfCredentials),
    }
}

impl CheckedImport {
    /// The request as it is recorded and shown: with masked secrets.
    pub(crate) fn masked(&self) -> ImageImportMetadata {
        let credentials = self.login.as_ref().map(|_| MaskedRegistryCredentials {
            username: Some(MASK.to_owned()),
            password: Some(MASK.to_owned()),
        });
        ImageImportMetadata {
            registry: Some(MaskedRegistry {
                url: Some(self.origin.url()),
                credentials,
            }),
            tag: self.tag.clone(),
            timeout: self.timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(body: Value) -> Result<CheckedImport, RequestError> {
        serde_json::from_value::<ImageImportRequest>(body)
            .unwrap()
            .check()
    }

    #[test]
    fn secrets_are_masked() {
        let body = json!({"registry": {"url": "docker://ghcr.io/a/b", "credentials": {"username": "alice", "password": "hunter2"}}, "tag": "a/b:1"});
        let text = check(body).map_err(drop).unwrap().masked();
        let text = serde_json::to_string(&text).unwrap();
        assert!(
            !text.contains("hunter2") && !text.contains("alice") && text.contains(MASK),
            "{text}"
        );
        let without_login = check(json!({"registry": {"url": "alpine"}}))
            .map_err(drop)
            .unwrap()
            .masked();
        assert_eq!(
            serde_json::to_value(without_login).unwrap(),
            json!({"registry": {"url": "alpine"}, "tag": null, "timeout": 300})
        );
    }

    #[test]
    fn errors_name_the_invalid_field() {
        for (body, word) in [
            (json!({"registry": {"url": ""}}), "`registry.url`"),
            (
                json!({"registry": {"url": "u:hunter2@ghcr.io/a"}}),
                "credentials",
            ),
            (json!({"registry": {"url": "rootfs:relative"}}), "absolute"),
            (json!({"registry": {"url": "alpine"}, "tag": "a b"}), "tag"),
            (
                json!({"registry": {"url": "alpine"}, "timeout": 0}),
                "`timeout`",
            ),
            (
                json!({"registry": {"url": "alpine"}, "timeout": 99_999_999}),
                "`timeout`",
            ),
            (
                json!({"registry": {"url": "alpine", "credentials": {"username": "hunter2"}}}),
                "both",
            ),
        ] {
            let error = check(body).map(drop).unwrap_err().to_string();
            assert!(
                error.contains(word) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
