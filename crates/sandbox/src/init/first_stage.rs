//! The first stage of the init: it makes the user namespace, starts pid 1 and outlives it.
//!
//! It stays outside the sandbox's pid and mount namespaces. Once it has reaped pid 1, the kernel
//! has ended every process and mount of the sandbox. Then it compares the upper directory with the
//! image. Only a process in the user namespace may read all of it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{DumpableBehavior, fchdir, set_dumpable_behavior, setsid, umask};
use rustix::thread::{
    Gid, Uid, UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::error::InitError;
use super::helper::{changed, compare, pack, snapshot, squash, unpack, view};
use super::inner_namespace;
use super::limits::{self, CommandLimits};
use super::pid1::{self, PassedFiles};
use super::setup::overlay::{self, WritableLayer};
use super::setup::{devices, upper};
use super::watch;
use crate::os::sys::{self, Fork};
use crate::os::tree::{self, DiskUse};
use crate::protocol::boot::{Boot, ChargedUser, SandboxBoot};
use crate::protocol::reply::Reply;
use crate::protocol::request::{FirstStageRequest, RequestAfterPid1};
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};
use crate::protocol::wire::{self, payload};

/// The OOM score of the sandbox's processes. If they exhaust memory, the kernel kills one of them
/// rather than the engine.
const OOM_SCORE: &str = "500";

/// The first user namespace of a machine, as its link in /proc names it. The kernel fixes the
/// number (`PROC_USER_INIT_INO`).
const MACHINE_USER_NAMESPACE: &str = "user:[4026531837]";

/// Runs the init. Returns when its work is done or the engine is gone.
pub(crate) fn main() {
    let Ok(socket) = take_socket() else { return };
    let served = detach(&socket)
        .at_step(Step::Prepare)
        .map_err(InitError::from)
        .and_then(|()| serve(&socket));
    let Err(error) = served else { return };
    if let InitError::Failed(failure) = error {
        let _ = wire::send(&socket, &Reply::Failed(failure), &[]);
    }
}

/// Moves the connection to the engine away from standard input.
fn take_socket() -> Result<OwnedFd, Errno> {
    // SAFETY: the constructor has checked that this is our socket. From here on the duplicate owns
    // it under its new number.
    let stdin = unsafe { std::os::fd::BorrowedFd::borrow_raw(0) };
    rustix::io::fcntl_dupfd_cloexec(stdin, 3)
}

/// Detaches from the engine's terminal, signals and descriptors.
fn detach(socket: &OwnedFd) -> Result<(), Errno> {
    let number = std::os::fd::AsRawFd::as_raw_fd(socket).unsigned_abs();
    sys::close_range(0, number - 1)?;
    sys::close_range(number + 1, u32::MAX)?;
    // Files opened later must not become standard streams.
    for _ in 0..3 {
        let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, Mode::empty())?;
        std::mem::forget(null);
    }
    sys::reset_signals();
    // Otherwise ^C at the engine's terminal would also end the sandbox.
    let _ = setsid();
    umask(Mode::empty());
    limits::raise_descriptors_to_hard_limit();
    let _ = rustix::thread::set_name(c"contree-init");
    Ok(())
}

fn serve(socket: &OwnedFd) -> Result<(), InitError> {
    wire::send(socket, &Reply::Hello, &[])?;
    let (request, mut files) = wire::receive::<FirstStageRequest>(socket, None)?;
    let FirstStageRequest::Boot = request else {
        return Err(InitError::Lost);
    };
    let mut side_files = files.split_off(files.len().min(2));
    let [store, description] = wire::exact_files(files)?;
    let boot: Boot = payload::read(description)?;
    // Write it now: later /proc/self belongs to this machine's root.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    if let Boot::Sandbox(boot) = &boot {
        let control_group_files =
            side_files.split_off(side_files.len().saturating_sub(boot.control_group_files));
        for file in &control_group_files {
            // The engine checks whether this worked.
            let _ = rustix::io::write(file, b"0");
        }
    }
    let device_nodes = match &boot {
        Boot::Sandbox(_) => devices::make_nodes(),
        _ => None,
    };
    fchdir(&store).at_step(Step::Prepare)?;
    let image = match &boot {
        Boot::Sandbox(boot) => mount_outside(boot),
        _ => None,
    };
    let user = match &boot {
        Boot::Sandbox(boot) => boot.charged_user,
        // Helpers run nothing of an image.
        _ => ChargedUser::Engine,
    };
    let limits = limits::limit_namespace(user);
    enter_user_namespace(socket, user)?;
    if let Boot::Sandbox(boot) = &boot
        && !user.is_exclusive()
        && boot.has_other_groups
    {
        inner_namespace::enter(&limits).at_step(Step::InnerNamespace)?;
    }
    match boot {
        Boot::Probe => wire::send(socket, &Reply::Ready, &[])?,
        Boot::Remove { paths } => {
            wire::send(socket, &Reply::Ready, &[])?;
            for path in paths {
                let shown = path.display().to_string();
                let name = std::ffi::CString::new(path.into_os_string().into_encoded_bytes())
                    .map_err(|_| InitError::Lost)?;
                tree::remove(store.as_fd(), &name).at_step_on(Step::Remove, shown)?;
            }
            wire::send(socket, &Reply::Removed, &[])?;
        }
        Boot::View { lowers, old_mount } => view::serve(socket, &store, &lowers, old_mount)?,
        Boot::Unpack(boot) => unpack::serve(socket, &store, &boot)?,
        Boot::Compare(boot) => compare::serve(socket, &store, &boot)?,
        Boot::Pack(boot) => pack::serve(socket, &store, &boot)?,
        Boot::Squash(boot) => {
            wire::send(socket, &Reply::Ready, &[])?;
            squash::squash(&store, &boot).at_step(Step::Squash)?;
            wire::send(socket, &Reply::Squashed, &[])?;
        }
        Boot::Snapshot(boot) => {
            wire::send(socket, &Reply::Ready, &[])?;
            let (reason, found) = snapshot::take(&store, &boot).at_step(Step::Snapshot)?;
            wire::send(socket, &inspected(reason, found), &[])?;
        }
        Boot::Sandbox(boot) => {
            let files = PassedFiles {
                side_files,
                device_nodes,
                image,
            };
            run_sandbox(socket, store, &boot, files, &limits)?;
        }
    }
    Ok(())
}

/// Mounts the image of a sandbox outside its user namespace, which only this machine's root may do.
/// If it cannot be done, pid 1 mounts the image inside, and reports why if that fails too.
fn mount_outside(boot: &SandboxBoot) -> Option<OwnedFd> {
    let is_machine_root = rustix::process::geteuid().is_root()
        && boot.user_namespace.as_os_str() == MACHINE_USER_NAMESPACE;
    if !is_machine_root || boot.old_mount || boot.charged_user == ChargedUser::Engine {
        return None;
    }
    upper::prepare(boot).ok()?;
    let writable = WritableLayer {
        upper: &boot.run.join("L/d"),
        work: &boot.run.join("w"),
    };
    overlay::mount_as_machine_root(&boot.lowers, &writable)
        .ok()
        .flatten()
}

fn enter_user_namespace(socket: &OwnedFd, user: ChargedUser) -> Result<(), InitError> {
    limits::become_owner(user).at_step(Step::Owner)?;
    sys::unshare(UnshareFlags::NEWUSER).at_step(Step::UserNamespace)?;
    // The engine's user must own /proc/<pid>/uid_map to write it. If this process is dumpable, the
    // files belong to its own id, otherwise to root.
    let dumpable = match user {
        ChargedUser::Engine => DumpableBehavior::Dumpable,
        ChargedUser::Separate { .. } => DumpableBehavior::NotDumpable,
    };
    set_dumpable_behavior(dumpable).at_step(Step::UserNamespace)?;
    wire::send(socket, &Reply::NeedMap, &[])?;
    let (FirstStageRequest::Mapped, _) = wire::receive::<FirstStageRequest>(socket, None)? else {
        return Err(InitError::Lost);
    };
    // This fails for an ordinary user with a single id, where setgroups is disabled.
    let _ = set_thread_groups(&[]);
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).at_step(Step::BecomeRoot)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).at_step(Step::BecomeRoot)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at_step(Step::BecomeRoot)?;
    Ok(())
}

fn run_sandbox(
    socket: &OwnedFd,
    store: OwnedFd,
    boot: &SandboxBoot,
    files: PassedFiles,
    limits: &CommandLimits,
) -> Result<(), InitError> {
    // A mounted image would not see the changes.
    if files.image.is_none() {
        upper::prepare(boot)?;
    }
    // Before the pid namespace, so that this process is outside.
    let allocator = boot
        .max_layer_bytes
        .map(|limit| Ok::<_, Errno>((limit, watch::Allocator::start()?)))
        .transpose()
        .at_step(Step::Fork)?;
    sys::unshare(UnshareFlags::NEWPID).at_step(Step::PidNamespace)?;
    let excess = match allocator {
        None => {
            let pid = match sys::fork().at_step(Step::Fork)? {
                Fork::Child => pid1::main(socket, store, boot, None, files, limits),
                Fork::Parent(pid) => pid,
            };
            drop(files);
            let _ = sys::wait(pid, true);
            None
        }
        Some((limit, allocator)) => {
            let (ours, theirs) = socketpair(
                AddressFamily::UNIX,
                SocketType::SEQPACKET,
                SocketFlags::CLOEXEC,
                None,
            )
            .at_step(Step::Prepare)?;
            let pid = match sys::fork().at_step(Step::Fork)? {
                Fork::Child => {
                    drop(ours);
                    allocator.disown();
                    pid1::main(socket, store, boot, Some(theirs), files, limits)
                }
                Fork::Parent(pid) => pid,
            };
            drop((theirs, files));
            watch::watch_until_end(pid, &store, &boot.run, limit, &ours, allocator)
                .at_step(Step::Watch)?
        }
    };
    wire::send(socket, &Reply::TreeGone { excess }, &[])?;
    loop {
        // Requests for pid 1 that came too late are ignored.
        if let (RequestAfterPid1::FirstStage(FirstStageRequest::Inspect), _) =
            wire::receive(socket, None)?
        {
            let upper = boot.run.join("L/d");
            let inspection = changed::inspect(&store, &upper, &boot.lowers, &boot.temporary_lines);
            let reply = match inspection {
                Ok((reason, found)) => inspected(reason, found),
                Err(error) => Reply::Failed(StepFailure {
                    step: Step::Inspect,
                    subject: None,
                    cause: error.into(),
                }),
            };
            wire::send(socket, &reply, &[])?;
        }
    }
}

/// The answer with the changes of an upper directory.
fn inspected(reason: Option<String>, found: DiskUse) -> Reply {
    Reply::Inspected {
        reason,
        bytes: found.bytes,
        files: found.inodes,
        changed_files: found.names,
    }
}
