//! The classes of addresses, and the special-purpose networks of each class.
//!
//! The tables list networks explicitly, after IANA's special-purpose registries (RFC 6890 and its
//! updates). They do not rely on a standard library's idea of a global address.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use self::AddressClass::{Forbidden, Private};

/// The reachability of an address for sandboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AddressClass {
    /// Sandboxes may reach it: an address on the internet.
    Public,
    /// Inside a private network. Sandboxes may reach it only if a rule has `+private`.
    Private,
    /// Sandboxes never reach it: this machine, its link, or an address that takes no connections.
    Forbidden,
}

/// Builds an IPv4 network; panics if `length` is over 32.
const fn net_v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

/// Builds an IPv6 network; panics if `length` is over 128.
pub(super) const fn net_v6(segments: [u16; 8], length: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length)
}

/// IPv4 networks and their classes; the first one that contains the address decides.
///
/// The documentation networks (RFC 5737, RFC 3849) are in neither table. The internet does not
/// use them, and isolated networks number their mirrors from them.
pub(super) const IPV4_NETWORKS: &[(Ipv4Net, AddressClass, &str)] = &[
    // Metadata services of clouds inside ranges that are otherwise private or public. The usual
    // one, 169.254.169.254, is link-local.
    (net_v4(100, 100, 100, 200, 32), Forbidden, METADATA),
    (net_v4(168, 63, 129, 16, 32), Forbidden, METADATA),
    (net_v4(192, 0, 0, 192, 32), Forbidden, METADATA),
    (net_v4(0, 0, 0, 0, 8), Forbidden, "an unspecified address"),
    (net_v4(10, 0, 0, 0, 8), Private, "a private address"),
    (
        net_v4(100, 64, 0, 0, 10),
        Private,
        "a shared (carrier) address",
    ),
    (net_v4(127, 0, 0, 0, 8), Forbidden, "a loopback address"),
    (
        net_v4(169, 254, 0, 0, 16),
        Forbidden,
        "a link-local address",
    ),
    (net_v4(172, 16, 0, 0, 12), Private, "a private address"),
    (net_v4(192, 0, 0, 0, 24), Forbidden, "a reserved address"),
    (net_v4(192, 88, 99, 0, 24), Forbidden, "a reserved address"),
    (net_v4(192, 168, 0, 0, 16), Private, "a private address"),
    (net_v4(198, 18, 0, 0, 15), Private, "a benchmarking address"),
    (net_v4(224, 0, 0, 0, 4), Forbidden, "a multicast address"),
    (
        net_v4(255, 255, 255, 255, 32),
        Forbidden,
        "the broadcast address",
    ),
    (net_v4(240, 0, 0, 0, 4), Forbidden, "a reserved address"),
];

/// The description of metadata services.
const METADATA: &str = "a cloud's metadata address";

/// IPv6 networks and their classes; the first one that contains the address decides.
pub(super) const IPV6_NETWORKS: &[(Ipv6Net, AddressClass, &str)] = &[
    (
        net_v6([0, 0, 0, 0, 0, 0, 0, 0], 128),
        Forbidden,
        "the unspecified address",
    ),
    (
        net_v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
        Forbidden,
        "the loopback address",
    ),
    (
        net_v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32),
        Forbidden,
        METADATA,
    ),
    (
        net_v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0], 32),
        Forbidden,
        METADATA,
    ),
    (
        net_v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
        Private,
        "a private (unique local) address",
    ),
    (
        net_v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
        Private,
        "a private (site-local) address",
    ),
    (
        net_v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
        Forbidden,
        "a link-local address",
    ),
    (
        net_v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
        Forbidden,
        "a multicast address",
    ),
    (
        net_v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48),
        Private,
        "a benchmarking address",
    ),
    (
        net_v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
        Forbidden,
        "a reserved address",
    ),
];

/// Global unicast: the only IPv6 network with public addresses.
pub(super) const GLOBAL_UNICAST: Ipv6Net = net_v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
