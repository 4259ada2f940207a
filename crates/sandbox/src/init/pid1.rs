//! Pid 1 of a sandbox: it sets up the sandbox and drops its privileges. Then it starts and reaps
//! commands until the engine is gone.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, fstat};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{
    DumpableBehavior, Resource, Signal, chdir, fchdir, pivot_root, set_dumpable_behavior,
    set_parent_process_death_signal, umask,
};
use rustix::thread::UnshareFlags;

use super::error::InitError;
use super::limits::{self, CommandLimits};
use super::pause::{Pause, PauseHolder};
use super::setup::network::NetworkSockets;
use super::setup::overlay::{self, WritableLayer};
use super::setup::{
    allocating_calls, capabilities, devices, files, network, procfs, seccomp, side_files, sysfs,
    temporary_lines,
};
use super::terminals::Terminals;
use super::{command, watch};
use crate::os::poll::timespec;
use crate::os::sys;
use crate::os::usage::Usage;
use crate::protocol::boot::SandboxBoot;
use crate::protocol::reply::Reply;
use crate::protocol::request::Pid1Request;
use crate::protocol::spec::{Exit, Network};
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};
use crate::protocol::watcher::WatcherMessage;
use crate::protocol::wire::{self, WireError};

/// The exit status of a pid 1 that could not set up the sandbox. The engine gets the reason as a
/// message; the status is for whoever traces the process.
const SETUP_FAILED: i32 = 71;
/// The exit status of a pid 1 that failed while commands could run.
const SERVICE_FAILED: i32 = 72;

/// Open files that pid 1 gets from outside the sandbox, and closes before anything runs in it.
pub(crate) struct PassedFiles {
    /// The contents of side files.
    pub(crate) side_files: Vec<OwnedFd>,
    /// The file system of the sandbox's own device nodes.
    pub(crate) device_nodes: Option<OwnedFd>,
    /// The image, if it is mounted already.
    pub(crate) image: Option<OwnedFd>,
}

/// Runs pid 1. Never returns.
pub(crate) fn main(
    socket: &OwnedFd,
    store: OwnedFd,
    boot: &SandboxBoot,
    watcher: Option<OwnedFd>,
    passed: PassedFiles,
    limits: &CommandLimits,
) -> ! {
    let code = match build(store, boot, watcher.as_ref(), passed, limits) {
        Err(failure) => {
            let _ = wire::send(socket, &Reply::Failed(failure), &[]);
            SETUP_FAILED
        }
        Ok(setup) => {
            let served = Pid1::new(socket, watcher, boot, limits.descriptors)
                .and_then(|mut pid1| pid1.serve(setup));
            match served {
                Ok(()) => 0,
                Err(error) => {
                    if let InitError::Failed(failure) = error.into() {
                        let _ = wire::send(socket, &Reply::Failed(failure), &[]);
                    }
                    SERVICE_FAILED
                }
            }
        }
    };
    // When pid 1 exits, the kernel kills every other process of the namespace.
    sys::exit_now(code);
}

/// The results of the setup, which pid 1 reports to the engine.
struct SetupResult {
    side_files: Vec<usize>,
    directories: Vec<usize>,
    network: NetworkSockets,
}

/// Turns this new process into a confined pid 1 whose root directory is the image.
fn build(
    store: OwnedFd,
    boot: &SandboxBoot,
    watcher: Option<&OwnedFd>,
    mut passed: PassedFiles,
    limits: &CommandLimits,
) -> Result<SetupResult, StepFailure> {
    // Pid 1 dies with the first stage. It notices the engine's death by the end of the socket.
    set_parent_process_death_signal(Some(Signal::KILL)).at_step(Step::Prepare)?;
    sys::unshare(
        UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP,
    )
    .at_step(Step::Namespaces)?;
    network::leave(boot.network)?;
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .at_step(Step::PrivateMounts)?;
    let root = mount_image(boot, passed.image.take())?;
    let device = fstat(&root).at_step(Step::Overlay)?.st_dev;
    let proc = procfs::mount(root.as_fd())?;
    sysfs::mount(root.as_fd(), boot)?;
    devices::mount(root.as_fd(), boot, passed.device_nodes.as_ref())?;
    let side_files = side_files::mount(
        root.as_fd(),
        &boot.side_directory,
        &boot.side_files,
        &passed.side_files,
    )?;
    drop(passed);
    procfs::restrict(root.as_fd(), &proc, boot)?;
    drop(proc);
    let directories = files::make_directories_and_files(root.as_fd(), store.as_fd(), boot)?;
    let lines_use = temporary_lines::add(root.as_fd(), boot);
    // An open directory outside the sandbox would be a way out.
    drop(store);
    enter(root)?;
    rustix::system::sethostname(boot.hostname.as_bytes()).at_step(Step::Hostname)?;
    let network = network::set_up(boot.network)?;
    limits::lower(Resource::Core, 0).at_step_on(Step::Limits, "RLIMIT_CORE")?;
    // The allocator of the watcher counts as a process of root.
    let processes = u64::from(boot.max_processes) + u64::from(watcher.is_some());
    limits::lower(Resource::Nproc, processes).at_step_on(Step::Limits, "RLIMIT_NPROC")?;
    for &(resource, name, value) in &limits.shares {
        limits::lower(resource, value).at_step_on(Step::Limits, name)?;
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at_step(Step::Capabilities)?;
    if let Some(watcher) = watcher {
        let notifier = allocating_calls::install().at_step(Step::Filter)?;
        watch::report_setup(watcher.as_fd(), device, lines_use, notifier).at_step(Step::Watch)?;
    }
    seccomp::install().at_step(Step::Filter)?;
    capabilities::confine().at_step(Step::Capabilities)?;
    umask(Mode::WGRP | Mode::WOTH);
    Ok(SetupResult {
        side_files,
        directories,
        network,
    })
}

/// Mounts the image, or attaches the one that is mounted already.
fn mount_image(boot: &SandboxBoot, mounted: Option<OwnedFd>) -> Result<OwnedFd, StepFailure> {
    let target = boot.run.join("m");
    let root = match mounted {
        Some(root) => overlay::attach(&root, &target).map(|()| root),
        None => {
            let writable = WritableLayer {
                upper: &boot.run.join("L/d"),
                work: &boot.run.join("w"),
            };
            overlay::mount_image(&boot.lowers, Some(&writable), &target, boot.old_mount)
        }
    }
    .at_step(Step::Overlay)?;
    if !overlay::is_writable(&root).at_step(Step::OverlayReadOnly)? {
        return Err(Errno::ROFS).at_step(Step::OverlayReadOnly);
    }
    Ok(root)
}

/// Makes the image the root directory and detaches the previous mounts.
fn enter(root: OwnedFd) -> Result<(), StepFailure> {
    fchdir(&root).at_step(Step::PivotRoot)?;
    drop(root);
    pivot_root(".", ".").at_step(Step::PivotRoot)?;
    unmount(".", UnmountFlags::DETACH).at_step(Step::PivotRoot)?;
    chdir("/").at_step(Step::PivotRoot)
}

/// The state of pid 1 while it serves requests.
struct Pid1<'a> {
    socket: BorrowedFd<'a>,
    /// The connection to the watcher of the writable layer.
    watcher: Option<OwnedFd>,
    /// The pause of the processes, for the watcher or a snapshot.
    pause: Pause,
    child_signals: OwnedFd,
    groups: bool,
    network: Network,
    terminals: Terminals,
    /// The most open descriptors of a command.
    descriptors: u64,
    /// The numbers of running commands, by process id.
    running: HashMap<i32, u32>,
    /// The requests that wait until every process has ended.
    end_requests: Vec<u32>,
    /// The time at which processes are killed that SIGTERM has not ended.
    kill_at: Option<Instant>,
    finishing: bool,
}

impl<'a> Pid1<'a> {
    fn new(
        socket: &'a OwnedFd,
        watcher: Option<OwnedFd>,
        boot: &SandboxBoot,
        descriptors: u64,
    ) -> Result<Self, WireError> {
        sys::block_signals(&[libc::SIGCHLD]);
        Ok(Self {
            socket: socket.as_fd(),
            watcher,
            pause: Pause::default(),
            child_signals: sys::child_signals()?,
            groups: boot.has_other_groups,
            network: boot.network,
            terminals: Terminals::open()?,
            descriptors,
            running: HashMap::new(),
            end_requests: Vec::new(),
            kill_at: None,
            finishing: false,
        })
    }

    /// Serves requests until the engine finishes the sandbox or is gone.
    fn serve(&mut self, setup: SetupResult) -> Result<(), WireError> {
        let SetupResult {
            side_files,
            directories,
            network: NetworkSockets { sockets, refusal },
        } = setup;
        let files: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        let up = Reply::Up {
            side_files,
            directories,
            interception_refusal: refusal,
        };
        wire::send(self.socket, &up, &files)?;
        // No process inside may get them.
        drop(sockets);
        loop {
            let [request, ended, watcher_ready] = {
                let watcher = self.watcher.as_ref().map_or(self.socket, AsFd::as_fd);
                let mut polled = [
                    PollFd::from_borrowed_fd(self.socket, PollFlags::IN),
                    PollFd::new(&self.child_signals, PollFlags::IN),
                    PollFd::from_borrowed_fd(watcher, PollFlags::IN),
                ];
                let timeout = self
                    .kill_at
                    .map(|at| timespec(at.saturating_duration_since(Instant::now())));
                match poll(&mut polled, timeout.as_ref()) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                polled.map(|fd| !fd.revents().is_empty())
            };
            if self.kill_at.is_some_and(|at| at <= Instant::now()) {
                self.kill_all();
            }
            if watcher_ready && self.watcher.is_some() {
                self.handle_watcher_message();
            }
            if ended {
                let mut records = [0_u8; 1024];
                let _ = rustix::io::read(&self.child_signals, &mut records);
            }
            if request {
                let (request, files) = wire::receive(self.socket, None)?;
                self.handle_request(request, files)?;
            }
            if self.reap()? {
                return Ok(());
            }
        }
    }

    fn handle_request(
        &mut self,
        request: Pid1Request,
        files: Vec<OwnedFd>,
    ) -> Result<(), WireError> {
        match request {
            Pid1Request::Exec { id, terminal } => {
                let [description] = wire::exact_files(files)?;
                let terminal = terminal.map(|size| (&self.terminals, size));
                let started = command::start(description, terminal, self.groups, self.descriptors)
                    .and_then(|(pid, streams)| self.pass_streams(id, pid, &streams));
                match started {
                    Ok(pid) => {
                        self.running.insert(pid, id);
                    }
                    Err(failure) => {
                        wire::send(self.socket, &Reply::NotStarted { id, failure }, &[])?;
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
                self.send_done(request, result)?;
            }
            Pid1Request::Connect { request, address } => {
                match network::begin_connection(self.network, address) {
                    Ok(socket) => {
                        let reply = Reply::Connecting { request };
                        match wire::send(self.socket, &reply, &[socket.as_fd()]) {
                            // Too many descriptors are in flight.
                            Err(WireError::Os(error)) => {
                                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                                self.send_done(request, Err(errno))?;
                            }
                            sent => sent?,
                        }
                    }
                    Err(errno) => self.send_done(request, Err(errno))?,
                }
            }
            Pid1Request::EndAll { request, grace_ms } => {
                self.end_requests.push(request);
                if grace_ms == 0 {
                    self.kill_all();
                } else if sys::kill(-1, libc::SIGTERM).is_ok() {
                    self.kill_at = Some(Instant::now() + Duration::from_millis(grace_ms));
                }
            }
            Pid1Request::Pause { request } => {
                self.pause.hold(PauseHolder::Engine);
                let still = Pause::wait_until_still();
                if still.is_err() {
                    self.pause.release(PauseHolder::Engine);
                }
                self.send_done(request, still)?;
            }
            Pid1Request::Resume { request } => {
                self.pause.release(PauseHolder::Engine);
                self.send_done(request, Ok(()))?;
            }
            Pid1Request::Finish => {
                self.kill_all();
                self.finishing = true;
            }
        }
        Ok(())
    }

    fn kill_all(&mut self) {
        self.kill_at = None;
        let _ = sys::kill(-1, libc::SIGKILL);
    }

    /// Passes the streams of a started command to the engine. If the kernel refuses, the command is
    /// killed.
    fn pass_streams(&self, id: u32, pid: i32, streams: &[OwnedFd]) -> Result<i32, StepFailure> {
        let streams: Vec<_> = streams.iter().map(AsFd::as_fd).collect();
        wire::send(self.socket, &Reply::Started { id, pid }, &streams)
            .inspect_err(|_| {
                let _ = sys::kill(-pid, libc::SIGKILL);
            })
            .at_step(Step::Streams)?;
        Ok(pid)
    }

    /// Carries out a message of the watcher of the writable layer.
    fn handle_watcher_message(&mut self) {
        let Some(watcher) = &self.watcher else { return };
        match wire::receive::<WatcherMessage>(watcher, None) {
            Ok((WatcherMessage::Stop { request }, _)) => {
                self.pause.hold(PauseHolder::Watcher);
                let _ = wire::send(watcher, &WatcherMessage::Stopped { request }, &[]);
            }
            Ok((WatcherMessage::Continue, _)) => {
                self.pause.release(PauseHolder::Watcher);
            }
            Ok(_) => {}
            // The watcher's death ends pid 1 too.
            Err(_) => self.watcher = None,
        }
    }

    fn send_done(&self, request: u32, result: Result<(), Errno>) -> Result<(), WireError> {
        let errno = result.err().map_or(0, Errno::raw_os_error);
        wire::send(self.socket, &Reply::Done { request, errno }, &[])
    }

    /// Reaps processes that have ended. Returns true if no process is left and the engine has asked
    /// to finish.
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
        self.kill_at = None;
        for request in std::mem::take(&mut self.end_requests) {
            self.send_done(request, Ok(()))?;
        }
        if self.finishing {
            let usage = sys::usage_of_children();
            wire::send(self.socket, &Reply::Finished { usage }, &[])?;
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
