//! A running sandbox, as the engine controls it.

mod connection;
mod network_ends;
mod snapshot;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use tokio::sync::oneshot;

use self::connection::{Connection, RequestOutcome};
use self::network_ends::NetworkEnds;
use self::snapshot::SnapshotSource;
use crate::cgroup::group::{ReachedMemoryLimit, SandboxGroup};
use crate::error::Error;
use crate::launch::classify::explain;
use crate::launch::handshake::{InitProcess, SetupResult};
use crate::layer_error::layer_error;
use crate::layers::LayerStore;
use crate::os::error::CallContext;
use crate::os::process_tree;
use crate::os::terminal::{Terminal, TerminalSize};
use crate::packet::InterceptedPackets;
use crate::protocol::boot::{Boot, SandboxBoot, SideFileBoot};
use crate::protocol::layer_limit::LayerExcess;
use crate::protocol::reply::Reply;
use crate::protocol::request::{FirstStageRequest, Pid1Request};
use crate::protocol::spec::{
    Command, Exit, Limits, Process, SandboxOutcome, SandboxSpec, TerminalProcess,
};
use crate::protocol::wire::{self, WireError, payload};
use crate::spec_check::{check_spec, check_user};
use crate::store::runs::RunDir;

/// The time-out for killing and reaping everything inside.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// The most time that processes get after SIGTERM. The connection waits longer for the answer.
const MAX_GRACE: Duration = Duration::from_secs(10);
/// The time-out for comparing the upper directory with the image. The time grows with the amount
/// written.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(600);

/// A sandbox: an init and the commands started in it. Dropping it kills everything inside and waits
/// until it has ended.
#[derive(Debug)]
pub struct Sandbox {
    store: LayerStore,
    max_layer_bytes: Option<u64>,
    connection: Arc<Connection>,
    reader: Option<JoinHandle<()>>,
    /// Closed when the reader thread has seen the end of the sandbox.
    end: Mutex<Receiver<()>>,
    side_files: Vec<String>,
    made_directories: Vec<PathBuf>,
    listener: Mutex<Option<TcpListener>>,
    snapshot_source: SnapshotSource,
    packets: Mutex<Option<InterceptedPackets>>,
    interception_refusal: Option<String>,
    /// Declared last: it is dropped after the init, which is in the group.
    group: SandboxGroup,
}

impl Sandbox {
    /// Starts a sandbox on an image, with its upper directory in a run directory. The directories
    /// and files of `spec` exist before anything runs.
    ///
    /// # Errors
    /// - [`Error::Unavailable`] if this machine cannot run sandboxes.
    /// - [`Error::Placement`] if a file or directory cannot be put in place.
    /// - [`Error::LayerTooLarge`] or [`Error::LayerTooManyFiles`] if those files exceed the limit
    ///   of the writable layer.
    /// - [`Error::DiskNearlyFull`] if they leave too little free space.
    pub fn start(store: &LayerStore, run: &RunDir, spec: &SandboxSpec) -> Result<Self, Error> {
        check_spec(store.layout(), spec)?;
        Self::boot(store, run, spec, store.lowers(&spec.layers)?)
    }

    /// Starts a sandbox on lower directories, which need not be layers.
    pub(crate) fn boot(
        store: &LayerStore,
        run: &RunDir,
        spec: &SandboxSpec,
        lowers: Vec<PathBuf>,
    ) -> Result<Self, Error> {
        let user_namespace = std::fs::read_link("/proc/self/ns/user")
            .context("read the link of the engine's user namespace")?;
        // The first stage and, with a limit of the layer, its allocator.
        let engine_processes = 1 + u32::from(spec.max_layer_bytes.is_some());
        let mut group = SandboxGroup::make(
            store.root(),
            run.name(),
            &spec.limits,
            spec.max_processes,
            engine_processes,
        )
        .map_err(|error| Error::Invalid(error.to_string()))?;
        let join_files = group.take_join_files();
        let probe_upper = !store.layout().is_upper_probed();
        let run_directory = Path::new("run").join(run.name());
        let snapshot_source = SnapshotSource {
            upper: run_directory.join("L/d"),
            lowers: lowers.clone(),
            temporary_lines: spec.temporary_lines.clone(),
        };
        let boot = Boot::Sandbox(Box::new(SandboxBoot {
            user_namespace,
            charged_user: store.id_map().charged_user(),
            lowers,
            run: run_directory,
            hostname: spec.hostname.clone(),
            directories: spec.directories.clone(),
            changes: spec.changes.clone(),
            files: spec.files.clone(),
            side_directory: format!("dev/{}", store.layout().options().side_directory),
            side_files: spec
                .side_files
                .iter()
                .map(|file| SideFileBoot {
                    name: file.name.clone(),
                    unless_exists: file.unless_exists.clone(),
                    mount_over: file.mount_over.clone(),
                    after: file.after.clone(),
                })
                .collect(),
            temporary_lines: spec.temporary_lines.clone(),
            shared_memory_bytes: spec.shared_memory_bytes,
            machine_view: store.layout().machine_view().map(Path::to_owned),
            network: spec.network,
            max_processes: spec.limits.processes.unwrap_or(spec.max_processes),
            max_layer_bytes: spec.max_layer_bytes,
            control_group_files: join_files.len(),
            has_other_groups: !store.id_map().is_single(),
            old_mount: store.layout().old_mount(),
            probe_upper,
        }));
        let contents: Vec<_> = spec
            .side_files
            .iter()
            .map(|file| file.content.0.as_fd())
            .chain(join_files.iter().map(AsFd::as_fd))
            .collect();
        let (
            init,
            SetupResult {
                side_files,
                directories,
                network_sockets,
                interception_refusal,
            },
        ) = InitProcess::start_with_files(store.layout(), &boot, &contents)?;
        drop(join_files);
        // Limits that the caller did not request may be missing.
        if spec.limits != Limits::default() && !group.is_entered() {
            return Err(Error::Invalid(
                "limits: the kernel does not let the sandbox join its control group".into(),
            ));
        }
        let NetworkEnds { listener, packets } = NetworkEnds::sort(
            spec.network,
            network_sockets,
            interception_refusal.is_some(),
        )?;
        let side_files = side_files
            .into_iter()
            .filter_map(|index| spec.side_files.get(index))
            .map(|file| file.name.clone())
            .collect();
        let made_directories = directories
            .into_iter()
            .filter_map(|index| spec.directories.get(index))
            .map(|directory| directory.path.clone())
            .collect();
        store.layout().set_upper_probed();
        let connection = Arc::new(Connection::new(init));
        let (end_sender, end) = mpsc::channel();
        let reader = std::thread::Builder::new()
            .name("contree-sandbox".into())
            .spawn({
                let connection = connection.clone();
                move || {
                    connection.read_replies();
                    drop(end_sender);
                }
            })
            .context("start a thread")?;
        Ok(Self {
            store: store.clone(),
            max_layer_bytes: spec.max_layer_bytes,
            connection,
            reader: Some(reader),
            side_files,
            made_directories,
            listener: Mutex::new(listener),
            packets: Mutex::new(packets),
            interception_refusal,
            end: Mutex::new(end),
            snapshot_source,
            group,
        })
    }

    /// The non-blocking socket that listens on the sandbox's loopback interface, with
    /// [`Network::Listener`](crate::Network::Listener) and
    /// [`Network::Intercepted`](crate::Network::Intercepted). Only the first call returns it. The
    /// kernel keeps the sandbox's network until the socket and every connection accepted on it are
    /// closed.
    #[must_use]
    pub fn take_listener(&self) -> Option<TcpListener> {
        self.listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The packets to foreign addresses, with
    /// [`Network::Intercepted`](crate::Network::Intercepted). Only the first call returns them.
    #[must_use]
    pub fn take_packets(&self) -> Option<InterceptedPackets> {
        self.packets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The reason why packets are not intercepted, although
    /// [`Network::Intercepted`](crate::Network::Intercepted) requests it.
    #[must_use]
    pub fn interception_refusal(&self) -> Option<&str> {
        self.interception_refusal.as_deref()
    }

    /// The memory limit that was reached, if the kernel has killed a process of the sandbox for it.
    #[must_use]
    pub fn killed_for_memory(&self) -> Option<ReachedMemoryLimit> {
        self.group.killed_for_memory()
    }

    /// The processes inside, and the memory that the sandbox uses.
    #[must_use]
    pub fn resource_use(&self) -> SandboxUse {
        let tree = process_tree::measure(self.connection.init().pid());
        // Pid 1 and the allocator of the watcher are not inside.
        let own = 1 + u64::from(self.max_layer_bytes.is_some());
        SandboxUse {
            processes: tree.processes.saturating_sub(own),
            memory_bytes: self.group.memory_bytes().unwrap_or(tree.memory_bytes),
        }
    }

    /// The names of the side files that exist in the sandbox.
    #[must_use]
    pub fn side_files(&self) -> &[String] {
        &self.side_files
    }

    /// The directories of the description that were missing in the image and are made now.
    #[must_use]
    pub fn made_directories(&self) -> &[PathBuf] {
        &self.made_directories
    }

    /// Starts a command.
    ///
    /// # Errors
    /// [`Error::Exec`] with the failed step if the command cannot be started.
    pub fn exec(&self, command: &Command) -> Result<Process, Error> {
        let started = self.start_command(command, None)?;
        let [stdin, stdout, stderr] = wire::exact_files(started.streams)?;
        Ok(Process {
            id: started.id,
            pid: started.pid,
            stdin,
            stdout,
            stderr,
            exit: started.exit,
        })
    }

    /// Starts a command whose standard streams are a new terminal of the sandbox. It leads a
    /// session with this terminal, so job control works.
    ///
    /// # Errors
    /// [`Error::Exec`] with the failed step if the command cannot be started.
    pub fn exec_on_terminal(
        &self,
        command: &Command,
        size: TerminalSize,
    ) -> Result<TerminalProcess, Error> {
        let started = self.start_command(command, Some(size))?;
        let [terminal] = wire::exact_files(started.streams)?;
        Ok(TerminalProcess {
            id: started.id,
            pid: started.pid,
            terminal: Terminal::new(terminal),
            exit: started.exit,
        })
    }

    fn start_command(
        &self,
        command: &Command,
        terminal: Option<TerminalSize>,
    ) -> Result<StartedCommand, Error> {
        check_user(self.store.layout(), command.uid, command.gid)?;
        let description = payload::write(command)?;
        let (id, outcome) = self.connection.request("start the command", |id| {
            let request = Pid1Request::Exec { id, terminal };
            (request, Some(description.as_fd()))
        })?;
        match outcome {
            RequestOutcome::Started { pid, streams, exit } => Ok(StartedCommand {
                id,
                pid,
                streams,
                exit,
            }),
            RequestOutcome::NotStarted(failure) => Err(Error::Exec {
                step: failure.step,
                error: failure.cause.into(),
                program: command.program.clone(),
                directory: command.cwd.clone(),
            }),
            RequestOutcome::Done { .. } | RequestOutcome::Connecting(_) => Err(Error::Gone),
        }
    }

    /// Begins a TCP connection to a loopback address of the sandbox, made by its init. No route is
    /// made, and no address outside of the sandbox is reached.
    ///
    /// The socket does not block, and the connection may still be under way: it is established when
    /// the socket is writable without an error. The kernel keeps the sandbox's network until the
    /// socket is closed.
    ///
    /// # Errors
    /// - [`Error::Connect`] if nothing listens there, or the kernel refuses otherwise.
    /// - [`Error::Invalid`] if the address is not a loopback address.
    pub fn connect(&self, address: SocketAddr) -> Result<TcpStream, Error> {
        if !address.ip().is_loopback() {
            return Err(Error::Invalid(format!(
                "{address} is not a loopback address, and only those of the sandbox can be reached"
            )));
        }
        let request = |request| (Pid1Request::Connect { request, address }, None);
        match self.connection.request("connect inside", request)?.1 {
            RequestOutcome::Connecting(socket) => Ok(TcpStream::from(socket)),
            RequestOutcome::Done { errno } => Err(Error::Connect {
                address,
                error: std::io::Error::from_raw_os_error(errno),
            }),
            _ => Err(Error::Gone),
        }
    }

    /// Sends a signal to the process group of a command.
    ///
    /// # Errors
    /// [`Error::NoProcess`] if the command has ended.
    pub fn signal(&self, process: u32, signal: i32) -> Result<(), Error> {
        let request = |request| {
            let message = Pid1Request::Signal {
                request,
                process,
                signal,
            };
            (message, None)
        };
        match self.connection.request("send the signal", request)?.1 {
            RequestOutcome::Done { errno: 0 } => Ok(()),
            RequestOutcome::Done { errno: libc::ESRCH } => Err(Error::NoProcess(process)),
            RequestOutcome::Done { errno } => {
                let error = std::io::Error::from_raw_os_error(errno);
                Ok(Err::<(), _>(error).context(&format!("send signal {signal} to a command"))?)
            }
            _ => Err(Error::Gone),
        }
    }

    /// Kills all processes inside except the init, and waits until they have ended.
    ///
    /// # Errors
    /// - [`Error::Gone`] if the sandbox is gone.
    /// - [`Error::TimedOut`] if it does not answer in time; it is then killed.
    pub fn kill_all(&self) -> Result<(), Error> {
        self.end_all(Duration::ZERO)
    }

    /// Sends SIGTERM to all processes inside except the init, and waits until they have ended. It
    /// kills those that still run after `grace`, which may be ten seconds at most.
    ///
    /// A call of [`Sandbox::kill_all`] from another thread cuts the time short.
    ///
    /// # Errors
    /// Those of [`Sandbox::kill_all`].
    pub fn end_all(&self, grace: Duration) -> Result<(), Error> {
        let grace_ms = u64::try_from(grace.min(MAX_GRACE).as_millis()).unwrap_or_default();
        self.connection
            .request("end its commands", |request| {
                (Pid1Request::EndAll { request, grace_ms }, None)
            })
            .map(drop)
    }

    /// Ends the sandbox. On return none of its processes and mounts exist. With `inspect`, the
    /// upper directory is compared with the image.
    ///
    /// # Errors
    /// - [`Error::LayerTooLarge`], [`Error::LayerTooManyFiles`] or [`Error::LayerNotMeasurable`] if
    ///   the sandbox exceeded the limit of its writable layer.
    /// - [`Error::DiskNearlyFull`] if it was ended to leave free space.
    /// - [`Error::Gone`] if it had died before.
    /// - [`Error::TimedOut`] if it does not end in time; it is then killed.
    pub fn finish(self, inspect: bool) -> Result<SandboxOutcome, Error> {
        // If this cannot be sent, the reader thread sees the end of the connection anyway.
        let _ = wire::send(self.connection.init().socket(), &Pid1Request::Finish, &[]);
        let ended = self
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv_timeout(END_TIMEOUT);
        if ended == Err(RecvTimeoutError::Timeout) {
            self.hard_kill();
            return Err(Error::TimedOut("end"));
        }
        let mut outcome = SandboxOutcome {
            usage: self.connection.result(self.max_layer_bytes)?,
            ..SandboxOutcome::default()
        };
        if inspect {
            let (found, bytes, files) = self.inspect()?;
            outcome.changed = Some(found.reason.is_some());
            outcome.reason = found.reason;
            outcome.upper_bytes = bytes;
            outcome.changed_files = found.changed_files;
            if let Some(limit) = self.max_layer_bytes
                && let Some(excess) = LayerExcess::of(bytes, files, limit)
            {
                return Err(layer_error(excess, limit));
            }
        }
        Ok(outcome)
    }

    /// Compares the upper directory with the image. Returns what changed, and the bytes and inodes
    /// of the directory.
    fn inspect(&self) -> Result<(FoundChanges, u64, u64), Error> {
        let init = self.connection.init();
        wire::send(init.socket(), &FirstStageRequest::Inspect, &[])?;
        match init.receive(Instant::now() + INSPECT_TIMEOUT) {
            Ok((
                Reply::Inspected {
                    reason,
                    bytes,
                    files,
                    changed_files,
                },
                _,
            )) => {
                let found = FoundChanges {
                    reason,
                    changed_files,
                };
                Ok((found, bytes, files))
            }
            Ok((Reply::Failed(failure), _)) => Err(explain(self.store.layout(), failure)),
            Err(WireError::TimedOut) => {
                Err(Error::TimedOut("compare what it wrote with the image"))
            }
            _ => Err(Error::Gone),
        }
    }

    /// Kills the sandbox without waiting for its end.
    pub fn hard_kill(&self) {
        self.connection.init().kill();
    }
}

/// The resources that a running sandbox uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxUse {
    /// The processes inside, without its pid 1.
    pub processes: u64,
    /// The memory in bytes. Without control groups, memory that processes share counts for each.
    pub memory_bytes: u64,
}

/// A command that was started.
struct StartedCommand {
    id: u32,
    pid: i32,
    streams: Vec<OwnedFd>,
    exit: oneshot::Receiver<Exit>,
}

/// The changes that a sandbox made.
struct FoundChanges {
    /// The first change, if there is any.
    reason: Option<String>,
    /// The number of names of files and links, and of whiteouts.
    changed_files: u64,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Pid 1 exits when its connection ends, and the first stage when the process tree is gone.
        // A process that does not exit in time is killed.
        let _ = shutdown(self.connection.init().socket(), Shutdown::Both);
        if !self.connection.init().wait(Instant::now() + END_TIMEOUT) {
            self.connection.init().kill();
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
