//! System calls that wait for an answer from another process, with seccomp's user notification.

use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use super::sys::check;

/// The flag that wakes the supervisor on the processor of the waiting process.
const SYNC_WAKE_UP: u64 = 1;

/// Installs a system call filter and returns its notification descriptor. The supervisor answers
/// calls through it for which the filter returns `SECCOMP_RET_USER_NOTIF`.
///
/// Once the supervisor has received a call, only fatal signals interrupt it, since Linux 5.19.
/// Earlier kernels let any signal interrupt it.
pub(crate) fn install_notifying_filter(program: &[libc::sock_filter]) -> Result<OwnedFd, Errno> {
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    match install(
        program,
        listener | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    ) {
        Err(Errno::INVAL) => install(program, listener),
        other => other,
    }
}

fn install(program: &[libc::sock_filter], flags: libc::c_ulong) -> Result<OwnedFd, Errno> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the program is alive during the call, which copies it. The returned descriptor has no
    // other owner.
    unsafe {
        let fd = check(libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const filter,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// A system call that waits for the supervisor's answer.
#[derive(Debug)]
pub(crate) struct PendingCall {
    id: u64,
    /// The thread that made the call.
    pub thread: i32,
    pub arguments: [u64; 6],
}

/// The supervisor's end of a notifying filter.
#[derive(Debug)]
pub(crate) struct Notifier(OwnedFd);

impl Notifier {
    pub(crate) fn new(listener: OwnedFd) -> Self {
        let request = libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS;
        // SAFETY: the ioctl takes the flags by value. Kernels before 6.6 refuse it, which only
        // makes answers slower.
        unsafe { libc::ioctl(listener.as_raw_fd(), request as _, SYNC_WAKE_UP) };
        Self(listener)
    }

    /// The descriptor, which is readable while a call waits.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.0
    }

    /// Receives the next waiting call. Returns `None` if it was interrupted meanwhile.
    pub(crate) fn receive(&self) -> Result<Option<PendingCall>, Errno> {
        // SAFETY: plain data, which the kernel wants to be zero.
        let mut call: libc::seccomp_notif = unsafe { zeroed() };
        let request = libc::SECCOMP_IOCTL_NOTIF_RECV;
        // SAFETY: the structure is alive and of the type that this ioctl fills.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, &raw mut call) };
        match check(result.into()) {
            Ok(_) => Ok(Some(PendingCall {
                id: call.id,
                thread: i32::try_from(call.pid).unwrap_or_default(),
                arguments: call.data.args,
            })),
            Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns true while the call waits. Then its thread still exists under the same number.
    pub(crate) fn is_waiting(&self, call: &PendingCall) -> bool {
        let request = libc::SECCOMP_IOCTL_NOTIF_ID_VALID;
        // SAFETY: the number is alive and of the type that this ioctl reads.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, &raw const call.id) };
        result == 0
    }

    /// Makes the waiting call return zero or an error. The call itself is not carried out.
    pub(crate) fn answer(&self, call: &PendingCall, result: Result<(), Errno>) {
        let answer = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error: result.map_or_else(|error| -error.raw_os_error(), |()| 0),
            flags: 0,
        };
        let request = libc::SECCOMP_IOCTL_NOTIF_SEND;
        // SAFETY: the structure is alive and of the type that this ioctl reads. A process that has
        // ended needs no answer.
        unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, &raw const answer) };
    }
}

/// Returns true if two threads share one table of descriptors. False if the kernel does not tell.
pub(crate) fn share_descriptors(one: i32, other: i32) -> bool {
    const KCMP_FILES: libc::c_int = 2;
    // SAFETY: kcmp has no memory preconditions.
    let result = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) };
    result == 0
}
