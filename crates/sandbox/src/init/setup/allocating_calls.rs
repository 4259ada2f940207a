//! A system call filter of its own for calls that take disk space by number.
//!
//! A single call of fallocate can take any amount of space. If the writable layer has a limit, the
//! watcher performs these calls for the sandbox. The other filter refuses calls of other
//! architectures, so this one does not look at the architecture.

use std::os::fd::OwnedFd;

use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};
use rustix::io::Errno;

use crate::os::{notifier, sys};

/// The largest length of an allocation that the kernel performs without the watcher, in bytes. Many
/// calls of this size take space no faster than writes do.
const MAX_UNWATCHED_LENGTH: u32 = 16 * 1024;

/// The modes of fallocate that only free or move space.
const FREEING_MODES: [i32; 3] = [
    libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
    libc::FALLOC_FL_COLLAPSE_RANGE,
    libc::FALLOC_FL_INSERT_RANGE,
];

/// The requests of ioctl that allocate like fallocate, for any file system: `FS_IOC_RESVSP`,
/// `FS_IOC_RESVSP64` and `FS_IOC_ZERO_RANGE`. Their length is in memory, where a filter cannot see
/// it. They are older than fallocate and little used.
const ALLOCATING_REQUESTS: [u32; 3] = [0x4030_5828, 0x4030_582a, 0x4030_5839];

// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const MODE: u32 = 16 + 8;
const REQUEST: u32 = 16 + 8;
const LENGTH: u32 = 16 + 3 * 8;
const LENGTH_HIGH: u32 = LENGTH + 4;

/// The watcher performs the call.
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
/// The call fails as on a file system that does not have it. C libraries then write zeros.
const UNSUPPORTED: u32 = libc::SECCOMP_RET_ERRNO | libc::EOPNOTSUPP.unsigned_abs();

/// Installs the filter for this process and its children. It needs CAP_SYS_ADMIN. Large calls of
/// fallocate then wait for an answer through the returned descriptor.
///
/// If the process already has such a listener, as in some containers, there is no descriptor, and
/// these calls are not supported.
pub(crate) fn install() -> Result<Option<OwnedFd>, Errno> {
    if let Ok(listener) = notifier::install_notifying_filter(&program(NOTIFY)) {
        return Ok(Some(listener));
    }
    sys::install_filter(&program(UNSUPPORTED)).map(|()| None)
}

/// The filter. `large` is the action for large calls of fallocate.
fn program(large: u32) -> Vec<sock_filter> {
    let mut of_fallocate = vec![load(MODE)];
    for mode in FREEING_MODES {
        of_fallocate.extend(return_if(
            BPF_JEQ,
            mode.unsigned_abs(),
            libc::SECCOMP_RET_ALLOW,
        ));
    }
    of_fallocate.extend([
        load(LENGTH_HIGH),
        // Skips the next three instructions for a length of 4 GiB or more.
        jump(BPF_JEQ, 0, 0, 3),
        load(LENGTH),
        jump(BPF_JGE, MAX_UNWATCHED_LENGTH + 1, 1, 0),
        return_value(libc::SECCOMP_RET_ALLOW),
        return_value(large),
    ]);
    let mut of_ioctl = vec![load(REQUEST)];
    for request in ALLOCATING_REQUESTS {
        of_ioctl.extend(return_if(BPF_JEQ, request, UNSUPPORTED));
    }
    of_ioctl.push(return_value(libc::SECCOMP_RET_ALLOW));
    let mut code = vec![load(NUMBER)];
    code.extend(for_call(libc::SYS_fallocate, of_fallocate));
    code.extend(for_call(libc::SYS_ioctl, of_ioctl));
    code.push(return_value(libc::SECCOMP_RET_ALLOW));
    code
}

/// Instructions that run for one call only.
fn for_call(call: libc::c_long, body: Vec<sock_filter>) -> Vec<sock_filter> {
    let number = u32::try_from(call).unwrap_or(u32::MAX);
    let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
    let mut code = vec![jump(BPF_JEQ, number, 0, length)];
    code.extend(body);
    code
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0)
}

fn jump(test: u32, value: u32, skip_if_true: u8, skip_if_false: u8) -> sock_filter {
    instruction(BPF_JMP | test | BPF_K, value, skip_if_true, skip_if_false)
}

fn return_value(action: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, action, 0, 0)
}

fn return_if(test: u32, value: u32, action: u32) -> [sock_filter; 2] {
    [jump(test, value, 0, 1), return_value(action)]
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    /// The filter's result for a call, from a small interpreter of the instructions used above.
    fn evaluate(large: u32, call: libc::c_long, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend((call as u32).to_le_bytes());
        data.extend([0; 12]);
        data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
        let program = program(large);
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            match u32::from(code) {
                code if code == BPF_RET | BPF_K => return k,
                code if code == BPF_LD | BPF_W | BPF_ABS => {
                    let bytes = &data[k as usize..][..4];
                    accumulator = u32::from_le_bytes(bytes.try_into().unwrap());
                }
                code => {
                    let holds = match code & 0xf0 {
                        BPF_JEQ => accumulator == k,
                        BPF_JGE => accumulator >= k,
                        other => panic!("instruction {other:#x}"),
                    };
                    at += usize::from(if holds { jt } else { jf });
                }
            }
        }
    }

    fn fallocate(large: u32, mode: i32, length: u64) -> u32 {
        let mode = u64::from(mode.unsigned_abs());
        evaluate(large, libc::SYS_fallocate, [3, mode, 0, length, 0, 0])
    }

    #[test]
    fn only_large_allocations_wait_for_the_watcher() {
        for mode in [
            0,
            libc::FALLOC_FL_KEEP_SIZE,
            libc::FALLOC_FL_ZERO_RANGE,
            libc::FALLOC_FL_UNSHARE_RANGE | libc::FALLOC_FL_KEEP_SIZE,
        ] {
            assert_eq!(fallocate(NOTIFY, mode, 16 * 1024), ALLOW);
            for length in [16 * 1024 + 1, 1 << 20, 1 << 32, (1 << 40) + 1, u64::MAX] {
                assert_eq!(fallocate(NOTIFY, mode, length), NOTIFY, "{length}");
                assert_eq!(fallocate(UNSUPPORTED, mode, length), UNSUPPORTED);
            }
        }
        for mode in FREEING_MODES {
            assert_eq!(fallocate(NOTIFY, mode, 1 << 40), ALLOW);
        }
        let hole = libc::FALLOC_FL_PUNCH_HOLE;
        assert_eq!(fallocate(NOTIFY, hole, 1 << 40), NOTIFY);
    }

    #[test]
    fn requests_that_allocate_are_refused_and_other_calls_are_allowed() {
        let ioctl = |request: u32| {
            let arguments = [3, u64::from(request), 0, 0, 0, 0];
            evaluate(NOTIFY, libc::SYS_ioctl, arguments)
        };
        for request in ALLOCATING_REQUESTS {
            assert_eq!(ioctl(request), UNSUPPORTED);
        }
        assert_eq!(ioctl(0x5413), ALLOW);
        for call in [libc::SYS_read, libc::SYS_write, libc::SYS_execve] {
            assert_eq!(evaluate(NOTIFY, call, [u64::MAX; 6]), ALLOW);
        }
    }
}
