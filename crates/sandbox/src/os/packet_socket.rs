//! Packet sockets: they see packets that leave a network namespace, and put packets into it.

use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use super::sys::check;

/// The number of the loopback interface in every network namespace.
pub(crate) const LOOPBACK_INDEX: u32 = 1;

/// The wanted size of a socket's queue, in bytes.
const QUEUE_BYTES: usize = 4 << 20;

/// Opens a packet socket on the loopback interface, with a filter that decides which IPv4 packets
/// it gets. Each packet has a `virtio_net_hdr` in front of its Ethernet header.
///
/// The caller needs CAP_NET_RAW in its network namespace. Using the socket needs none.
pub(crate) fn open_on_loopback(filter: &[libc::sock_filter]) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Without a protocol, it gets no packet before it is bound.
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    attach_filter(&socket, filter)?;
    // The kernel reduces it to what it permits. The default holds only a few large packets.
    let _ = sockopt::set_socket_recv_buffer_size(&socket, QUEUE_BYTES);
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1_i32)?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        // Sockets of one protocol get no copies of packets that are sent.
        sll_protocol: (libc::ETH_P_IP as u16).to_be(),
        sll_ifindex: LOOPBACK_INDEX.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is alive, of the family's type, and its size is given.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    check(bound.into())?;
    Ok(socket)
}

/// Attaches a classic BPF program, which the kernel copies.
fn attach_filter(socket: &OwnedFd, filter: &[libc::sock_filter]) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?,
        filter: filter.as_ptr().cast_mut(),
    };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Sets an option whose value is plain data.
fn set_option<T>(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> Result<(), Errno> {
    // SAFETY: the value is alive and its size is given. The kernel only reads it, and what it
    // points to: the instructions of a filter, which the caller keeps alive.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    check(set.into()).map(drop)
}
