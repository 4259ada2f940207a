//! Pid 1 of a sandbox: it sets up the sandbox and drops its privileges. Then it starts and reaps
//! commands until the engine is gone.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, fstat};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, chdir, fchdir, getrlimit, pivot_root,
    set_dumpable_behavior, set_parent_process_death_signal, setrlimit, umask,
};
use rustix::thread::UnshareFlags;

use super::setup::overlay::{self, Writable};
use super::setup::{capabilities, devices, files, network, procfs, seccomp, side_files};
use super::{command, watch};
use crate::os::error::errno;
use crate::os::sys;
use crate::os::usage::Usage;
use crate::protocol::boot::SandboxBoot;
use crate::protocol::failure::{During, Failure};
use crate::protocol::reply::Reply;
use crate::protocol::request::Pid1Request;
use crate::protocol::spec::Exit;
use crate::protocol::step::Step;
use crate::protocol::watcher::WatcherMessage;
use crate::protocol::wire::{self, WireError};

/// Runs pid 1. Never returns.
pub(crate) fn main(
    socket: &OwnedFd,
    store: OwnedFd,
    boot: &SandboxBoot,
    watcher: Option<OwnedFd>,
    side_files: Vec<OwnedFd>,
) -> ! {
    let code = match build(store, boot, watcher.as_ref(), side_files) {
        Err(failure) => {
            let _ = wire::send(socket, &Reply::Failed(failure), &[]);
            71
        }
        Ok(built) => {
            match Init::new(socket, watcher, boot.groups).and_then(|mut init| init.serve(built)) {
                Ok(()) => 0,
                Err(_) => 72,
            }
        }
    };
    // With pid 1, the kernel ends every other process of the namespace.
    sys::exit_now(code);
}

/// The report to the engine of a sandbox that is set up.
struct Built {
    side_files: Vec<usize>,
    listener: Option<OwnedFd>,
}

/// Turns a new fork into a confined pid 1 on the image.
fn build(
    store: OwnedFd,
    boot: &SandboxBoot,
    watcher: Option<&OwnedFd>,
    contents: Vec<OwnedFd>,
) -> Result<Built, Failure> {
    // This signal reports the first stage's death. The engine's death shows as the end of the
    // socket.
    set_parent_process_death_signal(Some(Signal::KILL)).during(Step::Prepare)?;
    sys::unshare(
        UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP,
    )
    .during(Step::Namespaces)?;
    network::leave(boot.network)?;
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .during(Step::PrivateMounts)?;
    let root = mount_image(boot)?;
    let device = fstat(&root).during(Step::Overlay)?.st_dev;
    let proc = procfs::mount(root.as_fd())?;
    procfs::mount_empty_sys(root.as_fd())?;
    devices::mount(root.as_fd(), boot.groups)?;
    let side_files = side_files::mount(
        root.as_fd(),
        &boot.side_directory,
        &boot.side_files,
        &contents,
    )?;
    drop(contents);
    procfs::seal(&proc, &boot.user_namespace, boot.max_processes)?;
    drop(proc);
    files::put_in_place(root.as_fd(), store.as_fd(), boot)?;
    // An open directory outside the sandbox would be a way out.
    drop(store);
    enter(root)?;
    rustix::system::sethostname(boot.hostname.as_bytes()).during(Step::Hostname)?;
    let proxy = network::set_up(boot.network)?;
    limit(Resource::Core, 0).during_with(Step::Limits, "RLIMIT_CORE")?;
    limit(Resource::Nproc, boot.max_processes.into()).during_with(Step::Limits, "RLIMIT_NPROC")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).during(Step::Capabilities)?;
    let listener = seccomp::install(watcher.is_some()).during(Step::Filter)?;
    if let Some(watcher) = watcher {
        watch::ready(watcher.as_fd(), device, listener)
            .map_err(|error| errno(&error))
            .during(Step::Watch)?;
    }
    capabilities::confine().during(Step::Capabilities)?;
    umask(Mode::WGRP | Mode::WOTH);
    Ok(Built {
        side_files,
        listener: proxy,
    })
}

fn mount_image(boot: &SandboxBoot) -> Result<OwnedFd, Failure> {
    let (upper, work, target) = (boot.run.join("L/d"), boot.run.join("w"), boot.run.join("m"));
    let writable = Writable {
        upper: &upper,
        work: &work,
    };
    let root = overlay::mount_image(&boot.lowers, Some(&writable), &target, boot.old_mount)
        .during(Step::Overlay)?;
    if !overlay::is_writable(&root).during(Step::OverlayReadOnly)? {
        return Err(Errno::ROFS).during(Step::OverlayReadOnly);
    }
    Ok(root)
}

/// Makes the image the root directory and detaches the previous mounts.
fn enter(root: OwnedFd) -> Result<(), Failure> {
    fchdir(&root).during(Step::PivotRoot)?;
    drop(root);
    pivot_root(".", ".").during(Step::PivotRoot)?;
    unmount(".", UnmountFlags::DETACH).during(Step::PivotRoot)?;
    chdir("/").during(Step::PivotRoot)
}

/// Sets a limit, or keeps an existing lower one.
fn limit(resource: Resource, value: u64) -> Result<(), Errno> {
    let value = getrlimit(resource)
        .maximum
        .map_or(value, |maximum| maximum.min(value));
    let value = Some(value);
    setrlimit(
        resource,
        Rlimit {
            current: value,
            maximum: value,
        },
    )
}

struct Init<'a> {
    socket: BorrowedFd<'a>,
    /// The connection to the watcher of the writable layer.
    watcher: Option<OwnedFd>,
    signals: OwnedFd,
    groups: bool,
    /// The numbers of running commands, by process id.
    running: HashMap<i32, u32>,
    /// The requests that wait until every process has ended.
    draining: Vec<u32>,
    finishing: bool,
}

impl<'a> Init<'a> {
    fn new(socket: &'a OwnedFd, watcher: Option<OwnedFd>, groups: bool) -> Result<Self, WireError> {
        sys::block_signals(&[libc::SIGCHLD]);
        Ok(Self {
            socket: socket.as_fd(),
            watcher,
            signals: sys::child_signals()?,
            groups,
            running: HashMap::new(),
            draining: Vec::new(),
            finishing: false,
        })
    }

    /// Serves requests until the engine finishes the sandbox or is gone.
    fn serve(&mut self, built: Built) -> Result<(), WireError> {
        let Built {
            side_files,
            listener,
        } = built;
        let files: Vec<_> = listener.iter().map(AsFd::as_fd).collect();
        wire::send(self.socket, &Reply::Up { side_files }, &files)?;
        // No process inside may get the listener.
        drop(listener);
        loop {
            let [request, ended, told] = {
                let watcher = self.watcher.as_ref().map_or(self.socket, AsFd::as_fd);
                let mut polled = [
                    PollFd::from_borrowed_fd(self.socket, PollFlags::IN),
                    PollFd::new(&self.signals, PollFlags::IN),
                    PollFd::from_borrowed_fd(watcher, PollFlags::IN),
                ];
                match poll(&mut polled, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                polled.map(|fd| !fd.revents().is_empty())
            };
            if told && self.watcher.is_some() {
                self.obey();
            }
            if ended {
                let mut records = [0_u8; 1024];
                let _ = rustix::io::read(&self.signals, &mut records);
            }
            if request {
                let (request, files) = wire::receive(self.socket, None)?;
                self.answer(request, files)?;
            }
            if self.reap()? {
                return Ok(());
            }
        }
    }

    fn answer(&mut self, request: Pid1Request, files: Vec<OwnedFd>) -> Result<(), WireError> {
        match request {
            Pid1Request::Exec { id } => {
                let [description] = wire::exactly(files)?;
                match command::start(description, self.groups) {
                    Ok((pid, ends)) => {
                        self.running.insert(pid, id);
                        let ends = [ends[0].as_fd(), ends[1].as_fd(), ends[2].as_fd()];
                        wire::send(self.socket, &Reply::Started { id, pid }, &ends)?;
                    }
                    Err(failure) => {
                        let reply = Reply::NotStarted {
                            id,
                            step: failure.step,
                            errno: failure.errno,
                        };
                        wire::send(self.socket, &reply, &[])?;
                    }
                }
            }
            Pid1Request::Signal {
                request,
                process,
                signal,
            } => {
                let group = self
                    .running
                    .iter()
                    .find(|(_, id)| **id == process)
                    .map(|(pid, _)| *pid);
                let result = group.map_or(Err(Errno::SRCH), |group| sys::kill(-group, signal));
                self.done(request, result)?;
            }
            Pid1Request::KillAll { request } => {
                let _ = sys::kill(-1, libc::SIGKILL);
                self.draining.push(request);
            }
            Pid1Request::Finish => {
                let _ = sys::kill(-1, libc::SIGKILL);
                self.finishing = true;
            }
        }
        Ok(())
    }

    /// Carries out a message of the watcher of the writable layer.
    fn obey(&mut self) {
        let Some(watcher) = &self.watcher else { return };
        match wire::receive::<WatcherMessage>(watcher, None) {
            Ok((WatcherMessage::Stop, _)) => {
                let _ = sys::kill(-1, libc::SIGSTOP);
                let _ = wire::send(watcher, &WatcherMessage::Stopped, &[]);
            }
            Ok((WatcherMessage::Continue, _)) => {
                let _ = sys::kill(-1, libc::SIGCONT);
            }
            Ok(_) => {}
            // The watcher's death ends pid 1 too.
            Err(_) => self.watcher = None,
        }
    }

    fn done(&self, request: u32, result: Result<(), Errno>) -> Result<(), WireError> {
        let errno = result.err().map_or(0, Errno::raw_os_error);
        wire::send(self.socket, &Reply::Done { request, errno }, &[])
    }

    /// Reaps processes that have ended. Returns true if none is left and the sandbox is finished.
    fn reap(&mut self) -> Result<bool, WireError> {
        loop {
            match sys::wait(-1, false) {
                Ok(Some(reaped)) => {
                    if let Some(id) = self.running.remove(&reaped.pid) {
                        let exit = exit(reaped.status, reaped.usage);
                        wire::send(self.socket, &Reply::Exited { id, exit }, &[])?;
                    }
                }
                Ok(None) => return Ok(false),
                Err(_) => break,
            }
        }
        for request in std::mem::take(&mut self.draining) {
            self.done(request, Ok(()))?;
        }
        if self.finishing {
            let usage = sys::usage_of_children();
            wire::send(self.socket, &Reply::Over { usage }, &[])?;
        }
        Ok(self.finishing)
    }
}

fn exit(status: i32, usage: Usage) -> Exit {
    let signalled = libc::WIFSIGNALED(status);
    Exit {
        code: (!signalled).then(|| libc::WEXITSTATUS(status)),
        signal: signalled.then(|| libc::WTERMSIG(status)),
        core_dump: signalled && libc::WCOREDUMP(status),
        usage,
    }
}
