//! The IPv4 addresses that IPv6 addresses embed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

use super::address_class::net_v6;

/// IPv4-mapped addresses (RFC 4291, section 2.5.5.2).
pub(super) const MAPPED: Ipv6Net = net_v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96);
/// IPv4-translated addresses (RFC 2765).
const TRANSLATED: Ipv6Net = net_v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96);
/// IPv4-compatible addresses, deprecated (RFC 4291, section 2.5.5.1).
const COMPATIBLE: Ipv6Net = net_v6([0, 0, 0, 0, 0, 0, 0, 0], 96);
/// The well-known prefix of translators (RFC 6052, section 2.1).
pub(super) const NAT64: Ipv6Net = net_v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
/// The local-use prefix of translators (RFC 8215).
const LOCAL_NAT64: Ipv6Net = net_v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);
/// 6to4 addresses (RFC 3056).
const SIX_TO_FOUR: Ipv6Net = net_v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
/// Teredo addresses (RFC 4380).
const TEREDO: Ipv6Net = net_v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32);

/// The IPv4 addresses that an IPv6 address embeds. An IPv4 address embeds none.
pub(super) fn extract(address: IpAddr) -> Vec<Ipv4Addr> {
    match address {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(address) => extract_v6(address),
    }
}

/// Extracts IPv4 addresses from every form that routers, tunnels and translators know.
pub(super) fn extract_v6(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let bytes = address.octets();
    let at = |positions: [usize; 4]| Ipv4Addr::from(positions.map(|position| bytes[position]));
    let last = at([12, 13, 14, 15]);
    let mut addresses = Vec::new();
    if [MAPPED, TRANSLATED, NAT64]
        .iter()
        .any(|network| network.contains(&address))
    {
        addresses.push(last);
    }
    // `::` and `::1` embed no address.
    if COMPATIBLE.contains(&address) && u128::from(address) > 1 {
        addresses.push(last);
    }
    if LOCAL_NAT64.contains(&address) {
        // RFC 6052, section 2.2: the position depends on the length of the prefix, which only the
        // prefix's owner knows. Byte 8 is skipped.
        for positions in [
            [6, 7, 9, 10],
            [7, 9, 10, 11],
            [9, 10, 11, 12],
            [12, 13, 14, 15],
        ] {
            addresses.push(at(positions));
        }
    }
    if SIX_TO_FOUR.contains(&address) {
        addresses.push(at([2, 3, 4, 5]));
    }
    if TEREDO.contains(&address) {
        // RFC 4380, section 4: the server, and the client with every bit inverted.
        addresses.push(at([4, 5, 6, 7]));
        addresses.push(Ipv4Addr::from(last.octets().map(|byte| !byte)));
    }
    // ISATAP addresses (RFC 5214, section 6.1) have any prefix. The universal bit may be set.
    if bytes[8] & !0x02 == 0 && bytes[9] == 0 && bytes[10] == 0x5e && bytes[11] == 0xfe {
        addresses.push(last);
    }
    addresses
}
