//! The init: the running program, started again.
//!
//! A constructor runs before `main` in every process that links the crate. It acts only if argv[0]
//! is our private name and standard input is a SOCK_SEQPACKET unix socket. Otherwise it costs one
//! system call.

mod command;
mod error;
mod first_stage;
mod helper;
mod home_directory;
mod inner_namespace;
mod limits;
mod pause;
mod pid1;
mod setup;
mod terminals;
mod watch;

use std::os::fd::BorrowedFd;

use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketType};

use crate::os::sys;
use crate::protocol::boot::INIT_NAME;

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    if !stdin_is_seqpacket() || !has_init_name() {
        return;
    }
    let _ = std::panic::catch_unwind(first_stage::main);
    sys::exit_now(70);
}

fn stdin_is_seqpacket() -> bool {
    // SAFETY: the descriptor is only queried, never closed. The kernel answers a closed number with
    // an error.
    let stdin = unsafe { BorrowedFd::borrow_raw(0) };
    sockopt::socket_type(stdin) == Ok(SocketType::SEQPACKET)
        && sockopt::socket_domain(stdin) == Ok(AddressFamily::UNIX)
}

/// Reads argv[0] from /proc, because not every C library passes arguments to constructors.
fn has_init_name() -> bool {
    std::fs::read("/proc/self/cmdline")
        .is_ok_and(|line| line.strip_suffix(b"\0") == Some(INIT_NAME.as_bytes()))
}

/// Returns true if starting this program again runs our constructor. It does not if the crate is in
/// a shared library.
pub(crate) fn can_start_itself() -> bool {
    sys::in_main_program(constructor as *const () as usize)
}
