//! Attempts to reach other networks and the machine's sockets.

use std::io;
use std::net::{TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::time::Duration;

use super::{HostTargets, call_refused, refused};

pub(crate) fn all(outside: &HostTargets) {
    refused(
        "the machine's loopback",
        connect(&format!("127.0.0.1:{}", outside.port)),
    );
    for address in [
        "10.0.0.1:80",
        "192.168.0.1:80",
        "169.254.169.254:80",
        "1.1.1.1:53",
        "172.17.0.1:80",
        "[2606:4700:4700::1111]:53",
        "[fe80::1]:80",
    ] {
        refused(&format!("connect to {address}"), connect(address));
    }
    let port = outside.port;
    for address in [
        format!("{}:{port}", outside.machine),
        format!("[::ffff:{}]:{port}", outside.machine),
        format!("0.0.0.0:{port}"),
        format!("[::1]:{port}"),
    ] {
        refused(
            &format!("the machine's port at {address}"),
            connect(&address),
        );
    }
    for address in [
        "127.0.0.1",
        "198.19.255.251",
        "198.19.255.252",
        "198.19.255.253",
        "[::1]",
    ] {
        let address = format!("{address}:{}", outside.neighbour);
        refused(
            &format!("another sandbox's port at {address}"),
            connect(&address),
        );
    }
    refused("ask 8.8.8.8", ask("8.8.8.8:53"));
    refused(
        "ask the machine by UDP",
        ask(&format!("{}:{port}", outside.machine)),
    );
    refused(
        "the machine's unix socket",
        UnixStream::connect(&outside.socket),
    );
    let name = SocketAddr::from_abstract_name(&outside.abstract_name);
    refused(
        "the machine's abstract socket",
        name.and_then(|name| UnixStream::connect_addr(&name)),
    );
    for path in [
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/systemd/private",
        "/run/dbus/system_bus_socket",
        "/run/containerd/containerd.sock",
        "/dev/log",
    ] {
        refused(&format!("connect to {path}"), UnixStream::connect(path));
    }
    refused(
        "send to the journal",
        UnixDatagram::unbound()
            .and_then(|socket| socket.send_to(b"x", "/run/systemd/journal/socket")),
    );
    families();
}

/// How long an attempt waits for an answer. Nothing answers intercepted packets here.
const PATIENCE: Duration = Duration::from_secs(1);

fn connect(address: &str) -> io::Result<TcpStream> {
    let address = address.parse().map_err(io::Error::other)?;
    TcpStream::connect_timeout(&address, PATIENCE)
}

/// Sends a datagram and waits for an answer.
fn ask(address: &str) -> io::Result<usize> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(address)?;
    socket.send(b"x")?;
    socket.recv(&mut [0; 1])
}

fn families() {
    let families = [
        ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM),
        ("alg", libc::AF_ALG, libc::SOCK_SEQPACKET),
        ("packet", libc::AF_PACKET, libc::SOCK_RAW),
        ("xdp", libc::AF_XDP, libc::SOCK_RAW),
        ("bluetooth", libc::AF_BLUETOOTH, libc::SOCK_RAW),
        ("can", libc::AF_CAN, libc::SOCK_RAW),
        ("tipc", libc::AF_TIPC, libc::SOCK_STREAM),
        ("rds", libc::AF_RDS, libc::SOCK_SEQPACKET),
        ("key", libc::AF_KEY, libc::SOCK_RAW),
        ("kcm", 41, libc::SOCK_DGRAM),
        ("raw ip", libc::AF_INET, libc::SOCK_RAW),
        ("raw ipv6", libc::AF_INET6, libc::SOCK_RAW),
    ];
    for (name, family, kind) in families {
        call_refused!(
            &format!("make a socket: {name}"),
            libc::SYS_socket,
            family,
            kind,
            libc::IPPROTO_ICMP
        );
    }
    // SAFETY: the call has no memory preconditions.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0) };
    // SAFETY: ifreq is plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    call_refused!(
        "take the loopback interface down",
        libc::SYS_ioctl,
        socket,
        libc::SIOCSIFFLAGS,
        &raw const request
    );
}
