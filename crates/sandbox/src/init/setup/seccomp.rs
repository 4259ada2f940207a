//! The system call filter: it allows the calls that commands need, and no others.
//!
//! Capabilities and namespaces refuse most of the other calls too. The filter is a second barrier.
//! It keeps bugs of whole kernel subsystems out of reach, and the calls of later kernels. System
//! calls of other architectures fail with ENOSYS, as on a machine without them.

mod architecture;
mod arguments;
mod decision;
#[cfg(test)]
mod interpreter;
mod program;
mod table;
#[cfg(test)]
mod tests;

use libc::sock_filter;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::os::sys;
use decision::{ALLOW, ArgumentTest, Decision, argument};

/// The watcher of the writable layer answers the call.
const NOTIFY: Decision = Decision::Answer(libc::SECCOMP_RET_USER_NOTIF);

/// The modes of fallocate that only free or move space.
const FREEING_MODES: &[i32] = &[
    libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
    libc::FALLOC_FL_COLLAPSE_RANGE,
    libc::FALLOC_FL_INSERT_RANGE,
];

/// If the sandbox is `watched`, its watcher answers each fallocate that takes space.
fn fallocate(watched: bool) -> Decision {
    let freeing_tests = FREEING_MODES
        .iter()
        .map(|mode| (ArgumentTest::Equal(mode.unsigned_abs()), ALLOW));
    argument(1).decides(freeing_tests, if watched { NOTIFY } else { ALLOW })
}

/// Installs the filter for this process and its children. It needs CAP_SYS_ADMIN. The alternative,
/// no_new_privs, would disable set-user-id programs.
///
/// If the sandbox is `watched`, fallocate waits for an answer through the returned descriptor. If
/// the process already has such a listener, as in some containers, there is no descriptor and
/// fallocate is not watched.
pub(crate) fn install(watched: bool) -> Result<Option<OwnedFd>, Errno> {
    if watched && let Ok(listener) = sys::install_notifying_filter(&program(true)) {
        return Ok(Some(listener));
    }
    sys::install_filter(&program(false)).map(|()| None)
}

fn program(watched: bool) -> Vec<sock_filter> {
    program::assemble(architecture::NATIVE, &table::decisions(watched))
}
