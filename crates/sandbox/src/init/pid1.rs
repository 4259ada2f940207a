//! Pid 1 of a sandbox: builds it, gives up its rights, then starts and reaps commands until the engine is gone.

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

/// Never comes back.
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
    // The kernel ends every other process of the namespace with it.
    sys::exit_now(code);
}

/// What the engine is told of a sandbox that is set up.
struct Built {
    side_files: Vec<usize>,
    listener: Option<OwnedFd>,
}

/// Everything between a fresh fork and a confined pid 1 on the image.
fn build(
    store: OwnedFd,
    boot: &SandboxBoot,
    watcher: Option<&OwnedFd>,
    contents: Vec<OwnedFd>,
) -> Result<Built, Failure> {
    // The engine's death is seen as the end of the socket, the first stage's by this.
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
    // An open directory of the outside would be a way out.
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

/// Makes the image the root directory and lets go of everything that was mounted before.
fn enter(root: OwnedFd) -> Result<(), Failure> {
    fchdir(&root).during(Step::PivotRoot)?;
    drop(root);
    pivot_root(".", ".").during(Step::PivotRoot)?;
    unmount(".", UnmountFlags::DETACH).during(Step::PivotRoot)?;
    chdir("/").during(Step::PivotRoot)
}

/// Sets a limit, or keeps the lower one that is there.
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
    /// Who watches the writable layer.
    watcher: Option<OwnedFd>,
    signals: OwnedFd,
    groups: bool,
    /// Commands by process id.
    running: HashMap<i32, u32>,
    /// Who waits until nothing is left, and whether that is the end.
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

    /// Serves until the engine says that it is over, or is gone.
    fn serve(&mut self, built: Built) -> Result<(), WireError> {
        let Built {
            side_files,
            listener,
        } = built;
        let files: Vec<_> = listener.iter().map(AsFd::as_fd).collect();
        wire::send(self.socket, &Reply::Up { side_files }, &files)?;
        // Nobody inside may come by it.
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

    /// Does what the watcher of the writable layer says.
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
            // Its death ends us as well.
            Err(_) => self.watcher = None,
        }
    }

    fn done(&self, request: u32, result: Result<(), Errno>) -> Result<(), WireError> {
        let errno = result.err().map_or(0, Errno::raw_os_error);
        wire::send(self.socket, &Reply::Done { request, errno }, &[])
    }

    /// Collects what has ended. True when that was the last and the sandbox is over.
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
