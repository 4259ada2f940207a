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
    /// HTTP and HTTPS through the proxy.
    Proxy,
    /// Everything that the machine reaches.
    Host,
}
