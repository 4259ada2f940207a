//! Classifies addresses: which of them sandboxes may reach.
//!
//! The table lists networks explicitly, after IANA's special-purpose registries (RFC 6890 and its
//! updates). It does not rely on a standard library's idea of a global address. Of IPv6, only
//! global unicast (`2000::/3`) and the well-known translation prefix are public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Who may reach an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Sandboxes may reach it: an address on the internet.
    Public,
    /// Inside a private network. Sandboxes may reach it only if a rule has `+private`.
    Private,
    /// Sandboxes never reach it: this machine, its link, or an address that takes no connections.
    Never,
}

/// The class of an address and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) kind: Kind,
    /// The reason: completes "it is …".
    pub(super) what: &'static str,
    /// The embedded IPv4 address that decided the class.
    pub(super) stands_for: Option<Ipv4Addr>,
}

const PUBLIC: Judgement = Judgement {
    kind: Kind::Public,
    what: "a public address",
    stands_for: None,
};

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(segments: [u16; 8], length: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length)
}

/// IPv4 networks and their classes; the first one that contains the address decides.
///
/// The documentation networks (RFC 5737, RFC 3849) are absent. The internet does not use them, and
/// isolated networks number their mirrors from them.
const V4: &[(Ipv4Net, Kind, &str)] = &[
    // Metadata services of clouds inside ranges that are otherwise private or public. The usual
    // one, 169.254.169.254, is link-local.
    (v4(100, 100, 100, 200, 32), Kind::Never, METADATA),
    (v4(168, 63, 129, 16, 32), Kind::Never, METADATA),
    (v4(192, 0, 0, 192, 32), Kind::Never, METADATA),
    (v4(0, 0, 0, 0, 8), Kind::Never, "an unspecified address"),
    (v4(10, 0, 0, 0, 8), Kind::Private, "a private address"),
    (
        v4(100, 64, 0, 0, 10),
        Kind::Private,
        "a shared (carrier) address",
    ),
    (v4(127, 0, 0, 0, 8), Kind::Never, "a loopback address"),
    (v4(169, 254, 0, 0, 16), Kind::Never, "a link-local address"),
    (v4(172, 16, 0, 0, 12), Kind::Private, "a private address"),
    (v4(192, 0, 0, 0, 24), Kind::Never, "a reserved address"),
    (v4(192, 88, 99, 0, 24), Kind::Never, "a reserved address"),
    (v4(192, 168, 0, 0, 16), Kind::Private, "a private address"),
    (
        v4(198, 18, 0, 0, 15),
        Kind::Private,
        "a benchmarking address",
    ),
    (v4(224, 0, 0, 0, 4), Kind::Never, "a multicast address"),
    (
        v4(255, 255, 255, 255, 32),
        Kind::Never,
        "the broadcast address",
    ),
    (v4(240, 0, 0, 0, 4), Kind::Never, "a reserved address"),
];

const METADATA: &str = "a cloud's metadata address";

/// IPv6 networks and their classes; the first one that contains the address decides.
const V6: &[(Ipv6Net, Kind, &str)] = &[
    (
        v6([0, 0, 0, 0, 0, 0, 0, 0], 128),
        Kind::Never,
        "the unspecified address",
    ),
    (
        v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
        Kind::Never,
        "the loopback address",
    ),
    (
        v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32),
        Kind::Never,
        METADATA,
    ),
    (
        v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0], 32),
        Kind::Never,
        METADATA,
    ),
    (
        v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
        Kind::Private,
        "a private (unique local) address",
    ),
    (
        v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
        Kind::Private,
        "a private (site-local) address",
    ),
    (
        v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
        Kind::Never,
        "a link-local address",
    ),
    (
        v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
        Kind::Never,
        "a multicast address",
    ),
    (
        v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48),
        Kind::Private,
        "a benchmarking address",
    ),
    (
        v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
        Kind::Never,
        "a reserved address",
    ),
];

const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const MAPPED: Ipv6Net = v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96);
const TRANSLATED: Ipv6Net = v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96);
const COMPATIBLE: Ipv6Net = v6([0, 0, 0, 0, 0, 0, 0, 0], 96);
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
const LOCAL_NAT64: Ipv6Net = v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
const TEREDO: Ipv6Net = v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32);

/// Classifies an address by itself and by every IPv4 address embedded in it. The strictest class
/// wins.
pub(super) fn judge(address: IpAddr) -> Judgement {
    match address {
        IpAddr::V4(address) => judge_v4(address),
        IpAddr::V6(address) => judge_v6(address),
    }
}

fn judge_v4(address: Ipv4Addr) -> Judgement {
    V4.iter()
        .find(|(network, ..)| network.contains(&address))
        .map_or(PUBLIC, |&(_, kind, what)| Judgement {
            kind,
            what,
            stands_for: None,
        })
}

fn judge_v6(address: Ipv6Addr) -> Judgement {
    let embedded = embedded(address)
        .into_iter()
        .map(|inner| Judgement {
            stands_for: Some(inner),
            ..judge_v4(inner)
        })
        .max_by_key(|judgement| judgement.kind);
    // Such an address is another spelling of an IPv4 address, or is translated to it.
    if MAPPED.contains(&address) || NAT64.contains(&address) {
        return embedded.unwrap_or(PUBLIC);
    }
    let own = V6
        .iter()
        .find(|(network, ..)| network.contains(&address))
        .map(|&(_, kind, what)| (kind, what))
        .or_else(|| {
            (!GLOBAL_UNICAST.contains(&address)).then_some((Kind::Never, "a reserved address"))
        });
    let own = own.map_or(PUBLIC, |(kind, what)| Judgement {
        kind,
        what,
        stands_for: None,
    });
    match embedded {
        Some(embedded) if embedded.kind != Kind::Public && own.what == "a reserved address" => {
            Judgement {
                kind: Kind::Never,
                ..embedded
            }
        }
        Some(embedded) if embedded.kind > own.kind => embedded,
        _ => own,
    }
}

/// The IPv4 addresses that an IPv6 address embeds. An IPv4 address embeds none.
pub(super) fn stands_for(address: IpAddr) -> Vec<Ipv4Addr> {
    match address {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(address) => embedded(address),
    }
}

/// Extracts IPv4 addresses from every form that routers, tunnels and translators know.
fn embedded(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let bytes = address.octets();
    let at = |positions: [usize; 4]| Ipv4Addr::from(positions.map(|position| bytes[position]));
    let last = at([12, 13, 14, 15]);
    let mut found = Vec::new();
    if [MAPPED, TRANSLATED, NAT64]
        .iter()
        .any(|network| network.contains(&address))
    {
        found.push(last);
    }
    // `::` and `::1` embed no address.
    if COMPATIBLE.contains(&address) && u128::from(address) > 1 {
        found.push(last);
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
            found.push(at(positions));
        }
    }
    if SIX_TO_FOUR.contains(&address) {
        found.push(at([2, 3, 4, 5]));
    }
    if TEREDO.contains(&address) {
        // RFC 4380, section 4: the server, and the client with every bit inverted.
        found.push(at([4, 5, 6, 7]));
        found.push(Ipv4Addr::from(last.octets().map(|byte| !byte)));
    }
    // RFC 5214, section 6.1 (ISATAP): under any prefix; the universal bit may be set.
    if bytes[8] & !0x02 == 0 && bytes[9] == 0 && bytes[10] == 0x5e && bytes[11] == 0xfe {
        found.push(last);
    }
    found
}

impl Judgement {
    /// Describes the address in a sentence.
    pub(super) fn sentence(&self, address: IpAddr) -> String {
        match self.stands_for {
            Some(inner) => format!("{address} stands for {inner}, {}", self.what),
            None => format!("{address} is {}", self.what),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(text: &str) -> Kind {
        judge(text.parse().expect(text)).kind
    }

    #[test]
    fn the_edges_of_every_network() {
        use Kind::{Never, Private, Public};
        for (text, expected) in [
            ("0.0.0.0", Never),
            ("0.255.255.255", Never),
            ("1.0.0.0", Public),
            ("9.255.255.255", Public),
            ("10.0.0.0", Private),
            ("10.255.255.255", Private),
            ("11.0.0.0", Public),
            ("100.63.255.255", Public),
            ("100.64.0.0", Private),
            ("100.127.255.255", Private),
            ("100.128.0.0", Public),
            ("100.100.100.199", Private),
            ("100.100.100.200", Never),
            ("126.255.255.255", Public),
            ("127.0.0.0", Never),
            ("127.0.0.1", Never),
            ("127.255.255.255", Never),
            ("128.0.0.0", Public),
            ("168.63.129.15", Public),
            ("168.63.129.16", Never),
            ("169.253.255.255", Public),
            ("169.254.0.0", Never),
            ("169.254.169.254", Never),
            ("169.254.255.255", Never),
            ("169.255.0.0", Public),
            ("172.15.255.255", Public),
            ("172.16.0.0", Private),
            ("172.31.255.255", Private),
            ("172.32.0.0", Public),
            ("191.255.255.255", Public),
            ("192.0.0.0", Never),
            ("192.0.0.170", Never),
            ("192.0.0.255", Never),
            ("192.0.1.0", Public),
            ("192.0.2.0", Public),
            ("192.0.2.255", Public),
            ("192.0.3.0", Public),
            ("192.88.98.255", Public),
            ("192.88.99.1", Never),
            ("192.88.100.0", Public),
            ("192.167.255.255", Public),
            ("192.168.0.0", Private),
            ("192.168.255.255", Private),
            ("192.169.0.0", Public),
            ("198.17.255.255", Public),
            ("198.18.0.0", Private),
            ("198.19.255.255", Private),
            ("198.20.0.0", Public),
            ("198.51.100.0", Public),
            ("198.51.101.0", Public),
            ("203.0.113.255", Public),
            ("203.0.114.0", Public),
            ("223.255.255.255", Public),
            ("224.0.0.0", Never),
            ("239.255.255.255", Never),
            ("240.0.0.0", Never),
            ("255.255.255.254", Never),
            ("255.255.255.255", Never),
            ("::", Never),
            ("::1", Never),
            ("::2", Never),
            ("1fff:ffff::", Never),
            ("2000::", Public),
            ("2001::1", Never),
            ("2001:1ff:ffff::", Never),
            ("2001:2::1", Private),
            ("2001:200::", Public),
            ("2001:db8::", Public),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Public),
            ("2001:db9::", Public),
            ("2606:4700:4700::1111", Public),
            ("3ffe::", Public),
            ("3fff::", Public),
            ("3fff:fff:ffff::", Public),
            ("3fff:1000::", Public),
            ("4000::", Never),
            ("5f00::", Never),
            ("100::", Never),
            ("fbff::", Never),
            ("fc00::", Private),
            ("fd00::2", Private),
            ("fd00:ec2::254", Never),
            ("fd20:ce::254", Never),
            ("fdff:ffff::", Private),
            ("fe00::", Never),
            ("fe80::1", Never),
            ("febf::", Never),
            ("fec0::", Private),
            ("feff::", Private),
            ("ff02::1", Never),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn forms_that_embed_an_ipv4_address() {
        use Kind::{Never, Private, Public};
        for (text, expected) in [
            ("::ffff:127.0.0.1", Never),
            ("::ffff:7f00:1", Never),
            ("::ffff:10.0.0.1", Private),
            ("::ffff:8.8.8.8", Public),
            ("::127.0.0.1", Never),
            ("::8.8.8.8", Never),
            ("::ffff:0:127.0.0.1", Never),
            ("::ffff:0:8.8.8.8", Never),
            ("64:ff9b::7f00:1", Never),
            ("64:ff9b::10.0.0.1", Private),
            ("64:ff9b::8.8.8.8", Public),
            ("64:ff9b:1::127.0.0.1", Never),
            ("64:ff9b:1:808:8:800::", Never),
            ("64:ff9b:2::8.8.8.8", Never),
            ("2002:7f00:1::", Never),
            ("2002:a00:1::1", Private),
            ("2002:808:808::1", Public),
            ("2001:0:7f00:1::", Never),
            ("2001:0:808:808:0:0:80ff:fffe", Never),
            ("2606:4700::5efe:127.0.0.1", Never),
            ("2606:4700::200:5efe:10.0.0.1", Private),
            ("2606:4700::5efe:8.8.8.8", Public),
            ("fe80::5efe:8.8.8.8", Never),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
        let said = |text: &str| {
            let address = text.parse().expect(text);
            judge(address).sentence(address)
        };
        assert_eq!(said("10.0.0.1"), "10.0.0.1 is a private address");
        assert_eq!(
            said("2002:7f00:1::"),
            "2002:7f00:1:: stands for 127.0.0.1, a loopback address"
        );
        assert_eq!(
            said("::127.0.0.1"),
            "::7f00:1 stands for 127.0.0.1, a loopback address"
        );
    }

    /// All IPv6 addresses that embed this IPv4 address.
    fn forms(inner: Ipv4Addr, host: u64) -> Vec<Ipv6Addr> {
        let bits = u128::from(u32::from(inner));
        let low = u128::from(host);
        let octets = inner.octets();
        let mut local = Vec::new();
        for positions in [
            [6, 7, 9, 10],
            [7, 9, 10, 11],
            [9, 10, 11, 12],
            [12, 13, 14, 15],
        ] {
            let mut bytes = [0; 16];
            bytes[..6].copy_from_slice(&[0, 0x64, 0xff, 0x9b, 0, 1]);
            for (position, byte) in positions.into_iter().zip(octets) {
                bytes[position] = byte;
            }
            local.push(Ipv6Addr::from(bytes));
        }
        let global = 0x2a00_1450_0000_0000_u128 << 64;
        let mut all: Vec<Ipv6Addr> = [
            0xffff << 32 | bits,
            0xffff << 48 | bits,
            bits,
            0x0064_ff9b_u128 << 96 | bits,
            0x2002 << 112 | bits << 80 | low,
            0x2001_0000 << 96 | bits << 64 | low,
            0x2001_0000 << 96 | low << 32 | (!bits & 0xffff_ffff),
            global | 0x5efe << 32 | bits,
            global | 0x0200_5efe << 32 | bits,
        ]
        .into_iter()
        .map(Ipv6Addr::from)
        .collect();
        all.extend(local);
        all
    }

    proptest! {
        #[test]
        fn no_form_makes_an_address_better(bits: u32, host: u64) {
            let inner = Ipv4Addr::from(bits);
            let plain = judge(inner.into()).kind;
            for form in forms(inner, host) {
                prop_assert!(judge(form.into()).kind >= plain, "{form} for {inner}");
            }
        }

        #[test]
        fn what_the_standard_library_knows_is_not_public(bits: u32) {
            let address = Ipv4Addr::from(bits);
            if address.is_private() {
                prop_assert_eq!(judge(address.into()).kind, Kind::Private);
            }
            if address.is_loopback() || address.is_link_local() || address.is_multicast() || address.is_broadcast() || address.is_unspecified() {
                prop_assert_eq!(judge(address.into()).kind, Kind::Never);
            }
        }

        #[test]
        fn of_ipv6_only_global_unicast_is_public(bits: u128) {
            let address = Ipv6Addr::from(bits);
            if judge(address.into()).kind == Kind::Public {
                prop_assert!(bits >> 125 == 1 || NAT64.contains(&address) || MAPPED.contains(&address));
            }
            if address.is_loopback() || address.is_multicast() || address.is_unicast_link_local() {
                prop_assert_eq!(judge(address.into()).kind, Kind::Never);
            }
        }

        #[test]
        fn networks_that_random_addresses_seldom_hit(network in prop::sample::select(V4), low: u32) {
            let (network, kind, _) = network;
            let mask = u32::MAX.checked_shr(network.prefix_len().into()).unwrap_or(0);
            let address = Ipv4Addr::from(u32::from(network.addr()) | (low & mask));
            prop_assert!(judge(address.into()).kind >= kind);
            for form in forms(address, low.into()) {
                prop_assert!(judge(form.into()).kind >= kind, "{}", form);
            }
        }
    }
}
