//! The host of a registry.

use std::fmt;

use url::{Host as UrlHost, Url};

/// The usual name of Docker Hub.
const HUB_NAME: &str = "docker.io";
/// The host of Docker Hub's API.
const HUB_API: &str = "registry-1.docker.io";

/// A registry, named by its host and its port. A default port is left out, so equal registries have
/// equal texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryHost(pub(super) String);

impl RegistryHost {
    /// Docker Hub.
    pub fn hub() -> Self {
        Self(HUB_NAME.to_owned())
    }

    /// The normalised name, such as `docker.io` or `localhost:5000`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the registry is on this machine, where plain HTTP is safe.
    pub fn is_loopback(&self) -> bool {
        Url::parse(&format!("http://{}", self.0)).is_ok_and(|url| is_loopback(&url))
    }

    /// The base URL of the API: `http` on this machine, `https` elsewhere.
    pub fn api(&self) -> String {
        if self.0 == HUB_NAME {
            return format!("https://{HUB_API}");
        }
        let scheme = if self.is_loopback() { "http" } else { "https" };
        format!("{scheme}://{}", self.0)
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns whether a URL leads to this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(UrlHost::Ipv4(address)) => address.is_loopback(),
        Some(UrlHost::Ipv6(address)) => address.is_loopback(),
        Some(UrlHost::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}
