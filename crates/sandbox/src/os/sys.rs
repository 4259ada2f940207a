//! Calls of the kernel and the C library that rustix does not wrap safely.

use std::ffi::CStr;
use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::thread::UnshareFlags;

use super::usage::Usage;

pub(super) fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 {
        Err(last_errno())
    } else {
        Ok(result)
    }
}

fn last_errno() -> Errno {
    Errno::from_raw_os_error(
        io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO),
    )
}

/// The two sides of a fork.
pub(crate) enum Fork {
    Parent(i32),
    Child,
}

/// Forks the process. Only the init may call it: with a single thread, no lock stays taken in the
/// child.
pub(crate) fn fork() -> Result<Fork, Errno> {
    // SAFETY: the calling process is single-threaded (the init never makes a thread), so the child
    // may do whatever the parent may.
    match check(unsafe { libc::fork() }.into())? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(i32::try_from(pid).unwrap_or(i32::MAX))),
    }
}

/// Moves the process into new namespaces. Only the init may call it, which has one thread.
pub(crate) fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: no descriptor table is unshared, and the process has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Ends the process without running destructors or atexit handlers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// A child that has ended.
pub(crate) struct ReapedChild {
    pub pid: i32,
    pub status: i32,
    pub usage: Usage,
}

/// Waits for a child, or with -1 for any. Returns `None` if `block` is false and no child has
/// ended.
pub(crate) fn wait(pid: i32, block: bool) -> Result<Option<ReapedChild>, Errno> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let options = if block { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: both pointers are to live values of the right types.
        let waited = unsafe { libc::wait4(pid, &raw mut status, options, usage.as_mut_ptr()) };
        match check(waited.into()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(0) => return Ok(None),
            Ok(pid) => {
                // SAFETY: zeroed is a valid rusage, and wait4 has filled it.
                let usage = usage_from(&unsafe { usage.assume_init() });
                return Ok(Some(ReapedChild {
                    pid: i32::try_from(pid).unwrap_or_default(),
                    status,
                    usage,
                }));
            }
        }
    }
}

/// The resources used by all children that were waited for.
pub(crate) fn usage_of_children() -> Usage {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a live value of the right type, and zeroed is a valid rusage
    // whatever the call does.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    usage_from(&usage)
}

fn usage_from(usage: &libc::rusage) -> Usage {
    let count = |number: libc::c_long| u64::try_from(number).unwrap_or_default();
    let time = |time: libc::timeval| {
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or_default(),
            u32::try_from(time.tv_usec).unwrap_or_default() * 1000,
        )
    };
    Usage {
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        max_rss_kb: count(usage.ru_maxrss),
        minor_faults: count(usage.ru_minflt),
        major_faults: count(usage.ru_majflt),
        block_input: count(usage.ru_inblock),
        block_output: count(usage.ru_oublock),
        voluntary_switches: count(usage.ru_nvcsw),
        involuntary_switches: count(usage.ru_nivcsw),
    }
}

/// Sends a signal with kill(2). `pid` may be -1 or a negated process group.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill has no memory preconditions.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// Resets every signal to its default action and blocks none.
pub(crate) fn reset_signals() {
    // Use the kernel's sigaction: the C library's reserves two signals for itself. All zeros select
    // the default action.
    let default = [0_u64; 4];
    for signal in 1..=64_i32 {
        // SAFETY: the structure is at least as large as the kernel's. The kernel refuses signal
        // numbers that cannot be set.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    block_signals(&[]);
}

/// Blocks exactly these signals.
pub(crate) fn block_signals(signals: &[i32]) {
    // SAFETY: sigemptyset initialises the set before it is used.
    unsafe {
        let mut set = zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut());
    }
}

/// Creates a descriptor that becomes readable when a child has ended. SIGCHLD must be blocked.
pub(crate) fn child_signals() -> Result<OwnedFd, Errno> {
    // SAFETY: sigemptyset initialises the set. The returned descriptor has no other owner.
    unsafe {
        let mut set = zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        let fd = check(
            libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into(),
        )?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Closes every descriptor from `first` to `last`.
///
/// # Errors
/// When a system call filter forbids it. The caller must then stop, or the open descriptors would
/// be in the sandbox.
pub(crate) fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: called by the init before it has made values that own these descriptors, or just
    // before exec.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Makes `target` a duplicate of `fd` that stays open across exec.
pub(crate) fn dup_onto(fd: RawFd, target: RawFd) -> Result<(), Errno> {
    // SAFETY: used only on the numbers of the standard streams and the error pipe, which no value
    // owns.
    check(unsafe { libc::dup2(fd, target) }.into()).map(drop)
}

/// Adds attributes to an open mount with mount_setattr(2).
pub(crate) fn set_mount_attributes(
    mount: impl AsFd,
    attributes: MountAttrFlags,
) -> Result<(), Errno> {
    // SAFETY: mount_attr is plain data for which zero is valid.
    let mut attr: libc::mount_attr = unsafe { zeroed() };
    attr.attr_set = attributes.bits().into();
    // SAFETY: the path is a NUL-terminated literal, the structure is alive and its size is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(drop)
}

/// Sets the owner of files that this thread creates.
pub(crate) fn set_file_ids(uid: u32, gid: u32) {
    // SAFETY: the calls have no memory preconditions. They return the previous id; a refusal shows
    // in the owner of the next file.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

/// A null-terminated list of pointers to C strings, for exec.
pub(crate) struct CStringArray<'a> {
    list: Vec<*const libc::c_char>,
    _strings: std::marker::PhantomData<&'a CStr>,
}

impl<'a> CStringArray<'a> {
    pub(crate) fn new(strings: impl IntoIterator<Item = &'a CStr>) -> Self {
        let mut list: Vec<_> = strings.into_iter().map(CStr::as_ptr).collect();
        list.push(ptr::null());
        Self {
            list,
            _strings: std::marker::PhantomData,
        }
    }
}

/// Replaces the program with execve(2). Returns only on failure.
pub(crate) fn execute(
    program: &CStr,
    arguments: &CStringArray<'_>,
    environment: &CStringArray<'_>,
) -> Errno {
    // SAFETY: all strings are alive and NUL-terminated, both lists end with a null pointer.
    unsafe {
        libc::execve(
            program.as_ptr(),
            arguments.list.as_ptr(),
            environment.list.as_ptr(),
        )
    };
    last_errno()
}

/// Drops every capability outside `keep` from the bounding set, and clears the ambient set.
pub(crate) fn limit_capabilities(keep: u64) -> Result<(), Errno> {
    for capability in 0..64 {
        if keep & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: prctl with integer arguments only.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }.into()) {
            Ok(_) => {}
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    // SAFETY: prctl with integer arguments only.
    check(
        unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_CLEAR_ALL,
                0,
                0,
                0,
            )
        }
        .into(),
    )
    .map(drop)
}

/// Installs a system call filter for this process and its future children.
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> Result<(), Errno> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the program is alive during the call, which copies it.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const filter,
        )
    })
    .map(drop)
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up() -> Result<(), Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data for which zero is valid.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    let mut bits = [0_u8; 2];
    bits.copy_from_slice(&((libc::IFF_UP | libc::IFF_RUNNING) as u16).to_ne_bytes());
    request.ifr_ifru.ifru_flags = i16::from_ne_bytes(bits);
    // SAFETY: the request is alive and of the type that this ioctl reads.
    check(
        unsafe {
            libc::ioctl(
                socket.as_raw_fd(),
                libc::SIOCSIFFLAGS as _,
                &raw const request,
            )
        }
        .into(),
    )
    .map(drop)
}

/// Returns true if the address lies in the main program rather than in a shared library.
pub(crate) fn in_main_program(address: usize) -> bool {
    struct AddressSearch {
        address: usize,
        found: bool,
    }
    extern "C" fn visit_first(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        data: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: dl_iterate_phdr gives a valid info, and data is the AddressSearch that was passed
        // to it.
        let (info, search) = unsafe { (&*info, &mut *data.cast::<AddressSearch>()) };
        // SAFETY: the loader keeps dlpi_phnum headers at dlpi_phdr for as long as the object is
        // loaded.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        search.found = headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD)
            .any(|header| {
                let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
                (start..start.wrapping_add(header.p_memsz as usize)).contains(&search.address)
            });
        // Stop: the first object is the main program.
        1
    }
    let mut search = AddressSearch {
        address,
        found: false,
    };
    // SAFETY: the callback matches the expected type and only uses `search` during the call.
    unsafe { libc::dl_iterate_phdr(Some(visit_first), (&raw mut search).cast()) };
    search.found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_program_is_distinguished_from_its_libraries() {
        assert!(in_main_program(loopback_up as *const () as usize));
        // SAFETY: the name is a NUL-terminated literal.
        let library = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"getpid".as_ptr()) };
        // A statically linked C library is part of the main program.
        assert!(library.is_null() || !in_main_program(library as usize));
    }
}
