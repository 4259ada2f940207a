//! The part of the network in which an address lies. A registry may lead a client only to its own
//! part or to the internet, and a registry on this machine also to private networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use url::{Host as UrlHost, Url};

/// How long this machine's resolver may take for the name of a registry.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The part of the network in which an address lies, the most public one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AddressScope {
    /// The internet.
    Public,
    /// A private network.
    Private,
    /// This machine.
    Loopback,
    /// The local link, such as a cloud's metadata service, or an address that no server has.
    Link,
}

impl AddressScope {
    /// The scope of an address. If an IPv6 address embeds an IPv4 address, that one decides.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [a, b, c, _] = address.octets();
        let number = u32::from(address);
        match (a, b, c) {
            (127, ..) => Self::Loopback,
            _ if address.is_private() => Self::Private,
            // Metadata services of clouds.
            _ if number == 0x6464_64c8 || number == 0xa83f_8110 => Self::Link,
            (100, 64..=127, _) | (198, 18..=19, _) => Self::Private,
            // An unspecified address leads to this machine.
            (0, ..) => Self::Loopback,
            (169, 254, _) | (192, 0, 0) | (224.., ..) => Self::Link,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let segments = address.segments();
        let v4 = |high: u16, low: u16| {
            Self::of_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
        };
        match segments {
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Self::Loopback,
            // IPv4-compatible addresses, and the well-known prefix of NAT64 translators.
            [0, 0, 0, 0, 0, 0, high, low] => v4(high, low).max(Self::Private),
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
            [0x64, 0xff9b, 1, ..] => Self::Private,
            // 6to4 embeds an IPv4 address. Teredo, in the next line, has no servers.
            [0x2002, high, low, ..] => v4(high, low),
            [0x2001, 0, ..] => Self::Link,
            [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..] => Self::Link,
            [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Self::Private,
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Link,
        }
    }

    /// Returns whether a registry in this scope may lead a client to an address in `other`. A
    /// registry on this machine may also lead to private networks.
    pub(super) fn may_lead_to(self, other: Self) -> bool {
        other == Self::Public || other == self || (self == Self::Loopback && other == Self::Private)
    }

    /// The scope of the server of a URL, by its address or its name. A name that cannot be resolved
    /// counts as public. Of several addresses, the most public one counts, so that a registry
    /// cannot claim another scope by a further address.
    pub(super) async fn of_server(url: &Url) -> Self {
        match server_host(url) {
            ServerHost::Address(address) => Self::of(address),
            ServerHost::ThisMachine => Self::Loopback,
            ServerHost::Name(name) => {
                let lookup = tokio::net::lookup_host((name, 0));
                match tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await {
                    Ok(Ok(found)) => found
                        .map(|found| Self::of(found.ip()))
                        .min()
                        .unwrap_or(Self::Public),
                    _ => Self::Public,
                }
            }
        }
    }

    /// Completes "it is …".
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Public => "on the internet",
            Self::Private => "in a private network",
            Self::Loopback => "this machine",
            Self::Link => "on this machine's own link",
        }
    }
}

/// The host of a URL, by which its server is found.
pub(super) enum ServerHost<'a> {
    Address(IpAddr),
    /// `localhost`, or a name below it.
    ThisMachine,
    Name(&'a str),
}

/// Returns the host of a URL without resolving it.
pub(super) fn server_host(url: &Url) -> ServerHost<'_> {
    match url.host() {
        Some(UrlHost::Ipv4(address)) => ServerHost::Address(address.into()),
        Some(UrlHost::Ipv6(address)) => ServerHost::Address(address.into()),
        Some(UrlHost::Domain(name)) => {
            let bare = name.strip_suffix('.').unwrap_or(name);
            if bare == "localhost" || bare.ends_with(".localhost") {
                ServerHost::ThisMachine
            } else {
                ServerHost::Name(name)
            }
        }
        None => ServerHost::Name(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> AddressScope {
        AddressScope::of(address.parse().unwrap())
    }

    #[test]
    fn every_spelling_of_an_address_has_its_scope() {
        use AddressScope::{Link, Loopback, Private, Public};
        for (address, scope) in [
            ("93.184.216.34", Public),
            ("203.0.113.80", Public),
            ("2606:4700::1111", Public),
            ("64:ff9b::808:808", Public),
            ("10.0.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.0.1", Private),
            ("100.64.0.1", Private),
            ("198.18.0.1", Private),
            ("fd00::2", Private),
            ("::ffff:10.0.0.1", Private),
            ("64:ff9b::a00:1", Private),
            ("2002:a00:1::", Private),
            ("127.0.0.1", Loopback),
            ("0.0.0.0", Loopback),
            ("::1", Loopback),
            ("::", Loopback),
            ("::ffff:127.0.0.1", Loopback),
            ("2002:7f00:1::", Loopback),
            ("169.254.169.254", Link),
            ("100.100.100.200", Link),
            ("168.63.129.16", Link),
            ("fe80::1", Link),
            ("fd00:ec2::254", Link),
            ("224.0.0.1", Link),
            ("ff02::1", Link),
        ] {
            assert_eq!(of(address), scope, "{address}");
        }
    }

    #[test]
    fn a_registry_leads_to_its_own_part_of_the_network_or_to_the_internet() {
        use AddressScope::{Link, Loopback, Private, Public};
        let all = [Public, Private, Loopback, Link];
        for (from, allowed) in [
            (Public, vec![Public]),
            (Private, vec![Public, Private]),
            (Loopback, vec![Public, Private, Loopback]),
            (Link, vec![Public, Link]),
        ] {
            let may: Vec<_> = all
                .into_iter()
                .filter(|other| from.may_lead_to(*other))
                .collect();
            assert_eq!(may, allowed, "{from:?}");
        }
    }
}
