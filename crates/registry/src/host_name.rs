//! The texts that name the host of a registry.

use url::Url;

use super::host::is_loopback;
use super::{Host, RegistryError};

/// The names under which Docker Hub is known.
const HUB: &[&str] = &[
    "docker.io",
    "www.docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "registry.docker.io",
    "registry.hub.docker.com",
    "hub.docker.com",
    "docker.com",
];

impl Host {
    /// A registry by `HOST` or `HOST:PORT`. All names of Docker Hub mean `docker.io`.
    ///
    /// # Errors
    /// [`RegistryError::Name`] for what is no host.
    pub fn new(authority: &str) -> Result<Self, RegistryError> {
        let refused = |why| RegistryError::Name {
            // It may be a URL with a password in it.
            given: authority.rsplit('@').next().unwrap_or_default().to_owned(),
            why,
        };
        if authority.contains('@') {
            return Err(refused("leave out the user and password"));
        }
        let url = Url::parse(&format!("https://{authority}"))
            .map_err(|_| refused("give HOST or HOST:PORT"))?;
        let alone = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let Some(host) = url
            .host_str()
            .filter(|_| alone && !authority.ends_with('/'))
        else {
            return Err(refused("give HOST or HOST:PORT"));
        };
        let host = host.trim_end_matches('.');
        if host.is_empty() {
            return Err(refused("give HOST or HOST:PORT"));
        }
        if HUB.contains(&host) && url.port().is_none() {
            return Ok(Self::hub());
        }
        // The default port goes without saying, but not on this machine, where `http` is spoken.
        let port = url.port().or_else(|| {
            let said = is_loopback(&url) && authority.ends_with(":443");
            said.then_some(443)
        });
        Ok(Self(match port {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }))
    }

    /// The registry of an image's reference, or of a registry's own address: `docker://ghcr.io/a/b:tag`, `alpine:3`,
    /// `https://quay.io`, `localhost:5000/x`. A name without a registry is one of Docker Hub.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of(text: &str) -> Result<Self, RegistryError> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        let (first, more) = match rest.split_once(['/', '?', '#']) {
            Some((first, _)) => (first, true),
            None => (rest, false),
        };
        if first.is_empty() {
            return Err(RegistryError::Name {
                given: text.to_owned(),
                why: "it is empty",
            });
        }
        if matches!(scheme.as_deref(), Some("http" | "https")) || is_host(first, more) {
            return Self::new(first);
        }
        Ok(Self::hub())
    }

    /// A registry as people name it when they log in: an address, or an image's reference that says it is one or has a
    /// path. A bare name is no image of Docker Hub here: somebody's password would be tried there.
    ///
    /// # Errors
    /// As [`new`](Self::new), and for a bare name.
    pub fn to_log_in(text: &str) -> Result<Self, RegistryError> {
        let bare = text.trim();
        let port = bare.rsplit_once(':').map(|(_, port)| port);
        if bare.contains('/') || is_host(bare, false) {
            return Self::of(bare);
        }
        if port.is_some_and(|port| port.parse::<u16>().is_ok()) {
            return Self::new(bare);
        }
        Err(RegistryError::Name {
            given: bare.to_owned(),
            why: "give docker.io for Docker Hub, else HOST or HOST:PORT",
        })
    }

    /// A registry by the key of Docker's own configuration: an address, with or without scheme and path.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_address(text: &str) -> Result<Self, RegistryError> {
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        Self::new(rest.split(['/', '?', '#']).next().unwrap_or_default())
    }
}

/// Whether the first part of a reference is a registry rather than a part of an image's name. As everywhere, it is if it
/// has a dot or a port or is `localhost`; alone, `name:1` is an image with a tag.
pub(super) fn is_host(first: &str, more: bool) -> bool {
    let name = first.split(':').next().unwrap_or_default();
    name.contains('.')
        || name == "localhost"
        || first.starts_with('[')
        || (more && first.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_addresses_name_their_registry() {
        for (given, host) in [
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
            assert_eq!(Host::of(given).unwrap().as_str(), host, "{given}");
        }
    }

    #[test]
    fn a_bare_name_is_no_registry_to_log_in_to() {
        for (given, host) in [
            ("docker.io", "docker.io"),
            ("docker://python:3.12-slim", "docker.io"),
            ("library/python", "docker.io"),
            ("localhost", "localhost"),
            ("registry:5000", "registry:5000"),
            (" ghcr.io ", "ghcr.io"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(Host::to_log_in(given).unwrap().as_str(), host, "{given}");
        }
        for bad in ["", "myregistry", "gitlab", "a b", "python:slim", "x:99999"] {
            let error = Host::to_log_in(bad).unwrap_err().to_string();
            assert!(error.contains("HOST:PORT"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_key_of_dockers_configuration_is_an_address() {
        for (given, host) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("myregistry", "myregistry"),
            ("myregistry:5000", "myregistry:5000"),
            ("http://localhost:5000", "localhost:5000"),
            ("quay.io/team", "quay.io"),
        ] {
            assert_eq!(Host::of_address(given).unwrap().as_str(), host, "{given}");
        }
    }

    #[test]
    fn what_names_no_registry_is_refused_without_passwords() {
        for bad in [
            "",
            "docker://",
            "https://u:hunter2@ghcr.io",
            "a b.c/x",
            "r.example:99999",
        ] {
            let error = Host::of(bad).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_the_clear() {
        for (given, api) in [
            ("docker.io", "https://registry-1.docker.io"),
            ("ghcr.io", "https://ghcr.io"),
            ("localhost:5000", "http://localhost:5000"),
            ("127.0.0.1:1", "http://127.0.0.1:1"),
            ("10.0.0.1:1", "https://10.0.0.1:1"),
            ("localhost.example", "https://localhost.example"),
        ] {
            assert_eq!(Host::new(given).unwrap().api(), api);
        }
    }
}
