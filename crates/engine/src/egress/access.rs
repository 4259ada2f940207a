//! What a command reaches.

/// Where a sandbox finds the proxy, on its own loopback: the port that proxies are known by.
pub(super) const PORT: u16 = 3128;

/// What a command reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Loopback alone, as it was asked for.
    Loopback,
    /// Loopback alone, since this engine gives no network.
    Refused,
    /// HTTP and HTTPS through the proxy.
    Proxy,
    /// All that the machine reaches.
    Host,
}
