//! Detects whether an address belongs to this machine, by the kernel's current state.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// A documentation address (RFC 5737), which no machine has. It can be bound only where any address
/// can.
const UNASSIGNED: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 254));

/// Returns whether the address belongs to an interface of this machine or is the broadcast address
/// of one.
pub(super) fn is_local(address: IpAddr) -> bool {
    // The kernel binds sockets to local addresses only, unless configured otherwise. No packet is
    // sent.
    can_bind(address) && (!can_bind(UNASSIGNED) || is_in_kernel_tables(address))
}

/// EAFNOSUPPORT: without this address family, the kernel has no address of it.
const NO_FAMILY: i32 = 97;

/// Returns whether the kernel binds a socket to the address. Other errors, such as a lack of
/// descriptors, count as true: such an address stays denied.
fn can_bind(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => {
            error.kind() != ErrorKind::AddrNotAvailable && error.raw_os_error() != Some(NO_FAMILY)
        }
    }
}

/// Looks the address up in the kernel's tables. Used where the kernel binds any address
/// (`ip_nonlocal_bind`). If a table cannot be read, every address counts as local.
fn is_in_kernel_tables(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => fs::read_to_string("/proc/net/fib_trie")
            .map_or(true, |table| is_local_v4(&table, address)),
        IpAddr::V6(address) => fs::read_to_string("/proc/net/if_inet6")
            .map_or(true, |table| is_local_v6(&table, address)),
    }
}

/// Searches `fib_trie`, where the lines after `|-- ADDRESS` give the address's types.
fn is_local_v4(table: &str, address: Ipv4Addr) -> bool {
    let mut is_entry = false;
    for line in table.lines().map(str::trim) {
        if let Some((_, leaf)) = line.split_once("-- ") {
            is_entry = leaf.trim().parse() == Ok(address);
        } else if is_entry
            && ["LOCAL", "BROADCAST"]
                .iter()
                .any(|kind| line.ends_with(kind))
        {
            return true;
        }
    }
    false
}

/// Searches `if_inet6`, where each line begins with the address as 32 hexadecimal digits.
fn is_local_v6(table: &str, address: Ipv6Addr) -> bool {
    let digits = format!("{:032x}", u128::from(address));
    table.lines().any(|line| line.starts_with(&digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_local_and_a_documentation_address_is_not() {
        assert!(is_local(Ipv4Addr::LOCALHOST.into()));
        assert!(is_local("127.8.8.8".parse().expect("an address")));
        assert!(!is_local("198.51.100.253".parse().expect("an address")));
        assert!(!is_local("2001:db8::1".parse().expect("an address")));
    }

    #[test]
    fn the_kernels_tables() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 192.0.2.0/24 2 0 2\n        |-- 192.0.2.0\n           /24 link UNICAST\n        |-- 192.0.2.2\n           /32 host LOCAL\n        |-- 192.0.2.255\n           /32 link BROADCAST\n";
        let local = |text: &str| is_local_v4(table, text.parse().expect(text));
        assert!(local("192.0.2.2") && local("192.0.2.255"));
        assert!(!local("192.0.2.0") && !local("0.0.0.0") && !local("192.0.2.3"));
        let table = "fd000000000000000000000000000002 02 40 00 80     eth0\n00000000000000000000000000000001 01 80 10 80       lo\n";
        assert!(is_local_v6(table, "fd00::2".parse().expect("an address")));
        assert!(!is_local_v6(table, "fd00::3".parse().expect("an address")));
        // The machine's own tables have this format.
        assert!(is_in_kernel_tables(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_in_kernel_tables(UNASSIGNED));
    }
}
