//! Attempts with calls and arguments that only the system call filter closes. Each has an expected
//! error, since the kernel would perform the call or fail in another way.

use std::fs::File;
use std::os::fd::AsRawFd;

use super::{call_fails, call_missing, call_works, holds};

pub(crate) fn all() {
    unknown();
    machine_wide();
    memory();
    processes();
    files();
    sockets();
    personality();
    devices();
}

/// Numbers of later kernels. Without arguments, such a call would do little.
fn unknown() {
    let exists = (470..1000).find(|&number| {
        // SAFETY: no kernel has these numbers yet, and there is no pointer to memory.
        let result = unsafe { libc::syscall(number, -1, 0, 0, 0, 0, 0) };
        result >= 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
    });
    holds("calls of later kernels do not exist", exists.is_none());
}

/// Contexts and clocks that all users of the machine share.
fn machine_wide() {
    let mut context = 0_u64;
    call_missing!("io_setup", libc::SYS_io_setup, 1, &raw mut context);
    call_missing!("io_submit", libc::SYS_io_submit, context, 0, 0);
    call_missing!("io_destroy", libc::SYS_io_destroy, context);
    // SAFETY: timex is plain data. With mode 0 the call only reads.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    call_fails!("adjtimex", libc::EPERM, libc::SYS_adjtimex, &raw mut clock);
}

fn memory() {
    let null = std::ptr::null::<u8>();
    call_missing!("memfd_secret", libc::SYS_memfd_secret, 0);
    call_missing!(
        "get_mempolicy",
        libc::SYS_get_mempolicy,
        null,
        null,
        0,
        0,
        0
    );
    call_missing!("set_mempolicy", libc::SYS_set_mempolicy, 0, null, 0);
    call_missing!("mbind", libc::SYS_mbind, 0, 0, 0, null, 0, 0);
    call_missing!("migrate_pages", libc::SYS_migrate_pages, 0, 0, null, null);
    call_missing!(
        "move_pages",
        libc::SYS_move_pages,
        0,
        0,
        null,
        null,
        null,
        0
    );
    call_missing!(
        "remap_file_pages",
        libc::SYS_remap_file_pages,
        0,
        0,
        0,
        0,
        0
    );
    #[cfg(target_arch = "x86_64")]
    {
        let mut table = [0_u8; 16];
        call_missing!(
            "modify_ldt",
            libc::SYS_modify_ldt,
            0,
            table.as_mut_ptr(),
            table.len()
        );
    }
}

fn processes() {
    let pid = std::process::id();
    call_fails!("kcmp", libc::EPERM, libc::SYS_kcmp, pid, pid, 0, 0, 0);
    // SAFETY: the call has no memory preconditions. The end of the process closes the descriptor.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    holds("a process can be opened", process >= 0);
    call_fails!(
        "pidfd_getfd",
        libc::EPERM,
        libc::SYS_pidfd_getfd,
        process,
        0,
        0
    );
    let null = std::ptr::null::<u8>();
    call_missing!(
        "process_madvise",
        libc::SYS_process_madvise,
        process,
        null,
        0,
        libc::MADV_COLD,
        0
    );
    call_missing!("process_mrelease", libc::SYS_process_mrelease, process, 1);
    call_fails!(
        "unshare flags of later kernels",
        libc::EPERM,
        libc::SYS_unshare,
        1_u64 << 37
    );
    // lsm_get_self_attr, lsm_set_self_attr and lsm_list_modules. libc lacks them for some targets.
    for number in [459, 460, 461] {
        call_missing!(
            &format!("security modules, call {number}"),
            number,
            0,
            null,
            null,
            0
        );
    }
}

fn files() {
    const FAN_REPORT_FID: u32 = 0x200;
    call_fails!(
        "fanotify_init, as users may call it",
        libc::EPERM,
        libc::SYS_fanotify_init,
        FAN_REPORT_FID,
        0
    );
    call_fails!(
        "fanotify_mark",
        libc::EPERM,
        libc::SYS_fanotify_mark,
        -1,
        0,
        0,
        -1,
        0
    );
    let file = File::open("/dev/null").unwrap();
    call_missing!("vmsplice", libc::SYS_vmsplice, file.as_raw_fd(), 0, 0, 0);
}

fn sockets() {
    const SCTP: i32 = libc::IPPROTO_SCTP;
    let closed = [
        ("mptcp", libc::AF_INET, libc::SOCK_STREAM, 262),
        ("smc", libc::AF_INET, libc::SOCK_STREAM, 256),
        ("sctp", libc::AF_INET, libc::SOCK_STREAM, SCTP),
        ("sctp over ipv6", libc::AF_INET6, libc::SOCK_STREAM, SCTP),
        ("l2tp", libc::AF_INET, libc::SOCK_DGRAM, 115),
        ("udp-lite", libc::AF_INET, libc::SOCK_DGRAM, 136),
        ("netlink usersock", libc::AF_NETLINK, libc::SOCK_RAW, 2),
        ("netlink xfrm", libc::AF_NETLINK, libc::SOCK_RAW, 6),
        ("netlink audit", libc::AF_NETLINK, libc::SOCK_RAW, 9),
        ("netlink connector", libc::AF_NETLINK, libc::SOCK_RAW, 11),
        ("netlink netfilter", libc::AF_NETLINK, libc::SOCK_RAW, 12),
        ("netlink generic", libc::AF_NETLINK, libc::SOCK_RAW, 16),
        ("netlink crypto", libc::AF_NETLINK, libc::SOCK_RAW, 21),
    ];
    for (name, family, kind, protocol) in closed {
        call_fails!(
            &format!("make a socket: {name}"),
            libc::EPROTONOSUPPORT,
            libc::SYS_socket,
            family,
            kind,
            protocol
        );
    }
    let types = [
        ("sctp packets", libc::SOCK_SEQPACKET, libc::ESOCKTNOSUPPORT),
        ("dccp", 6, libc::ESOCKTNOSUPPORT),
        ("packets of any protocol", 10, libc::EPERM),
    ];
    for (name, kind, error) in types {
        let kind = kind | libc::SOCK_CLOEXEC;
        call_fails!(
            &format!("make a socket: {name}"),
            error,
            libc::SYS_socket,
            libc::AF_INET,
            kind,
            SCTP
        );
    }
    let mut pair = [0_i32; 2];
    call_fails!(
        "make a pair of sockets: tipc",
        libc::EAFNOSUPPORT,
        libc::SYS_socketpair,
        libc::AF_TIPC,
        libc::SOCK_STREAM,
        0,
        pair.as_mut_ptr()
    );
    let open = [
        ("tcp", libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP),
        ("udp over ipv6", libc::AF_INET6, libc::SOCK_DGRAM, 0),
        ("unix packets", libc::AF_UNIX, libc::SOCK_SEQPACKET, 0),
        ("netlink route", libc::AF_NETLINK, libc::SOCK_RAW, 0),
        ("netlink sock_diag", libc::AF_NETLINK, libc::SOCK_DGRAM, 4),
        ("netlink uevent", libc::AF_NETLINK, libc::SOCK_RAW, 15),
    ];
    for (name, family, kind, protocol) in open {
        let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        call_works!(
            &format!("a socket can be made: {name}"),
            libc::SYS_socket,
            family,
            kind,
            protocol
        );
    }
}

fn personality() {
    const READ_IMPLIES_EXEC: u32 = 0x40_0000;
    const MMAP_PAGE_ZERO: u32 = 0x10_0000;
    const NO_RANDOM_ADDRESSES: u32 = 0x4_0000;
    for (name, value) in [
        ("executable data", READ_IMPLIES_EXEC),
        ("a page at address 0", MMAP_PAGE_ZERO),
        ("another system's calls", 6),
    ] {
        call_fails!(
            &format!("personality: {name}"),
            libc::EPERM,
            libc::SYS_personality,
            value
        );
    }
    for value in [NO_RANDOM_ADDRESSES, 0, u32::MAX] {
        call_works!(
            &format!("personality {value:#x} is allowed"),
            libc::SYS_personality,
            value
        );
    }
}

fn devices() {
    // SAFETY: the call has no memory preconditions. The end of the process closes the descriptor.
    let terminal = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY) };
    // The discipline of every terminal. Another one could load a module.
    let discipline = 0_i32;
    call_fails!(
        "attach a line discipline",
        libc::EPERM,
        libc::SYS_ioctl,
        terminal,
        libc::TIOCSETD,
        &raw const discipline
    );
    // SAFETY: the call has no memory preconditions. The end of the process closes the descriptor.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0) };
    let zeros = [0_u64; 8];
    for (name, request) in [("bridges", 0x8940), ("VLANs", 0x8982)] {
        call_fails!(
            &format!("list {name}"),
            libc::EPERM,
            libc::SYS_ioctl,
            socket,
            request,
            zeros.as_ptr()
        );
    }
}
