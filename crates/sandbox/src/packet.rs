//! The packets of a sandbox that lead to foreign addresses, as its caller gets them.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, recv, send};

/// The packets that a sandbox with [`Network::Intercepted`](crate::Network::Intercepted) sends to
/// foreign addresses.
///
/// The sandbox has a default route over its loopback interface, where the kernel discards these
/// packets. The caller sees them, and can put packets of its own into the sandbox. The kernel keeps
/// the sandbox's network until all of these sockets are closed. Closing a packet socket takes some
/// milliseconds.
#[derive(Debug)]
pub struct InterceptedPackets {
    /// Packets of at most [`InterceptedPackets::MAX_SMALL`] bytes, headers included.
    pub small: PacketSocket,
    /// Larger packets. They have a queue of their own, so bulk data never displaces other packets.
    pub large: PacketSocket,
    /// The non-blocking socket at [`InterceptedPackets::LISTENER`]. Connections that the caller
    /// redirects can end here.
    pub listener: TcpListener,
    /// The non-blocking socket at port 53 of 127.0.0.1, which C libraries ask for names if
    /// `/etc/resolv.conf` has no server.
    pub names: UdpSocket,
}

impl InterceptedPackets {
    /// The sandbox's own address, from which its connections to foreign addresses come.
    pub const OWN: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 251);
    /// The address of [`InterceptedPackets::listener`].
    pub const LISTENER: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 252);
    /// The port of [`InterceptedPackets::listener`].
    pub const LISTENER_PORT: u16 = 3129;
    /// An address that no interface has, for the other end of redirected connections. A command
    /// cannot send packets from it.
    pub const PEER: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 253);
    /// The largest packet of [`InterceptedPackets::small`], in bytes.
    pub const MAX_SMALL: u32 = 1900;
    /// The size of a buffer that holds every packet, in bytes.
    pub const BUFFER_BYTES: usize = 68 * 1024;
}

/// A packet socket on a sandbox's loopback interface. It never blocks.
///
/// Each packet begins with a `virtio_net_hdr` (10 bytes) and an Ethernet header (14 bytes).
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Receives a packet into the buffer and returns its length.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (_, length) = recv(&self.0, buffer, RecvFlags::empty())?;
        Ok(length)
    }

    /// A copy of the socket, for waiting until it has a packet. Asynchronous libraries wait for
    /// sockets of the standard library. That has no type for packets, so the copy has the type for
    /// UDP.
    ///
    /// # Errors
    /// The descriptor cannot be copied.
    pub fn readiness(&self) -> io::Result<UdpSocket> {
        self.0.try_clone().map(UdpSocket::from)
    }

    /// Puts a packet into the sandbox.
    ///
    /// # Errors
    /// The kernel has no space for it, or refuses it.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        send(&self.0, packet, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
