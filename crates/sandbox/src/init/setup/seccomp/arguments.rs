//! The calls that depend on their arguments.

use rustix::io::Errno;

use super::decision::ArgumentTest::{AnyBit, Equal};
use super::decision::{ALLOW, ArgumentTest, Decision, REFUSE, argument, fail_with};

/// All CLONE_NEW… flags that do not overlap clone's signal number.
const NAMESPACE_FLAGS: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// The flags of unshare that separate threads, and make no namespace.
const THREAD_FLAGS: i32 = libc::CLONE_FILES
    | libc::CLONE_FS
    | libc::CLONE_SIGHAND
    | libc::CLONE_SYSVSEM
    | libc::CLONE_THREAD
    | libc::CLONE_VM;

/// The part of a socket's type beside the flags SOCK_CLOEXEC and SOCK_NONBLOCK.
const SOCKET_TYPE: u32 = 0xf;
/// The old way to a packet socket, through the family AF_INET.
const SOCK_PACKET: i32 = 10;

/// The bits of a personality that change only names and addresses. Debuggers and sanitizers turn
/// the randomization of addresses off (0x40000). The others are PER_LINUX32 and UNAME26.
const HARMLESS_PERSONALITY: u32 = 0x8 | 0x2_0000 | 0x4_0000;
/// The personality with which a program asks for its own.
const CURRENT_PERSONALITY: u32 = u32::MAX;

/// Requests for terminals that push input, or that attach a line discipline, whose module the
/// kernel loads.
const TERMINAL_REQUESTS: [u32; 3] = [
    libc::TIOCSTI as u32,
    libc::TIOCLINUX as u32,
    libc::TIOCSETD as u32,
];
/// SIOCGIFBR, SIOCSIFBR, SIOCGIFVLAN, SIOCSIFVLAN, SIOCBRADDBR and SIOCBRDELBR. The kernel loads
/// modules for bridges and VLANs before it looks at rights.
const SOCKET_REQUESTS: [u32; 6] = [0x8940, 0x8941, 0x8982, 0x8983, 0x89a0, 0x89a1];

/// Namespaces cannot be made. The upper half of clone's flags has no meaning.
pub(super) fn clone() -> Decision {
    argument(0).decides([(AnyBit(NAMESPACE_FLAGS as u32), REFUSE)], ALLOW)
}

/// Only known flags pass, in both halves: later kernels may have further ones.
pub(super) fn unshare() -> Decision {
    let lower = argument(0).decides([(AnyBit(!THREAD_FLAGS as u32), REFUSE)], ALLOW);
    argument(0)
        .upper_half()
        .decides([(Equal(0), lower)], REFUSE)
}

pub(super) fn ioctl() -> Decision {
    let requests = TERMINAL_REQUESTS.into_iter().chain(SOCKET_REQUESTS);
    argument(1).decides(requests.map(|request| (Equal(request), REFUSE)), ALLOW)
}

pub(super) fn personality() -> Decision {
    let tests = [
        (Equal(CURRENT_PERSONALITY), ALLOW),
        (AnyBit(!HARMLESS_PERSONALITY), REFUSE),
    ];
    argument(0).decides(tests, ALLOW)
}

/// The kernel allows the call on any process of the same uid, so the filter protects pid 1.
pub(super) fn not_pid_1_as_first() -> Decision {
    argument(0).decides([(Equal(1), REFUSE)], ALLOW)
}

/// As `not_pid_1_as_first`, for a call whose second argument is the process.
pub(super) fn not_pid_1_as_second() -> Decision {
    argument(1).decides([(Equal(1), REFUSE)], ALLOW)
}

/// The kernel loads a module for an unknown family, type or protocol, whoever asks for it. So only
/// a few exist.
pub(super) fn socket() -> Decision {
    let tests = [
        (family(libc::AF_UNIX), ALLOW),
        (family(libc::AF_INET), internet_socket(libc::IPPROTO_ICMP)),
        (
            family(libc::AF_INET6),
            internet_socket(libc::IPPROTO_ICMPV6),
        ),
        (family(libc::AF_NETLINK), netlink_socket()),
        (family(libc::AF_VSOCK), REFUSE),
        (family(libc::AF_ALG), REFUSE),
        (family(libc::AF_PACKET), REFUSE),
    ];
    argument(0).decides(tests, fail_with(Errno::AFNOSUPPORT))
}

/// TCP, UDP and the echo sockets of ping. Raw sockets need a capability that no command has.
fn internet_socket(echo: i32) -> Decision {
    let tests = [
        (kind(libc::SOCK_STREAM), protocols(&[0, libc::IPPROTO_TCP])),
        (
            kind(libc::SOCK_DGRAM),
            protocols(&[0, libc::IPPROTO_UDP, echo]),
        ),
        (kind(libc::SOCK_RAW), REFUSE),
        (kind(SOCK_PACKET), REFUSE),
    ];
    argument(1)
        .masked(SOCKET_TYPE)
        .decides(tests, fail_with(Errno::SOCKTNOSUPPORT))
}

/// Addresses and routes, sockets, and events of devices: the protocols of `ip`, `ss` and libudev.
fn netlink_socket() -> Decision {
    protocols(&[
        libc::NETLINK_ROUTE,
        libc::NETLINK_SOCK_DIAG,
        libc::NETLINK_KOBJECT_UEVENT,
    ])
}

fn protocols(allowed: &[i32]) -> Decision {
    let tests = allowed
        .iter()
        .map(|protocol| (Equal(protocol.unsigned_abs()), ALLOW));
    argument(2).decides(tests, fail_with(Errno::PROTONOSUPPORT))
}

/// Only unix sockets have pairs. The kernel loads the module of any other family first.
pub(super) fn socketpair() -> Decision {
    let tests = [
        (family(libc::AF_UNIX), ALLOW),
        (family(libc::AF_INET), fail_with(Errno::OPNOTSUPP)),
        (family(libc::AF_INET6), fail_with(Errno::OPNOTSUPP)),
    ];
    argument(0).decides(tests, fail_with(Errno::AFNOSUPPORT))
}

fn family(family: i32) -> ArgumentTest {
    Equal(family.unsigned_abs())
}

fn kind(kind: i32) -> ArgumentTest {
    Equal(kind.unsigned_abs())
}
