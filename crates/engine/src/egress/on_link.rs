//! Detects whether an address is in a network to which this machine is connected, by the kernel's
//! routes.
//!
//! In such a network, hosts may trust this machine by its address. With IPv6, and in a data centre
//! with IPv4 too, its addresses look like those of the rest of the internet.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::address_class::GLOBAL_UNICAST;

/// The shortest prefixes of a connected network. Shorter ones are routes of a tunnel that carries
/// the rest of the internet, such as 0.0.0.0/1 and 2000::/3.
const MIN_PREFIX_V4: u8 = 8;
const MIN_PREFIX_V6: u8 = 32;

/// Flags of a route (RTF_GATEWAY, RTF_REJECT): it leads to a router, or nowhere.
const ELSEWHERE: u32 = 0x2 | 0x200;

/// Returns whether the address is in a network to which this machine is connected.
pub(super) fn contains(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => in_table("/proc/net/route", |table| {
            networks_v4(table).any(|network| network.contains(&address))
        }),
        // Other addresses are translated, or not public anyway.
        IpAddr::V6(address) if !GLOBAL_UNICAST.contains(&address) => false,
        IpAddr::V6(address) => in_table("/proc/net/ipv6_route", |table| {
            networks_v6(table).any(|network| network.contains(&address))
        }),
    }
}

/// Searches a table of the kernel. Without the table, the kernel has no routes of this kind. If it
/// cannot be read, every address counts as connected.
fn in_table(path: &str, search: impl Fn(&str) -> bool) -> bool {
    match fs::read_to_string(path) {
        Ok(table) => search(&table),
        Err(error) => !is_missing(&error),
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

/// The connected networks of `/proc/net/route`: interface, destination, gateway, flags, three
/// numbers and the mask. Addresses are hexadecimal numbers in the byte order of this machine.
fn networks_v4(table: &str) -> impl Iterator<Item = Ipv4Net> {
    table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let device = fields.next()?;
        let destination = hexadecimal(fields.next()?)?;
        let flags = hexadecimal(fields.nth(1)?)?;
        let mask = hexadecimal(fields.nth(3)?)?;
        let prefix = u8::try_from(mask.count_ones()).ok()?;
        if device == "lo" || flags & ELSEWHERE != 0 || prefix < MIN_PREFIX_V4 {
            return None;
        }
        Ipv4Net::new(Ipv4Addr::from(destination.to_ne_bytes()), prefix).ok()
    })
}

/// The connected networks of `/proc/net/ipv6_route`: destination and prefix length, source and
/// prefix length, next hop, three numbers, flags and interface.
fn networks_v6(table: &str) -> impl Iterator<Item = Ipv6Net> {
    table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let destination = u128::from_str_radix(fields.next()?, 16).ok()?;
        let prefix = u8::from_str_radix(fields.next()?, 16).ok()?;
        let flags = hexadecimal(fields.nth(6)?)?;
        let device = fields.next()?;
        if device == "lo" || flags & ELSEWHERE != 0 || prefix < MIN_PREFIX_V6 {
            return None;
        }
        Ipv6Net::new(Ipv6Addr::from(destination), prefix).ok()
    })
}

fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connected_networks_of_ipv4() {
        let number = |address: &str| {
            let address: Ipv4Addr = address.parse().expect(address);
            format!("{:08X}", u32::from_ne_bytes(address.octets()))
        };
        let route = |device: &str, to: &str, via: &str, flags: u32, mask: &str| {
            let [to, via, mask] = [to, via, mask].map(number);
            format!("{device}\t{to}\t{via}\t{flags:04X}\t0\t0\t0\t{mask}\t0\t0\t0\n")
        };
        let table = [
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n".to_owned(),
            route("eth0", "0.0.0.0", "203.0.114.1", 3, "0.0.0.0"),
            route("eth0", "203.0.114.0", "0.0.0.0", 1, "255.255.255.0"),
            route("eth0", "198.51.100.0", "203.0.114.9", 3, "255.255.255.0"),
            route("tun0", "0.0.0.0", "0.0.0.0", 1, "128.0.0.0"),
            route("eth1", "192.0.2.9", "0.0.0.0", 5, "255.255.255.255"),
        ]
        .concat();
        let networks: Vec<String> = networks_v4(&table).map(|net| net.to_string()).collect();
        assert_eq!(networks, ["203.0.114.0/24", "192.0.2.9/32"]);
    }

    #[test]
    fn connected_networks_of_ipv6() {
        let route = |to: &str, prefix: u8, via: &str, flags: u32, device: &str| {
            let number = |address: &str| {
                let address: Ipv6Addr = address.parse().expect(address);
                format!("{:032x}", u128::from(address))
            };
            format!(
                "{} {prefix:02x} {} 00 {} 00000100 00000001 00000000 {flags:08x} {device:>8}\n",
                number(to),
                number("::"),
                number(via)
            )
        };
        let table = [
            route("2a01:4f8:1:2::", 64, "::", 0x1, "eth0"),
            route("2a01:4f8:1:3::", 64, "::", 0x0040_0001, "eth0"),
            route("2a01:4f8::", 48, "fe80::1", 0x3, "eth0"),
            route("::", 0, "fe80::1", 0x3, "eth0"),
            route("2000::", 3, "::", 0x1, "tun0"),
            route("2a01:4f8:9::", 48, "::", 0x201, "lo"),
            route("2a01:4f8:1:2::5", 128, "::", 0x8020_0001, "lo"),
        ]
        .concat();
        let networks: Vec<String> = networks_v6(&table).map(|net| net.to_string()).collect();
        assert_eq!(networks, ["2a01:4f8:1:2::/64", "2a01:4f8:1:3::/64"]);
    }

    #[test]
    fn the_machines_own_tables_have_this_format() {
        // No machine is connected to the whole of such a network.
        assert!(!contains("198.51.100.253".parse().expect("an address")));
        assert!(!contains("2001:db8::1".parse().expect("an address")));
        let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
        for network in networks_v4(&table) {
            assert!(contains(network.addr().into()), "{network}");
        }
        let table = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
        for network in networks_v6(&table).filter(|net| GLOBAL_UNICAST.contains(net)) {
            assert!(contains(network.addr().into()), "{network}");
        }
    }
}
