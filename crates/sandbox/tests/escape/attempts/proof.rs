//! Checks that the probe is in a sandbox.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::holds;
use crate::proof;

pub(crate) fn inside() {
    let contradiction = proof::contradiction();
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    // In an inner namespace, the map shows the ids of the outer one, which are several extents.
    let outside = map.lines().count() == 1 && map.split_whitespace().nth(1) == Some("0");
    if contradiction.is_some() || outside {
        println!("not in a sandbox: {contradiction:?}, ids {map:?}");
        std::process::exit(2);
    }
    for address in ["127.0.0.1:0", "[::1]:0"] {
        holds(
            &format!("loopback works: {address}"),
            loopback(address).is_ok(),
        );
    }
}

fn loopback(address: &str) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    let mut to = TcpStream::connect(listener.local_addr()?)?;
    to.write_all(b"x")?;
    listener.accept()?.0.read_exact(&mut [0])
}
