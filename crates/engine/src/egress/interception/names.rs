//! Gives names addresses of 198.18/15, so that a connection to such an address is one to the name.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

/// The first address.
const FIRST: u32 = u32::from_be_bytes([198, 18, 0, 1]);
/// The last address. Those above are the sandbox's own.
const LAST: u32 = u32::from_be_bytes([198, 19, 254, 255]);
/// The most names of a sandbox that have an address. With more names, the oldest loses its address.
const MAX_NAMES: usize = 4096;

/// The names of one sandbox, with their addresses.
#[derive(Default)]
pub(super) struct Names {
    addresses: HashMap<String, Ipv4Addr>,
    names: HashMap<Ipv4Addr, String>,
    /// The addresses in use, oldest first.
    order: VecDeque<Ipv4Addr>,
    assigned: u32,
}

impl Names {
    /// The address of a name that has one.
    pub(super) fn address(&self, name: &str) -> Option<Ipv4Addr> {
        self.addresses.get(name).copied()
    }

    /// Returns the address of a name, and gives it one if it has none.
    ///
    /// An address gets another name only after all others were used. So a program that has kept an
    /// address does not reach another host.
    pub(super) fn assign(&mut self, name: &str) -> Ipv4Addr {
        if let Some(address) = self.address(name) {
            return address;
        }
        if self.order.len() >= MAX_NAMES
            && let Some(oldest) = self.order.pop_front()
            && let Some(forgotten) = self.names.remove(&oldest)
        {
            self.addresses.remove(&forgotten);
        }
        let address = Ipv4Addr::from_bits(FIRST + self.assigned);
        self.assigned = (self.assigned + 1) % (LAST - FIRST + 1);
        self.addresses.insert(name.to_owned(), address);
        self.names.insert(address, name.to_owned());
        self.order.push_back(address);
        address
    }

    /// The name that has an address.
    pub(super) fn name(&self, address: Ipv4Addr) -> Option<&str> {
        self.names.get(&address).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use contree_sandbox::InterceptedPackets;

    use super::*;

    #[test]
    fn a_name_keeps_its_address() {
        let mut names = Names::default();
        let one = names.assign("one.example");
        let two = names.assign("two.example");
        assert_ne!(one, two);
        assert_eq!(names.assign("one.example"), one);
        assert_eq!(names.name(one), Some("one.example"));
        assert_eq!(names.name(Ipv4Addr::new(198, 18, 9, 9)), None);
    }

    #[test]
    fn names_are_bounded_and_an_address_is_not_soon_used_again() {
        let mut names = Names::default();
        let first = names.assign("first.example");
        let count = LAST - FIRST;
        for number in 0..count {
            let address = names.assign(&format!("{number}.example"));
            assert_ne!(address, first, "{number}");
            assert!(address < InterceptedPackets::OWN, "{address}");
        }
        assert_eq!(names.order.len(), MAX_NAMES);
        assert_eq!(
            (names.names.len(), names.addresses.len()),
            (MAX_NAMES, MAX_NAMES)
        );
        assert_eq!(names.name(first), None);
        assert_eq!(names.assign("another.example"), first);
    }
}
