//! Gives the caller the packets that a sandbox sends to foreign addresses.
//!
//! A default route leads over the loopback interface, where the kernel discards foreign packets. A
//! packet socket sees them there.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, listen, recv, send,
    socket_with, sockopt,
};

use crate::os::packet_socket::{LOOPBACK_INDEX, open_on_loopback};
use crate::packet::InterceptedPackets;
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};

/// The sockets for the caller, in the order in which they are passed: small packets, large packets,
/// the listener, and names.
pub(crate) type InterceptionSockets = [OwnedFd; 4];

/// The most connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// The port of name servers.
const DNS_PORT: u16 = 53;

/// Sets the interception up. If a step fails, there is no route, and commands have loopback alone.
pub(crate) fn set_up() -> Result<InterceptionSockets, StepFailure> {
    let small = open_on_loopback(&filter(Size::Small)).at_step(Step::PacketSocket)?;
    let large = open_on_loopback(&filter(Size::Large)).at_step(Step::PacketSocket)?;
    let names = names().at_step(Step::NameSocket)?;
    let route = netlink_socket().at_step(Step::Route)?;
    for address in [InterceptedPackets::OWN, InterceptedPackets::LISTENER] {
        exchange(&route, &new_address(address)).at_step(Step::Route)?;
    }
    let listener = listener().at_step(Step::Listener)?;
    // The route comes last. If an earlier step fails, packets are refused and not lost.
    exchange(&route, &new_default_route()).at_step(Step::Route)?;
    Ok([small, large, listener, names])
}

fn listener() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    let address = SocketAddrV4::new(
        InterceptedPackets::LISTENER,
        InterceptedPackets::LISTENER_PORT,
    );
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The socket for names. A command that sets SO_REUSEADDR can bind the port at all addresses too.
fn names() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, DNS_PORT))?;
    Ok(socket)
}

/// The packets of one socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Small,
    Large,
}

/// The offset of the destination in an Ethernet frame with an IPv4 packet.
const DESTINATION: u32 = 30;
/// The offset of the protocol in an Ethernet header.
const ETHERTYPE: u32 = 12;

/// The filter of a packet socket: IPv4 packets of this size to foreign addresses, without multicast
/// and broadcast ones.
fn filter(size: Size) -> [libc::sock_filter; 14] {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let jump = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: (libc::BPF_JMP | code | libc::BPF_K) as u16,
        jt,
        jf,
        k,
    };
    let load = |width: u32, offset: u32| statement(libc::BPF_LD | width | libc::BPF_ABS, offset);
    // The last instruction drops, the one before accepts.
    let (larger, not_larger) = match size {
        Size::Small => (1, 0),
        Size::Large => (0, 1),
    };
    [
        load(libc::BPF_H, ETHERTYPE),
        jump(libc::BPF_JEQ, libc::ETH_P_IP as u32, 0, 11),
        load(libc::BPF_W, DESTINATION),
        jump(libc::BPF_JEQ, InterceptedPackets::OWN.to_bits(), 9, 0),
        jump(libc::BPF_JEQ, InterceptedPackets::LISTENER.to_bits(), 8, 0),
        jump(libc::BPF_JEQ, Ipv4Addr::BROADCAST.to_bits(), 7, 0),
        load(libc::BPF_B, DESTINATION),
        jump(libc::BPF_JEQ, 127, 5, 0),
        // The caller answers reserved addresses, and multicast ones are dropped.
        jump(libc::BPF_JGE, 240, 1, 0),
        jump(libc::BPF_JGE, 224, 3, 0),
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0),
        jump(
            libc::BPF_JGT,
            InterceptedPackets::MAX_SMALL,
            larger,
            not_larger,
        ),
        statement(libc::BPF_RET | libc::BPF_K, u32::MAX),
        statement(libc::BPF_RET | libc::BPF_K, 0),
    ]
}

fn netlink_socket() -> Result<OwnedFd, Errno> {
    socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // Protocol 0 is NETLINK_ROUTE.
        None,
    )
}

/// The size of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;

/// A request to the kernel's routing, with the answer requested (netlink(7)).
fn request(kind: u16, body: &[u8]) -> Vec<u8> {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let length = (HEADER_BYTES + body.len()) as u32;
    let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(flags as u16).to_ne_bytes());
    // The sequence number and the port, which the kernel only repeats.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(body);
    message
}

/// An attribute with a value of four bytes (rtnetlink(7)).
fn attribute(kind: u16, value: [u8; 4]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..2].copy_from_slice(&8_u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&kind.to_ne_bytes());
    bytes[4..].copy_from_slice(&value);
    bytes
}

/// Gives the loopback interface an address.
fn new_address(address: Ipv4Addr) -> Vec<u8> {
    // struct ifaddrmsg: family, prefix length, flags, scope, interface.
    let mut body = vec![libc::AF_INET as u8, 32, 0, libc::RT_SCOPE_UNIVERSE];
    body.extend_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    body.extend_from_slice(&attribute(libc::IFA_LOCAL, address.octets()));
    body.extend_from_slice(&attribute(libc::IFA_ADDRESS, address.octets()));
    request(libc::RTM_NEWADDR, &body)
}

/// Routes every other address over the loopback interface.
fn new_default_route() -> Vec<u8> {
    // struct rtmsg: family, lengths of destination and source, type of service, table, protocol,
    // scope, type, flags.
    let mut body = vec![
        libc::AF_INET as u8,
        0,
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_BOOT,
        libc::RT_SCOPE_LINK,
        libc::RTN_UNICAST,
    ];
    body.extend_from_slice(&0_u32.to_ne_bytes());
    body.extend_from_slice(&attribute(libc::RTA_OIF, LOOPBACK_INDEX.to_ne_bytes()));
    body.extend_from_slice(&attribute(
        libc::RTA_PREFSRC,
        InterceptedPackets::OWN.octets(),
    ));
    request(libc::RTM_NEWROUTE, &body)
}

/// Sends a request and reads the kernel's answer: `struct nlmsgerr`, which begins with a negated
/// error number.
fn exchange(socket: &OwnedFd, message: &[u8]) -> Result<(), Errno> {
    send(socket, message, SendFlags::empty())?;
    let mut answer = [0_u8; 1024];
    let (_, length) = recv(socket, &mut answer[..], RecvFlags::empty())?;
    let kind = answer.get(4..6).filter(|_| length >= HEADER_BYTES + 4);
    if kind != Some(&(libc::NLMSG_ERROR as u16).to_ne_bytes()[..]) {
        return Err(Errno::PROTO);
    }
    let mut code = [0; 4];
    code.copy_from_slice(&answer[HEADER_BYTES..HEADER_BYTES + 4]);
    match i32::from_ne_bytes(code) {
        0 => Ok(()),
        negated => Err(Errno::from_raw_os_error(negated.saturating_neg())),
    }
}
