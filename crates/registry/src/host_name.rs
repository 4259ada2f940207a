//! Parses the texts that name a registry's host.

use url::Url;

use super::host::is_loopback;
use super::{RegistryError, RegistryHost};

/// All names of Docker Hub.
const HUB_NAMES: &[&str] = &[
    "docker.io",
    "www.docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "registry.docker.io",
    "registry.hub.docker.com",
    "hub.docker.com",
    "docker.com",
];

/// The algorithms that a digest in a reference may name.
const DIGEST_ALGORITHMS: &[&str] = &["sha256", "sha384", "sha512", "blake3", "md5"];

impl RegistryHost {
    /// Parses `HOST` or `HOST:PORT`. All names of Docker Hub become `docker.io`.
    ///
    /// # Errors
    /// Returns [`RegistryError::Name`] if the text is not a host.
    pub fn new(authority: &str) -> Result<Self, RegistryError> {
        let invalid = |why| RegistryError::Name {
            input: without_user(authority),
            why,
        };
        if authority.contains('@') {
            return Err(invalid("leave out the user and password"));
        }
        let url = Url::parse(&format!("https://{authority}"))
            .map_err(|_| invalid("give HOST or HOST:PORT"))?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let Some(host) = url
            .host_str()
            .filter(|_| is_bare && !authority.ends_with('/'))
        else {
            return Err(invalid("give HOST or HOST:PORT"));
        };
        let host = host.trim_end_matches('.');
        if host.is_empty() {
            return Err(invalid("give HOST or HOST:PORT"));
        }
        if HUB_NAMES.contains(&host) && url.port().is_none() {
            return Ok(Self::hub());
        }
        // The default port is omitted, except on this machine, where the scheme is `http`.
        let port = url.port().or_else(|| {
            let is_given = is_loopback(&url) && authority.ends_with(":443");
            is_given.then_some(443)
        });
        Ok(Self(match port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }))
    }

    /// Parses an image reference or the address of a registry: `docker://ghcr.io/a/b:tag`,
    /// `alpine:3`, `https://quay.io`, `localhost:5000/x`. A name without a registry belongs to
    /// Docker Hub.
    ///
    /// # Errors
    /// Fails like [`new`](Self::new).
    pub fn from_reference(text: &str) -> Result<Self, RegistryError> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        let (first, has_path) = match rest.split_once(['/', '?', '#']) {
            Some((first, _)) => (first, true),
            None => (rest, false),
        };
        if first.is_empty() {
            return Err(RegistryError::Name {
                input: without_user(text),
                why: "its host is missing; give HOST or HOST:PORT",
            });
        }
        let is_address = matches!(scheme.as_deref(), Some("http" | "https"));
        if is_address || has_user(first) || is_host(first, has_path) {
            return Self::new(first);
        }
        Ok(Self::hub())
    }

    /// Parses a registry to log in to: an address, or an image reference with a scheme or a path.
    ///
    /// A bare name is an error here. If it meant an image of Docker Hub, a password would go there
    /// by mistake.
    ///
    /// # Errors
    /// Fails like [`new`](Self::new), and for a bare name.
    pub fn for_login(text: &str) -> Result<Self, RegistryError> {
        let bare = text.trim();
        let port = bare.rsplit_once(':').map(|(_, port)| port);
        if bare.contains('/') || has_user(bare) || is_host(bare, false) {
            return Self::from_reference(bare);
        }
        if port.is_some_and(|port| port.parse::<u16>().is_ok()) {
            return Self::new(bare);
        }
        Err(RegistryError::Name {
            input: without_user(bare),
            why: "give docker.io for Docker Hub, else HOST or HOST:PORT",
        })
    }

    /// Parses a key of Docker's configuration: an address, with or without scheme and path.
    ///
    /// # Errors
    /// Fails like [`new`](Self::new).
    pub fn from_docker_key(text: &str) -> Result<Self, RegistryError> {
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        Self::new(rest.split(['/', '?', '#']).next().unwrap_or_default())
    }
}

/// Returns whether the first part of a reference has a user before its host. The `@` before a
/// digest does not count.
fn has_user(first: &str) -> bool {
    first
        .rsplit_once('@')
        .is_some_and(|(_, rest)| !is_digest(rest))
}

/// Returns whether a text is `ALGORITHM:DIGEST`, and not `HOST:PORT`. A port has at most 5 digits.
fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, digest)| {
        let is_port = digest.len() <= 5 && digest.bytes().all(|byte| byte.is_ascii_digit());
        DIGEST_ALGORITHMS.contains(&algorithm) && !is_port
    })
}

/// The part of a text after its last `@`. The part before it may contain a password.
fn without_user(text: &str) -> String {
    text.rsplit('@').next().unwrap_or_default().to_owned()
}

/// Returns whether the first part of a reference is a registry, not part of the image's name.
///
/// As in other clients, a registry has a dot or a port, or is `localhost`. A lone `name:1` is an
/// image with a tag.
pub(super) fn is_host(first: &str, has_path: bool) -> bool {
    let name = first.split(':').next().unwrap_or_default();
    name.contains('.')
        || name == "localhost"
        || first.starts_with('[')
        || (has_path && first.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_addresses_name_their_registry() {
        for (input, host) in [
            ("alpine", "docker.io"),
            ("alpine:3", "docker.io"),
            ("python:3.12-slim", "docker.io"),
            ("library/python:3.12", "docker.io"),
            ("docker://docker.io/library/python", "docker.io"),
            ("docker://index.docker.io/library/python", "docker.io"),
            ("https://registry-1.docker.io/v2/", "docker.io"),
            ("https://hub.docker.com", "docker.io"),
            ("oci://ghcr.io/a/b:1", "ghcr.io"),
            ("GHCR.IO", "ghcr.io"),
            ("quay.io/a/b@sha256:00", "quay.io"),
            ("localhost/x", "localhost"),
            ("localhost:5000", "localhost:5000"),
            ("registry:5000/x", "registry:5000"),
            ("127.0.0.1:5000/x:1", "127.0.0.1:5000"),
            ("[::1]:5000/x", "[::1]:5000"),
            ("https://r.example:443/x", "r.example"),
            ("localhost:443", "localhost:443"),
            ("127.0.0.1:443/x", "127.0.0.1:443"),
        ] {
            assert_eq!(
                RegistryHost::from_reference(input).unwrap().as_str(),
                host,
                "{input}"
            );
        }
    }

    #[test]
    fn a_login_does_not_accept_a_bare_name() {
        for (input, host) in [
            ("docker.io", "docker.io"),
            ("docker://python:3.12-slim", "docker.io"),
            ("library/python", "docker.io"),
            ("localhost", "localhost"),
            ("registry:5000", "registry:5000"),
            (" ghcr.io ", "ghcr.io"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(
                RegistryHost::for_login(input).unwrap().as_str(),
                host,
                "{input}"
            );
        }
        for bad in ["", "myregistry", "gitlab", "a b", "python:slim", "x:99999"] {
            let error = RegistryHost::for_login(bad).unwrap_err().to_string();
            assert!(error.contains("HOST:PORT"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_key_of_dockers_configuration_is_an_address() {
        for (input, host) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("myregistry", "myregistry"),
            ("myregistry:5000", "myregistry:5000"),
            ("http://localhost:5000", "localhost:5000"),
            ("quay.io/team", "quay.io"),
        ] {
            assert_eq!(
                RegistryHost::from_docker_key(input).unwrap().as_str(),
                host,
                "{input}"
            );
        }
    }

    #[test]
    fn errors_of_invalid_names_contain_no_passwords() {
        for bad in [
            "",
            "docker://",
            "https://u:hunter2@ghcr.io",
            "u:hunter2@ghcr.io",
            "u:hunter2@ghcr.io/a/b",
            "hunter2@name",
            "hunter2@shahost",
            "hunter2@shahost/x",
            "u:hunter2@blakehost/x",
            "hunter2@sha256:5000/x",
            "https:///u:hunter2@ghcr.io",
            "a b.c/x",
            "r.example:99999",
        ] {
            for parse in [RegistryHost::from_reference, RegistryHost::for_login] {
                let error = parse(bad).unwrap_err().to_string();
                assert!(!error.contains("hunter2"), "{error}");
            }
        }
        let digest = format!("alpine@sha256:{}", "0".repeat(64));
        assert_eq!(
            RegistryHost::from_reference(&digest).unwrap(),
            RegistryHost::hub()
        );
    }

    #[test]
    fn only_this_machine_uses_plain_http() {
        for (input, api) in [
            ("docker.io", "https://registry-1.docker.io"),
            ("ghcr.io", "https://ghcr.io"),
            ("localhost:5000", "http://localhost:5000"),
            ("127.0.0.1:1", "http://127.0.0.1:1"),
            ("10.0.0.1:1", "https://10.0.0.1:1"),
            ("localhost.example", "https://localhost.example"),
        ] {
            assert_eq!(RegistryHost::new(input).unwrap().api(), api);
        }
    }
}
