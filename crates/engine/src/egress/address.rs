//! Classifies addresses: which of them sandboxes may reach.
//!
//! Of IPv6, only global unicast (`2000::/3`) and the well-known translation prefix are public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address_class::{AddressClass, GLOBAL_UNICAST, IPV4_NETWORKS, IPV6_NETWORKS};
use super::embedded_ipv4::{self, MAPPED, NAT64};

/// The class of an address and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Classification {
    pub(super) class: AddressClass,
    /// The reason: completes "it is …".
    pub(super) description: &'static str,
    /// The embedded IPv4 address that decided the class.
    pub(super) embedded: Option<Ipv4Addr>,
}

const PUBLIC: Classification = Classification {
    class: AddressClass::Public,
    description: "a public address",
    embedded: None,
};

/// Classifies an address by itself and by every IPv4 address embedded in it. The strictest class
/// wins.
pub(super) fn classify(address: IpAddr) -> Classification {
    match address {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => classify_v6(address),
    }
}

fn classify_v4(address: Ipv4Addr) -> Classification {
    IPV4_NETWORKS
        .iter()
        .find(|(network, ..)| network.contains(&address))
        .map_or(PUBLIC, |&(_, class, description)| Classification {
            class,
            description,
            embedded: None,
        })
}

fn classify_v6(address: Ipv6Addr) -> Classification {
    let strictest = embedded_ipv4::extract_v6(address)
        .into_iter()
        .map(|inner| Classification {
            embedded: Some(inner),
            ..classify_v4(inner)
        })
        .max_by_key(|classification| classification.class);
    // Such an address is another spelling of an IPv4 address, or is translated to it.
    if MAPPED.contains(&address) || NAT64.contains(&address) {
        return strictest.unwrap_or(PUBLIC);
    }
    let own = IPV6_NETWORKS
        .iter()
        .find(|(network, ..)| network.contains(&address))
        .map(|&(_, class, description)| (class, description))
        .or_else(|| {
            (!GLOBAL_UNICAST.contains(&address))
                .then_some((AddressClass::Forbidden, "a reserved address"))
        });
    let own = own.map_or(PUBLIC, |(class, description)| Classification {
        class,
        description,
        embedded: None,
    });
    match strictest {
        Some(embedded)
            if embedded.class != AddressClass::Public
                && own.description == "a reserved address" =>
        {
            Classification {
                class: AddressClass::Forbidden,
                ..embedded
            }
        }
        Some(embedded) if embedded.class > own.class => embedded,
        _ => own,
    }
}

impl Classification {
    /// Describes the address in a sentence.
    pub(super) fn sentence(&self, address: IpAddr) -> String {
        match self.embedded {
            Some(inner) => format!("{address} stands for {inner}, {}", self.description),
            None => format!("{address} is {}", self.description),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class(text: &str) -> AddressClass {
        classify(text.parse().expect(text)).class
    }

    #[test]
    fn the_edges_of_every_network() {
        use AddressClass::{Forbidden, Private, Public};
        for (text, expected) in [
            ("0.0.0.0", Forbidden),
            ("0.255.255.255", Forbidden),
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
            ("100.100.100.200", Forbidden),
            ("126.255.255.255", Public),
            ("127.0.0.0", Forbidden),
            ("127.0.0.1", Forbidden),
            ("127.255.255.255", Forbidden),
            ("128.0.0.0", Public),
            ("168.63.129.15", Public),
            ("168.63.129.16", Forbidden),
            ("169.253.255.255", Public),
            ("169.254.0.0", Forbidden),
            ("169.254.169.254", Forbidden),
            ("169.254.255.255", Forbidden),
            ("169.255.0.0", Public),
            ("172.15.255.255", Public),
            ("172.16.0.0", Private),
            ("172.31.255.255", Private),
            ("172.32.0.0", Public),
            ("191.255.255.255", Public),
            ("192.0.0.0", Forbidden),
            ("192.0.0.170", Forbidden),
            ("192.0.0.255", Forbidden),
            ("192.0.1.0", Public),
            ("192.0.2.0", Public),
            ("192.0.2.255", Public),
            ("192.0.3.0", Public),
            ("192.88.98.255", Public),
            ("192.88.99.1", Forbidden),
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
            ("224.0.0.0", Forbidden),
            ("239.255.255.255", Forbidden),
            ("240.0.0.0", Forbidden),
            ("255.255.255.254", Forbidden),
            ("255.255.255.255", Forbidden),
            ("::", Forbidden),
            ("::1", Forbidden),
            ("::2", Forbidden),
            ("1fff:ffff::", Forbidden),
            ("2000::", Public),
            ("2001::1", Forbidden),
            ("2001:1ff:ffff::", Forbidden),
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
            ("4000::", Forbidden),
            ("5f00::", Forbidden),
            ("100::", Forbidden),
            ("fbff::", Forbidden),
            ("fc00::", Private),
            ("fd00::2", Private),
            ("fd00:ec2::254", Forbidden),
            ("fd20:ce::254", Forbidden),
            ("fdff:ffff::", Private),
            ("fe00::", Forbidden),
            ("fe80::1", Forbidden),
            ("febf::", Forbidden),
            ("fec0::", Private),
            ("feff::", Private),
            ("ff02::1", Forbidden),
        ] {
            assert_eq!(class(text), expected, "{text}");
        }
    }

    #[test]
    fn forms_that_embed_an_ipv4_address() {
        use AddressClass::{Forbidden, Private, Public};
        for (text, expected) in [
            ("::ffff:127.0.0.1", Forbidden),
            ("::ffff:7f00:1", Forbidden),
            ("::ffff:10.0.0.1", Private),
            ("::ffff:8.8.8.8", Public),
            ("::127.0.0.1", Forbidden),
            ("::8.8.8.8", Forbidden),
            ("::ffff:0:127.0.0.1", Forbidden),
            ("::ffff:0:8.8.8.8", Forbidden),
            ("64:ff9b::7f00:1", Forbidden),
            ("64:ff9b::10.0.0.1", Private),
            ("64:ff9b::8.8.8.8", Public),
            ("64:ff9b:1::127.0.0.1", Forbidden),
            ("64:ff9b:1:808:8:800::", Forbidden),
            ("64:ff9b:2::8.8.8.8", Forbidden),
            ("2002:7f00:1::", Forbidden),
            ("2002:a00:1::1", Private),
            ("2002:808:808::1", Public),
            ("2001:0:7f00:1::", Forbidden),
            ("2001:0:808:808:0:0:80ff:fffe", Forbidden),
            ("2606:4700::5efe:127.0.0.1", Forbidden),
            ("2606:4700::200:5efe:10.0.0.1", Private),
            ("2606:4700::5efe:8.8.8.8", Public),
            ("fe80::5efe:8.8.8.8", Forbidden),
        ] {
            assert_eq!(class(text), expected, "{text}");
        }
        let sentence = |text: &str| {
            let address = text.parse().expect(text);
            classify(address).sentence(address)
        };
        assert_eq!(sentence("10.0.0.1"), "10.0.0.1 is a private address");
        assert_eq!(
            sentence("2002:7f00:1::"),
            "2002:7f00:1:: stands for 127.0.0.1, a loopback address"
        );
        assert_eq!(
            sentence("::127.0.0.1"),
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
        fn no_embedding_loosens_a_class(bits: u32, host: u64) {
            let inner = Ipv4Addr::from(bits);
            let plain = classify(inner.into()).class;
            for form in forms(inner, host) {
                prop_assert!(classify(form.into()).class >= plain, "{form} for {inner}");
            }
        }

        #[test]
        fn special_addresses_of_the_standard_library_are_not_public(bits: u32) {
            let address = Ipv4Addr::from(bits);
            if address.is_private() {
                prop_assert_eq!(classify(address.into()).class, AddressClass::Private);
            }
            if address.is_loopback() || address.is_link_local() || address.is_multicast() || address.is_broadcast() || address.is_unspecified() {
                prop_assert_eq!(classify(address.into()).class, AddressClass::Forbidden);
            }
        }

        #[test]
        fn of_ipv6_only_global_unicast_is_public(bits: u128) {
            let address = Ipv6Addr::from(bits);
            if classify(address.into()).class == AddressClass::Public {
                prop_assert!(bits >> 125 == 1 || NAT64.contains(&address) || MAPPED.contains(&address));
            }
            if address.is_loopback() || address.is_multicast() || address.is_unicast_link_local() {
                prop_assert_eq!(classify(address.into()).class, AddressClass::Forbidden);
            }
        }

        #[test]
        fn special_networks_keep_their_class_in_every_form(network in prop::sample::select(IPV4_NETWORKS), low: u32) {
            let (network, class, _) = network;
            let mask = u32::MAX.checked_shr(network.prefix_len().into()).unwrap_or(0);
            let address = Ipv4Addr::from(u32::from(network.addr()) | (low & mask));
            prop_assert!(classify(address.into()).class >= class);
            for form in forms(address, low.into()) {
                prop_assert!(classify(form.into()).class >= class, "{}", form);
            }
        }
    }
}
