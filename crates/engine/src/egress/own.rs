//! Whether an address is this machine's own, as the kernel sees it now.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// An address that no machine has (RFC 5737): it can be bound only where any address can.
const NOBODYS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 254));

/// Whether the address belongs to an interface of this machine (or is the broadcast address of one).
pub(super) fn is_own(address: IpAddr) -> bool {
    // The kernel lets a socket have no other. No packet is sent.
    bound(address) && (!bound(NOBODYS) || listed(address))
}

/// EAFNOSUPPORT: a kernel without this family has no address of it.
const NO_FAMILY: i32 = 97;

/// Whether the kernel lets a socket have it. What keeps it from being asked, such as a want of descriptors, counts as a yes.
fn bound(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => {
            error.kind() != ErrorKind::AddrNotAvailable && error.raw_os_error() != Some(NO_FAMILY)
        }
    }
}

/// By the kernel's tables, for machines that let sockets have any address (`ip_nonlocal_bind`). Unread tables list all.
fn listed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            fs::read_to_string("/proc/net/fib_trie").map_or(true, |table| local_v4(&table, address))
        }
        IpAddr::V6(address) => {
            fs::read_to_string("/proc/net/if_inet6").map_or(true, |table| local_v6(&table, address))
        }
    }
}

/// A line `|-- ADDRESS` is followed by lines that say what it is.
fn local_v4(table: &str, address: Ipv4Addr) -> bool {
    let mut about = false;
    for line in table.lines().map(str::trim) {
        if let Some((_, leaf)) = line.split_once("-- ") {
            about = leaf.trim().parse() == Ok(address);
        } else if about
            && ["LOCAL", "BROADCAST"]
                .iter()
                .any(|kind| line.ends_with(kind))
        {
            return true;
        }
    }
    false
}

/// Each line begins with 32 hexadecimal digits.
fn local_v6(table: &str, address: Ipv6Addr) -> bool {
    let digits = format!("{:032x}", u128::from(address));
    table.lines().any(|line| line.starts_with(&digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_own_and_a_documentation_address_is_not() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(is_own("127.8.8.8".parse().expect("an address")));
        assert!(!is_own("198.51.100.253".parse().expect("an address")));
        assert!(!is_own("2001:db8::1".parse().expect("an address")));
    }

    #[test]
    fn the_kernels_tables() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 192.0.2.0/24 2 0 2\n        |-- 192.0.2.0\n           /24 link UNICAST\n        |-- 192.0.2.2\n           /32 host LOCAL\n        |-- 192.0.2.255\n           /32 link BROADCAST\n";
        let local = |text: &str| local_v4(table, text.parse().expect(text));
        assert!(local("192.0.2.2") && local("192.0.2.255"));
        assert!(!local("192.0.2.0") && !local("0.0.0.0") && !local("192.0.2.3"));
        let table = "fd000000000000000000000000000002 02 40 00 80     eth0\n00000000000000000000000000000001 01 80 10 80       lo\n";
        assert!(local_v6(table, "fd00::2".parse().expect("an address")));
        assert!(!local_v6(table, "fd00::3".parse().expect("an address")));
        // The machine's own tables are of this form.
        assert!(listed(Ipv4Addr::LOCALHOST.into()));
        assert!(!listed(NOBODYS));
    }
}
