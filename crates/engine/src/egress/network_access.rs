//! The network that a command gets.

/// The proxy's port on a sandbox's loopback: 3128, which HTTP proxies commonly use.
pub(super) const PROXY_PORT: u16 = 3128;

/// The network that a command gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkAccess {
    /// Loopback alone, as the request asks.
    Loopback,
    /// Loopback alone, because this engine gives sandboxes no network.
    Unavailable,
    /// Public hosts by TCP, filtered by the engine, and DNS.
    Proxy,
    /// Everything that the machine reaches.
    Host,
}

impl NetworkAccess {
    /// The reason why a port of a sandbox cannot be published. `None` if it can.
    pub(crate) fn refusal_to_publish(self, port: u16) -> Option<String> {
        match self {
            Self::Host => Some(format!(
                "the sandbox shares this machine's network (--network host), so a server on its port {port} listens on this \
                 machine already, and nothing is published"
            )),
            Self::Proxy if port == PROXY_PORT => Some(format!(
                "port {port} of the sandbox is its proxy, which is for commands inside only: let the server listen on another port"
            )),
            Self::Proxy | Self::Loopback | Self::Unavailable => None,
        }
    }
}
