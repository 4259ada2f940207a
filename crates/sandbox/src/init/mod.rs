//! The init: this very program, started again.
//!
//! A constructor runs before `main` in every process that links the crate. It acts only where argv[0] is our private name and the standard
//! input is a SOCK_SEQPACKET unix socket; everywhere else it costs one system call.

mod capabilities;
mod changed;
mod command;
mod devices;
mod filter;
mod mounts;
mod network;
mod overlay;
mod pid1;
mod place;
mod procfs;
mod side;
mod squash;
mod stage1;
mod unpack;
mod upper;
mod view;
mod walk;
mod watch;

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketType};

use crate::protocol::{Failure, NAME};
use crate::step::Step;
use crate::sys;

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    if !stdin_is_ours() || !named_init() {
        return;
    }
    let _ = std::panic::catch_unwind(stage1::main);
    sys::exit_now(70);
}

fn stdin_is_ours() -> bool {
    // SAFETY: only asked about, never closed; a number that is not open is answered with an error.
    let stdin = unsafe { BorrowedFd::borrow_raw(0) };
    sockopt::socket_type(stdin) == Ok(SocketType::SEQPACKET)
        && sockopt::socket_domain(stdin) == Ok(AddressFamily::UNIX)
}

/// By /proc, since not every C library passes arguments to constructors.
fn named_init() -> bool {
    std::fs::read("/proc/self/cmdline")
        .is_ok_and(|line| line.strip_suffix(b"\0") == Some(NAME.as_bytes()))
}

/// Whether starting this program again starts our constructor: not so where the crate is in a shared library.
pub(crate) fn reachable() -> bool {
    sys::in_main_program(constructor as *const () as usize)
}

/// Says which step a failure belongs to.
trait During<T> {
    fn during(self, step: Step) -> Result<T, Failure>;
    fn during_with(self, step: Step, subject: impl Into<String>) -> Result<T, Failure>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, step: Step) -> Result<T, Failure> {
        self.map_err(|errno| Failure {
            step,
            subject: None,
            errno: errno.raw_os_error(),
        })
    }

    fn during_with(self, step: Step, subject: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|errno| Failure {
            step,
            subject: Some(subject.into()),
            errno: errno.raw_os_error(),
        })
    }
}

/// The error number of an I/O error.
fn errno(error: &std::io::Error) -> Errno {
    error
        .raw_os_error()
        .map_or(Errno::IO, Errno::from_raw_os_error)
}
