//! Attempts with namespaces, capabilities and privileged system calls.

use std::ffi::CString;
use std::fs;

use super::{call_missing, call_refused, holds};

const CAPABILITIES: u64 = 0x8004_05fb;

pub(crate) fn all() {
    namespaces();
    calls();
    capabilities();
    other_architectures();
}

fn namespaces() {
    let flags = [
        ("user", libc::CLONE_NEWUSER),
        ("mount", libc::CLONE_NEWNS),
        ("pid", libc::CLONE_NEWPID),
        ("network", libc::CLONE_NEWNET),
        ("ipc", libc::CLONE_NEWIPC),
        ("uts", libc::CLONE_NEWUTS),
        ("cgroup", libc::CLONE_NEWCGROUP),
    ];
    for (name, flag) in flags {
        call_refused!(
            &format!("unshare the {name} namespace"),
            libc::SYS_unshare,
            flag
        );
        call_refused!(
            &format!("clone into a new {name} namespace"),
            libc::SYS_clone,
            flag | libc::SIGCHLD,
            0,
            0,
            0,
            0
        );
        let flag = i64::from(flag) | 0x7f00_0000_0000_0000 | i64::from(libc::SIGCHLD);
        call_refused!(
            &format!("clone into a new {name} namespace, with garbage"),
            libc::SYS_clone,
            flag,
            0,
            0,
            0,
            0
        );
    }
    call_refused!("unshare the time namespace", libc::SYS_unshare, 0x80);
    call_missing!("clone3", libc::SYS_clone3, std::ptr::null::<u8>(), 88);
    for name in ["user", "mnt", "net", "pid", "ipc", "uts", "cgroup"] {
        let file = fs::File::open(format!("/proc/self/ns/{name}")).unwrap();
        call_refused!(
            &format!("setns {name}"),
            libc::SYS_setns,
            std::os::fd::AsRawFd::as_raw_fd(&file),
            0
        );
    }
}

fn calls() {
    let null = std::ptr::null::<u8>();
    let zeros = [0_u8; 256];
    let zeros = zeros.as_ptr();
    let text = CString::new("user").unwrap();
    call_refused!("bpf", libc::SYS_bpf, 0, zeros, 128);
    call_refused!("bpf prog_load", libc::SYS_bpf, 5, zeros, 128);
    call_refused!("keyctl", libc::SYS_keyctl, 0, -3, 0);
    call_refused!("keyctl join a session", libc::SYS_keyctl, 1, null);
    call_refused!(
        "add_key",
        libc::SYS_add_key,
        text.as_ptr(),
        text.as_ptr(),
        zeros,
        1,
        -2
    );
    call_refused!(
        "request_key",
        libc::SYS_request_key,
        text.as_ptr(),
        text.as_ptr(),
        null,
        -2
    );
    call_refused!("io_uring_setup", libc::SYS_io_uring_setup, 1, zeros);
    call_refused!(
        "io_uring_enter",
        libc::SYS_io_uring_enter,
        0,
        0,
        0,
        0,
        null,
        0
    );
    call_refused!(
        "io_uring_register",
        libc::SYS_io_uring_register,
        -1,
        0,
        null,
        0
    );
    call_refused!("userfaultfd", libc::SYS_userfaultfd, 1);
    call_refused!(
        "open_by_handle_at",
        libc::SYS_open_by_handle_at,
        libc::AT_FDCWD,
        zeros,
        0
    );
    call_refused!(
        "perf_event_open",
        libc::SYS_perf_event_open,
        zeros,
        0,
        -1,
        -1,
        0
    );
    call_refused!("init_module", libc::SYS_init_module, zeros, 0, zeros);
    call_refused!("finit_module", libc::SYS_finit_module, 0, zeros, 0);
    call_refused!("delete_module", libc::SYS_delete_module, text.as_ptr(), 0);
    call_refused!("kexec_load", libc::SYS_kexec_load, 0, 0, null, 0);
    call_refused!(
        "kexec_file_load",
        libc::SYS_kexec_file_load,
        -1,
        -1,
        0,
        null,
        0
    );
    // CAD_OFF: even where it succeeded it would only change what ctrl-alt-del does.
    call_refused!(
        "reboot",
        libc::SYS_reboot,
        0xfee1_dead_u32,
        672_274_793,
        0,
        null
    );
    call_refused!("settimeofday", libc::SYS_settimeofday, null, null);
    call_refused!(
        "clock_settime",
        libc::SYS_clock_settime,
        libc::CLOCK_REALTIME,
        null
    );
    call_refused!(
        "clock_adjtime",
        libc::SYS_clock_adjtime,
        libc::CLOCK_REALTIME,
        zeros.cast_mut()
    );
    call_refused!("syslog", libc::SYS_syslog, 10, null, 0);
    call_refused!("vhangup", libc::SYS_vhangup);
    call_refused!("sethostname", libc::SYS_sethostname, text.as_ptr(), 4);
    call_refused!("setdomainname", libc::SYS_setdomainname, text.as_ptr(), 4);
    call_refused!("fanotify with content", libc::SYS_fanotify_init, 4, 0);
    call_refused!(
        "nice below zero",
        libc::SYS_setpriority,
        libc::PRIO_PROCESS,
        0,
        -5
    );
    #[cfg(target_arch = "x86_64")]
    {
        call_refused!("iopl", libc::SYS_iopl, 3);
        call_refused!("ioperm", libc::SYS_ioperm, 0x80, 1, 1);
        call_refused!("uselib", libc::SYS_uselib, text.as_ptr());
    }
    terminals();
}

/// Tries to push input into a terminal, by which a program could control the shell that started it.
fn terminals() {
    // SAFETY: the call has no memory preconditions. The end of the process closes the descriptor.
    let terminal = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY) };
    holds("terminals can be made", terminal >= 0);
    let byte = [b'x'];
    call_refused!(
        "TIOCSTI",
        libc::SYS_ioctl,
        terminal,
        libc::TIOCSTI,
        byte.as_ptr()
    );
    let code = [2_u8];
    call_refused!(
        "TIOCLINUX",
        libc::SYS_ioctl,
        terminal,
        libc::TIOCLINUX,
        code.as_ptr()
    );
    call_refused!(
        "TIOCSTI, with garbage",
        libc::SYS_ioctl,
        terminal,
        0x7_0000_5412_u64,
        byte.as_ptr()
    );
}

fn capabilities() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
            .unwrap_or(u64::MAX)
    };
    holds(
        "the bounding set is what was meant",
        field("CapBnd") == CAPABILITIES,
    );
    holds(
        "nothing is beyond it",
        field("CapEff") & !CAPABILITIES == 0 && field("CapPrm") & !CAPABILITIES == 0,
    );
    holds(
        "nothing is inherited",
        field("CapInh") == 0 && field("CapAmb") == 0,
    );
    holds("the filter is on", status.contains("Seccomp:\t2"));
    // Version 3, with every capability in all sets.
    let header = [0x2008_0522_u32, 0];
    let all = [!0_u32; 6];
    call_refused!(
        "take every capability",
        libc::SYS_capset,
        header.as_ptr(),
        all.as_ptr()
    );
    let raise = libc::PR_CAP_AMBIENT_RAISE;
    call_refused!(
        "raise CAP_SYS_ADMIN",
        libc::SYS_prctl,
        libc::PR_CAP_AMBIENT,
        raise,
        21,
        0,
        0
    );
    let strict = [0_u8; 64];
    call_refused!(
        "rewrite the own memory map",
        libc::SYS_prctl,
        libc::PR_SET_MM,
        1,
        strict.as_ptr(),
        0,
        0
    );
}

#[cfg(target_arch = "x86_64")]
fn other_architectures() {
    let answer: i64;
    // SAFETY: getpid of 32-bit Linux has no arguments and touches no memory; the registers are
    // saved around it.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    holds(
        "32-bit calls do not exist",
        answer == i64::from(-libc::ENOSYS),
    );
    call_missing!("x32 calls", 0x4000_0000 + libc::SYS_getpid);
}

#[cfg(not(target_arch = "x86_64"))]
fn other_architectures() {}
