//! Attempts on the init, which holds the connection to the engine.

use std::fs::{self, File, OpenOptions};
use std::io;

use super::{HostTargets, call_refused, holds, refused};

const READ: &[&str] = &[
    "environ",
    "mem",
    "maps",
    "smaps",
    "smaps_rollup",
    "numa_maps",
    "pagemap",
    "auxv",
    "io",
    "stack",
    "syscall",
    "personality",
    "wchan_",
    "clear_refs",
    "map_files",
    "fd",
    "fdinfo",
    "timers",
];
const LINKS: &[&str] = &[
    "root", "cwd", "exe", "ns/mnt", "ns/user", "ns/pid", "ns/net", "fd/0", "fd/3",
];
const WRITE: &[&str] = &[
    "mem",
    "oom_score_adj",
    "oom_adj",
    "comm",
    "coredump_filter",
    "clear_refs",
    "uid_map",
    "gid_map",
    "setgroups",
    "sched",
    "autogroup",
    "make-it-fail",
];

pub(crate) fn all(outside: &HostTargets) {
    for name in READ {
        let path = format!("/proc/1/{name}");
        // Some of these files open but refuse reading, or are empty.
        let content = fs::metadata(&path).and_then(|found| {
            if found.is_dir() {
                fs::read_dir(&path)?
                    .next()
                    .transpose()
                    .map(|e| e.map(|_| ()))
            } else {
                first_byte(&path)
            }
        });
        match content {
            Ok(Some(())) => holds(&format!("read {path}"), false),
            Ok(None) => holds(&format!("{path} has nothing"), true),
            Err(error) => refused::<()>(&format!("read {path}"), Err(error)),
        }
    }
    for name in LINKS {
        refused(
            &format!("follow /proc/1/{name}"),
            fs::read_link(format!("/proc/1/{name}")),
        );
        refused(
            &format!("open /proc/1/{name}"),
            File::open(format!("/proc/1/{name}")),
        );
    }
    for name in WRITE {
        refused(
            &format!("open /proc/1/{name} for writing"),
            OpenOptions::new()
                .write(true)
                .open(format!("/proc/1/{name}")),
        );
    }
    // Any process may open these, but writing is refused.
    for name in ["timerslack_ns", "attr/current", "attr/exec"] {
        refused(
            &format!("write to /proc/1/{name}"),
            fs::write(format!("/proc/1/{name}"), "50000"),
        );
    }
    calls();
    signals();
    let engine = outside.engine;
    refused(
        "see the engine's process",
        fs::metadata(format!("/proc/{engine}")),
    );
    let numbers = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .bytes()
                .all(|b| b.is_ascii_digit())
        });
    holds(
        "only the init and the probe are there",
        numbers.count() == 2,
    );
}

fn first_byte(path: &str) -> io::Result<Option<()>> {
    let read = io::Read::read(&mut File::open(path)?, &mut [0])?;
    // The file holds a system call number, or zero if the kernel hides it.
    Ok((read > 0 && !fs::read_to_string(path).is_ok_and(|text| text.trim() == "0")).then_some(()))
}

fn calls() {
    let null = std::ptr::null::<u8>();
    call_refused!(
        "ptrace attach",
        libc::SYS_ptrace,
        libc::PTRACE_ATTACH,
        1,
        null,
        null
    );
    call_refused!(
        "ptrace seize",
        libc::SYS_ptrace,
        libc::PTRACE_SEIZE,
        1,
        null,
        null
    );
    let mut byte = [0_u8; 8];
    let local = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 8,
    };
    let remote = libc::iovec {
        iov_base: (all as *const ()).cast_mut().cast(),
        iov_len: 8,
    };
    call_refused!(
        "process_vm_readv",
        libc::SYS_process_vm_readv,
        1,
        &raw const local,
        1,
        &raw const remote,
        1,
        0
    );
    call_refused!(
        "process_vm_writev",
        libc::SYS_process_vm_writev,
        1,
        &raw const local,
        1,
        &raw const remote,
        1,
        0
    );
    // SAFETY: plain numbers.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, 1, 0) };
    for fd in 0..8 {
        call_refused!(
            &format!("pidfd_getfd {fd}"),
            libc::SYS_pidfd_getfd,
            pidfd,
            fd,
            0
        );
    }
    call_refused!(
        "process_madvise",
        libc::SYS_process_madvise,
        pidfd,
        &raw const remote,
        1,
        21,
        0
    );
    call_refused!(
        "setns by pidfd",
        libc::SYS_setns,
        pidfd,
        libc::CLONE_NEWNS | libc::CLONE_NEWUSER
    );
    let own = std::process::id();
    call_refused!("kcmp", libc::SYS_kcmp, own, 1, 1, 0, 0);
    let mut word = [0_u64; 2];
    call_refused!(
        "get_robust_list",
        libc::SYS_get_robust_list,
        1,
        word.as_mut_ptr(),
        word.as_mut_ptr().wrapping_add(1)
    );
    call_refused!(
        "move_pages",
        libc::SYS_move_pages,
        1,
        0,
        null,
        null,
        null,
        0
    );
    call_refused!("migrate_pages", libc::SYS_migrate_pages, 1, 0, null, null);
    for resource in [libc::RLIMIT_NOFILE, libc::RLIMIT_CPU, libc::RLIMIT_AS] {
        call_refused!(
            &format!("prlimit {resource}"),
            libc::SYS_prlimit64,
            1,
            resource,
            null,
            word.as_mut_ptr()
        );
    }
    let mask = [!0_u64; 16];
    call_refused!(
        "sched_setaffinity",
        libc::SYS_sched_setaffinity,
        1,
        128,
        mask.as_ptr()
    );
    let priority = [0_i32; 1];
    call_refused!(
        "sched_setscheduler",
        libc::SYS_sched_setscheduler,
        1,
        libc::SCHED_BATCH,
        priority.as_ptr()
    );
    call_refused!(
        "sched_setparam",
        libc::SYS_sched_setparam,
        1,
        priority.as_ptr()
    );
    call_refused!(
        "setpriority",
        libc::SYS_setpriority,
        libc::PRIO_PROCESS,
        1,
        0
    );
    call_refused!("ioprio_set", libc::SYS_ioprio_set, 1, 1, 0);
    call_refused!(
        "perf_event_open on it",
        libc::SYS_perf_event_open,
        mask.as_ptr(),
        1,
        -1,
        -1,
        0
    );
}

fn signals() {
    for signal in [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGTERM,
        libc::SIGSEGV,
        libc::SIGHUP,
        libc::SIGCHLD,
    ] {
        // SAFETY: plain numbers. The same user may signal an init, but without effect.
        unsafe { libc::kill(1, signal) };
        let stat = fs::read_to_string("/proc/1/stat").unwrap_or_default();
        holds(
            &format!("signal {signal} does nothing"),
            stat.contains(") S") || stat.contains(") R") || stat.contains(") D"),
        );
    }
}
