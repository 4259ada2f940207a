//! Network settings of sandboxes, as the engine's configuration gives them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::rules::EgressRule;

/// The network that sandboxes get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkMode {
    /// Public hosts by TCP with any protocol, filtered by the engine, and their own loopback. Of
    /// UDP, only DNS.
    #[default]
    Proxy,
    /// Everything that this machine reaches, including its loopback services and abstract Unix
    /// sockets. Nothing is filtered.
    Host,
    /// Only their own loopback.
    None,
}

/// The network of programs that do not know the proxy, with [`NetworkMode::Proxy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransparentNetwork {
    /// Their names and TCP connections go through the same policy, where the kernel permits it.
    #[default]
    Auto,
    /// They have only their own loopback.
    Off,
}

/// Network settings of sandboxes.
#[derive(Clone, Debug, Default)]
pub(crate) struct EgressSettings {
    /// The network of commands that enable networking.
    pub(crate) network: NetworkMode,
    /// The network of programs that do not know the proxy.
    pub(crate) transparent: TransparentNetwork,
    /// Everything that the proxy allows. If empty, it allows every public address.
    pub(crate) allow: Vec<EgressRule>,
    /// Hosts that the proxy always denies, even if a rule allows them.
    pub(crate) deny: Vec<EgressRule>,
    /// The most sandboxes that run at once. They share the engine's open files.
    pub(crate) max_sandboxes: usize,
    /// The proxies through which this machine itself reaches the network.
    pub(crate) machine: ProxyVariables,
    /// Commands trust the certificate authorities that this machine trusts.
    pub(crate) trust_host_ca: bool,
    /// Files with certificates that this machine's environment names.
    pub(crate) named_certificates: Vec<PathBuf>,
    /// The directory of side files below `/dev` in sandboxes.
    pub(crate) side_directory: String,
}

/// This machine's proxy variables, in upper or lower case: `http_proxy`, `https_proxy`, `all_proxy`
/// and `no_proxy`.
#[derive(Clone, Default)]
pub(crate) struct ProxyVariables {
    /// The variables that are set, by name.
    pub(crate) set: BTreeMap<String, String>,
    /// The engine runs under CGI, where a client's `Proxy` header becomes `HTTP_PROXY`. The
    /// variables are then ignored.
    pub(crate) cgi: bool,
}

impl ProxyVariables {
    /// The names of the variables, in lower case.
    pub(crate) const NAMES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

    /// The value of a variable, or an empty text. The upper-case name has precedence.
    pub(super) fn first(&self, name: &str) -> &str {
        self.set
            .get(&name.to_uppercase())
            .or_else(|| self.set.get(name))
            .map_or("", String::as_str)
    }
}

impl std::fmt::Debug for ProxyVariables {
    /// Shows the names alone, because values may hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.set.keys()).finish()
    }
}
