//! The attempts of the probe to escape. They must not harm a machine on which they succeed. Files
//! of the kernel are opened but not written, and calls have arguments that do nothing.

mod files;
mod filter;
mod floods;
mod interception;
mod kernel;
mod network;
mod pid1;
mod proof;
mod proxy;

use std::io;

/// The targets outside the sandbox, as the test passes them.
pub(crate) struct HostTargets {
    pub(crate) secret: String,
    pub(crate) socket: String,
    pub(crate) abstract_name: String,
    pub(crate) port: u16,
    pub(crate) shared_memory: String,
    pub(crate) max_processes: u32,
    pub(crate) single: bool,
    pub(crate) engine: i32,
    pub(crate) proxy: u16,
    /// An address of the machine that is not loopback, if it has one.
    pub(crate) machine: String,
    /// The port of a server in another sandbox.
    pub(crate) neighbour: u16,
    /// Whether packets to foreign addresses go to the caller.
    pub(crate) intercepted: bool,
}

pub(crate) fn all(arguments: &[String]) {
    let outside = HostTargets {
        secret: arguments[0].clone(),
        socket: arguments[1].clone(),
        abstract_name: arguments[2].clone(),
        port: arguments[3].parse().unwrap(),
        shared_memory: arguments[4].clone(),
        max_processes: arguments[5].parse().unwrap(),
        single: arguments[6] == "single",
        engine: arguments[7].parse().unwrap(),
        proxy: arguments[8].parse().unwrap(),
        machine: arguments[9].clone(),
        neighbour: arguments[10].parse().unwrap(),
        intercepted: arguments[11].parse().unwrap(),
    };
    // First check that the probe is in a sandbox: outside, these attempts could take effect.
    proof::inside();
    proxy::descriptors();
    files::all(&outside);
    pid1::all(&outside);
    kernel::all();
    filter::all();
    network::all(&outside);
    interception::all(&outside);
    proxy::all(&outside);
    floods::all(&outside);
    proxy::over(&outside);
    println!("done");
}

/// Reports an attempt that must fail.
pub(crate) fn refused<T>(name: &str, result: io::Result<T>) {
    match result {
        Err(error) => println!("held {name}: {error}"),
        Ok(_) => println!("HOLE {name}"),
    }
}

/// Reports a condition that must hold.
pub(crate) fn holds(name: &str, so: bool) {
    println!("{} {name}", if so { "held" } else { "HOLE" });
}

/// Makes a system call that must fail.
macro_rules! call_refused {
    ($name:expr, $number:expr $(, $argument:expr)* $(,)?) => {{
        // Arguments are plain numbers or pointers to live values. The sandbox must refuse the call.
        let result = unsafe { libc::syscall($number $(, $argument)*) };
        crate::attempts::refused($name, if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) });
    }};
}

/// Makes a system call that must not exist.
macro_rules! call_missing {
    ($name:expr, $number:expr $(, $argument:expr)* $(,)?) => {{
        // Arguments are plain numbers or pointers to live values, and the kernel must not know the
        // call.
        let result = unsafe { libc::syscall($number $(, $argument)*) };
        let missing = result < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS);
        crate::attempts::holds($name, missing);
    }};
}

/// Makes a system call that must fail with this error.
macro_rules! call_fails {
    ($name:expr, $error:expr, $number:expr $(, $argument:expr)* $(,)?) => {{
        // Arguments are plain numbers or pointers to live values. The sandbox must refuse the call.
        let result = unsafe { libc::syscall($number $(, $argument)*) };
        let error = std::io::Error::last_os_error().raw_os_error();
        crate::attempts::holds($name, result < 0 && error == Some($error));
    }};
}

/// Makes a system call that programs need.
macro_rules! call_works {
    ($name:expr, $number:expr $(, $argument:expr)* $(,)?) => {{
        // Arguments are plain numbers or pointers to live values. The call changes only this
        // process.
        let result = unsafe { libc::syscall($number $(, $argument)*) };
        crate::attempts::holds($name, result >= 0);
    }};
}
pub(crate) use {call_fails, call_missing, call_refused, call_works};
