//! Attempts to leave by the route of the transparent network, or to take the place of its ends.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use contree_sandbox::InterceptedPackets;

use super::{HostTargets, call_refused, holds, refused};

pub(crate) fn all(outside: &HostTargets) {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let defaults = routes.lines().skip(1).filter(|line| {
        let mut fields = line.split_whitespace();
        fields.next() == Some("lo") && fields.next() == Some("00000000")
    });
    let count = usize::from(outside.intercepted);
    holds(
        "the only route leads over loopback",
        routes.lines().skip(1).count() == count && defaults.count() == count,
    );
    routing();
    if outside.intercepted {
        ends();
    }
    options();
}

/// Changes of routes and addresses.
fn routing() {
    // SAFETY: the call has no memory preconditions.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    let zeros = [0_u8; 256];
    for (name, request) in [
        ("add a route", libc::SIOCADDRT),
        ("remove a route", libc::SIOCDELRT),
        ("set an address", libc::SIOCSIFADDR),
    ] {
        call_refused!(name, libc::SYS_ioctl, socket, request, zeros.as_ptr());
    }
    // SAFETY: the descriptor is this function's own.
    unsafe { libc::close(socket) };
}

/// The places of the listener, of the name server and of the engine's end of a connection.
fn ends() {
    let (listener, port) = (
        InterceptedPackets::LISTENER,
        InterceptedPackets::LISTENER_PORT,
    );
    for address in [listener, Ipv4Addr::UNSPECIFIED] {
        refused(
            &format!("listen in place of the redirected connections at {address}"),
            TcpListener::bind((address, port)),
        );
    }
    // The standard library sets no SO_REUSEADDR for UDP.
    refused(
        "answer names in place of the caller",
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)),
    );
    refused(
        "listen as the other end of redirected connections",
        TcpListener::bind((InterceptedPackets::PEER, 7)),
    );
    for (name, option) in [
        ("freely bound", libc::IP_FREEBIND),
        ("transparent", libc::IP_TRANSPARENT),
    ] {
        refused(
            &format!("connect to the listener as a redirected connection, {name}"),
            connect_as_peer(option),
        );
    }
}

/// Binds a socket to the address of redirected connections and connects it to the listener.
fn connect_as_peer(option: libc::c_int) -> io::Result<()> {
    let address = |ip: Ipv4Addr, port: u16| {
        // SAFETY: sockaddr_in is plain data.
        let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        address.sin_family = libc::AF_INET as libc::sa_family_t;
        address.sin_port = port.to_be();
        address.sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
        address
    };
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let own = address(InterceptedPackets::PEER, 7);
    let listener = address(
        InterceptedPackets::LISTENER,
        InterceptedPackets::LISTENER_PORT,
    );
    let succeeded = |result: libc::c_int| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: the calls use our own descriptor and pointers to live values.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        let one: libc::c_int = 1;
        let result = succeeded(libc::setsockopt(
            socket,
            libc::IPPROTO_IP,
            option,
            (&raw const one).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        ))
        .and_then(|()| succeeded(libc::bind(socket, (&raw const own).cast(), length)))
        .and_then(|()| succeeded(libc::connect(socket, (&raw const listener).cast(), length)));
        libc::close(socket);
        result
    }
}

/// Options of sockets that would change where packets lead.
fn options() {
    // SAFETY: the call has no memory preconditions.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    let one: libc::c_int = 1;
    for (name, level, option) in [
        ("mark packets", libc::SOL_SOCKET, libc::SO_MARK),
        (
            "take over addresses",
            libc::IPPROTO_IP,
            libc::IP_TRANSPARENT,
        ),
        ("repair a connection", libc::IPPROTO_TCP, libc::TCP_REPAIR),
    ] {
        call_refused!(
            name,
            libc::SYS_setsockopt,
            socket,
            level,
            option,
            &raw const one,
            size_of::<libc::c_int>()
        );
    }
    // SAFETY: the descriptor is this function's own.
    unsafe { libc::close(socket) };
}
