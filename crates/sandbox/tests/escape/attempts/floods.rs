//! Floods of processes, which the sandbox must stop.

use super::{HostTargets, holds, refused};

pub(crate) fn all(outside: &HostTargets) {
    raise_limits();
    let max_processes = i32::try_from(outside.max_processes).unwrap_or(i32::MAX);
    let started = flood(max_processes * 3, |_| {});
    holds(
        &format!("a flood of processes ends: {started}"),
        started > 10 && started <= max_processes,
    );
    if !outside.single && unsafe { libc::getuid() } == 0 {
        // The kernel counts processes for each uid. The limit for all uids together is separate.
        let started = flood(max_processes * 3, |number| {
            let uid = 2000 + number.unsigned_abs() % 11;
            unsafe { libc::setresuid(uid, uid, uid) };
        });
        // Kernels before 6.14 have no limit for a whole sandbox.
        holds(
            &format!("a flood of many users ends: {started}"),
            started > 10 && (started <= max_processes || before_6_14()),
        );
    }
}

/// The limits bound what the kernel counts for a user of this machine, so no command may raise
/// them.
fn raise_limits() {
    let limits = [
        ("descriptors", libc::RLIMIT_NOFILE),
        ("queued signals", libc::RLIMIT_SIGPENDING),
        ("message queues", libc::RLIMIT_MSGQUEUE),
        ("locked memory", libc::RLIMIT_MEMLOCK),
        ("processes", libc::RLIMIT_NPROC),
    ];
    for (name, resource) in limits {
        // SAFETY: zero is a valid limit, and both calls get a pointer to a live one.
        let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
        unsafe { libc::getrlimit(resource, &raw mut limit) };
        // The machine itself may have no limit.
        if limit.rlim_max == libc::RLIM_INFINITY {
            continue;
        }
        limit.rlim_max += 1;
        let raised = unsafe { libc::setrlimit(resource, &raw const limit) };
        let result = match raised {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        };
        refused(&format!("raise the limit of {name}"), result);
    }
}

fn before_6_14() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split(['.', '-'])
        .map(|number| number.trim().parse().unwrap_or(0_u32));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (6, 14)
}

/// Starts processes that wait until they are killed. Returns the number started.
fn flood(attempts: i32, prepare: impl Fn(i32)) -> i32 {
    let mut children = Vec::new();
    for number in 0..attempts {
        // SAFETY: the probe has one thread, and the child only makes plain system calls.
        match unsafe { libc::fork() } {
            0 => {
                prepare(number);
                loop {
                    unsafe { libc::pause() };
                }
            }
            -1 => break,
            child => children.push(child),
        }
    }
    let started = children.len();
    for &child in &children {
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
    }
    i32::try_from(started).unwrap_or(i32::MAX)
}
