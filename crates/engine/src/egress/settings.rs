//! Settings of the sandboxes' network, as the engine's configuration gives them.

use std::collections::BTreeMap;

use super::rules::EgressRule;

/// What sandboxes reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkMode {
    /// HTTP and HTTPS through a filtering proxy of the engine; their own loopback.
    #[default]
    Proxy,
    /// Everything that this machine reaches, its loopback services and abstract unix sockets among it. Nothing is filtered.
    Host,
    /// Their own loopback alone.
    None,
}

/// Settings of the sandboxes' network.
#[derive(Clone, Debug, Default)]
pub(crate) struct EgressSettings {
    /// What commands reach that ask for a network.
    pub(crate) network: NetworkMode,
    /// All that they may reach through the proxy. Empty: every public address.
    pub(crate) allow: Vec<EgressRule>,
    /// What they may not reach, whatever else is allowed.
    pub(crate) deny: Vec<EgressRule>,
    /// How this machine itself reaches the network.
    pub(crate) machine: ProxyVariables,
    /// The directory of side files below `/dev` in sandboxes.
    pub(crate) side_directory: String,
}

/// The variables of this machine that name proxies: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in either case.
#[derive(Clone, Default)]
pub(crate) struct ProxyVariables {
    /// Those that are set, by their names.
    pub(crate) set: BTreeMap<String, String>,
    /// The engine answers a web server's request (CGI), whose `Proxy` header reads like `HTTP_PROXY`. They do not count then.
    pub(crate) cgi: bool,
}

impl ProxyVariables {
    /// The names of the variables, in lower case.
    pub(crate) const NAMES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

    /// The value of a variable, whose name in upper case comes first; empty if it is not set.
    pub(super) fn first(&self, name: &str) -> &str {
        self.set
            .get(&name.to_uppercase())
            .or_else(|| self.set.get(name))
            .map_or("", String::as_str)
    }
}

impl std::fmt::Debug for ProxyVariables {
    /// Values may hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.set.keys()).finish()
    }
}
