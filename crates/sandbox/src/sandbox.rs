//! A running sandbox, as the engine controls it.

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use tokio::sync::oneshot;

use crate::cgroup::group::Group;
use crate::error::Error;
use crate::launch::classify::explain;
use crate::launch::handshake::{InitProcess, SetUp};
use crate::layers::LayerStore;
use crate::os::error::Doing;
use crate::os::usage::Usage;
use crate::protocol::boot::{Boot, SandboxBoot, SideBoot};
use crate::protocol::reply::Reply;
use crate::protocol::request::{FirstStageRequest, Pid1Request};
use crate::protocol::spec::{Command, Exit, Finished, Limits, Network, Process, SandboxSpec};
use crate::protocol::step::Step;
use crate::protocol::wire::{self, WireError, payload};
use crate::spec_check::{check_spec, check_user};
use crate::store::runs::RunDir;

/// The time-out for starting a command or sending a signal. Both take about a millisecond, unless
/// the machine is overloaded.
const ANSWER: Duration = Duration::from_secs(30);
/// The time-out for killing and reaping everything inside.
const END: Duration = Duration::from_secs(30);
/// The time-out for comparing the upper directory with the image. The time grows with the amount
/// written.
const INSPECT: Duration = Duration::from_secs(600);
/// A sandbox: an init and the commands started in it. Dropping it kills everything inside and waits
/// until it has ended.
#[derive(Debug)]
pub struct Sandbox {
    store: LayerStore,
    max_layer_bytes: Option<u64>,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    /// Closed when the reader thread has seen the end of the sandbox.
    ended: Mutex<Receiver<()>>,
    side_files: Vec<String>,
    listener: Mutex<Option<TcpListener>>,
    /// Declared last: it is dropped after the init, which is in the group.
    group: Group,
}

#[derive(Debug)]
struct Shared {
    init: InitProcess,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u32,
    /// The senders for requests that wait for an answer. These and the senders below are dropped
    /// when the sandbox is gone.
    waiting: HashMap<u32, Sender<Answer>>,
    exits: HashMap<u32, oneshot::Sender<Exit>>,
    /// The resources that the process tree used, once pid 1 has ended it normally.
    usage: Option<Usage>,
    tree_gone: bool,
    /// The size of the layer, if the sandbox was killed for exceeding its limit.
    over: Option<u64>,
    closed: bool,
}

#[derive(Debug)]
enum Answer {
    Started {
        pid: i32,
        ends: [OwnedFd; 3],
        exit: oneshot::Receiver<Exit>,
    },
    NotStarted {
        step: Step,
        errno: i32,
    },
    Done {
        errno: i32,
    },
}

impl Sandbox {
    /// Starts a sandbox on an image, with its upper directory in a run directory. The directories
    /// and files of `spec` exist before anything runs.
    ///
    /// # Errors
    /// - [`Error::Unavailable`] if this machine cannot run sandboxes.
    /// - [`Error::Place`] if a file or directory cannot be put in place.
    /// - [`Error::LayerTooLarge`] if those files exceed the limit of the writable layer.
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
        let user_namespace =
            std::fs::read_link("/proc/self/ns/user").doing("look at the own user namespace")?;
        let mut group = Group::make(store.root(), run.name(), &spec.limits, spec.max_processes)
            .map_err(|error| Error::Invalid(error.to_string()))?;
        let doors = group.take_doors();
        let probe_upper = !store.layout().is_upper_probed();
        let boot = Boot::Sandbox(Box::new(SandboxBoot {
            user_namespace,
            lowers,
            run: Path::new("run").join(run.name()),
            hostname: spec.hostname.clone(),
            directories: spec.directories.clone(),
            places: spec.places.clone(),
            side_directory: format!("dev/{}", store.layout().options().side_directory),
            side_files: spec
                .side_files
                .iter()
                .map(|file| SideBoot {
                    name: file.name.clone(),
                    unless: file.unless.clone(),
                    over: file.over.clone(),
                })
                .collect(),
            network: spec.network,
            max_processes: spec.limits.processes.unwrap_or(spec.max_processes),
            max_layer_bytes: spec.max_layer_bytes,
            group_doors: doors.len(),
            groups: !store.id_map().single(),
            old_mount: store.layout().old_mount(),
            probe_upper,
        }));
        let contents: Vec<_> = spec
            .side_files
            .iter()
            .map(|file| file.content.0.as_fd())
            .chain(doors.iter().map(AsFd::as_fd))
            .collect();
        let (
            init,
            SetUp {
                side_files,
                listener,
            },
        ) = InitProcess::start_with(store.layout(), &boot, &contents)?;
        drop(doors);
        // Limits that the caller did not request may be missing.
        if spec.limits != Limits::default() && !group.is_entered() {
            return Err(Error::Invalid(
                "limits: the kernel does not let the sandbox into its control group".into(),
            ));
        }
        if matches!(spec.network, Network::Listener { .. }) != listener.is_some() {
            return Err(Error::Gone);
        }
        let side_files = side_files
            .into_iter()
            .filter_map(|index| spec.side_files.get(index))
            .map(|file| file.name.clone())
            .collect();
        store.layout().set_upper_probed();
        let shared = Arc::new(Shared {
            init,
            state: Mutex::default(),
        });
        let (end, ended) = mpsc::channel();
        let reader = std::thread::Builder::new()
            .name("contree-sandbox".into())
            .spawn({
                let shared = shared.clone();
                move || {
                    shared.read();
                    drop(end);
                }
            })
            .doing("start a thread")?;
        Ok(Self {
            store: store.clone(),
            max_layer_bytes: spec.max_layer_bytes,
            shared,
            reader: Some(reader),
            side_files,
            listener: Mutex::new(listener.map(TcpListener::from)),
            ended: Mutex::new(ended),
            group,
        })
    }

    /// The non-blocking socket that listens on the sandbox's loopback interface, with
    /// [`Network::Listener`]. Only the first call returns it. The kernel keeps the sandbox's
    /// network until the socket and every connection accepted on it are closed.
    #[must_use]
    pub fn take_listener(&self) -> Option<TcpListener> {
        self.listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The memory limit in bytes, if the kernel has killed a process of the sandbox for reaching
    /// it.
    #[must_use]
    pub fn killed_for_memory(&self) -> Option<u64> {
        self.group.killed_for_memory()
    }

    /// The names of the side files that exist in the sandbox.
    #[must_use]
    pub fn side_files(&self) -> &[String] {
        &self.side_files
    }

    /// Starts a command.
    ///
    /// # Errors
    /// [`Error::Exec`] with the failed step if the command cannot be started.
    pub fn exec(&self, command: &Command) -> Result<Process, Error> {
        check_user(self.store.layout(), command.uid, command.gid)?;
        let description = payload::write(command)?;
        let (id, answer) = self.ask("start the command", |id| {
            (Pid1Request::Exec { id }, Some(description.as_fd()))
        })?;
        match answer {
            Answer::Started { pid, ends, exit } => {
                let [stdin, stdout, stderr] = ends;
                Ok(Process {
                    id,
                    pid,
                    stdin,
                    stdout,
                    stderr,
                    exit,
                })
            }
            Answer::NotStarted { step, errno } => Err(Error::Exec {
                step,
                errno,
                program: command.program.clone(),
            }),
            Answer::Done { .. } => Err(Error::Gone),
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
        match self.ask("send the signal", request)?.1 {
            Answer::Done { errno: 0 } => Ok(()),
            Answer::Done { errno: libc::ESRCH } => Err(Error::NoProcess(process)),
            Answer::Done { errno } => {
                let error = std::io::Error::from_raw_os_error(errno);
                Ok(Err::<(), _>(error).doing(&format!("send signal {signal} to a command"))?)
            }
            _ => Err(Error::Gone),
        }
    }

    /// Kills everything inside except the init, and waits until it has ended.
    ///
    /// # Errors
    /// When the sandbox is gone, or does not answer in time and is killed.
    pub fn kill_all(&self) -> Result<(), Error> {
        self.ask("end its commands", |request| {
            (Pid1Request::KillAll { request }, None)
        })
        .map(drop)
    }

    /// Ends the sandbox. On return none of its processes and mounts exist. With `inspect`, the
    /// upper directory is compared with the image.
    ///
    /// # Errors
    /// - [`Error::LayerTooLarge`] if the sandbox exceeded the limit of its writable layer.
    /// - [`Error::Gone`] if it had died before.
    /// - [`Error::TimedOut`] if it does not end in time; it is then killed.
    pub fn finish(self, inspect: bool) -> Result<Finished, Error> {
        // If this cannot be sent, the reader thread sees the end of the connection anyway.
        let _ = wire::send(self.shared.init.socket(), &Pid1Request::Finish, &[]);
        let ended = self
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv_timeout(END);
        if ended == Err(RecvTimeoutError::Timeout) {
            self.hard_kill();
            return Err(Error::TimedOut("end"));
        }
        let usage = {
            let mut state = self.shared.state();
            if let (Some(bytes), Some(limit)) = (state.over, self.max_layer_bytes) {
                return Err(Error::LayerTooLarge { bytes, limit });
            }
            match state.usage.take() {
                Some(usage) if state.tree_gone => usage,
                _ => return Err(Error::Gone),
            }
        };
        let mut finished = Finished {
            usage,
            ..Finished::default()
        };
        if inspect {
            let (reason, bytes) = self.inspect()?;
            finished.changed = Some(reason.is_some());
            finished.reason = reason;
            finished.upper_bytes = bytes;
            if let Some(limit) = self.max_layer_bytes
                && bytes > limit
            {
                return Err(Error::LayerTooLarge { bytes, limit });
            }
        }
        Ok(finished)
    }

    fn inspect(&self) -> Result<(Option<String>, u64), Error> {
        let init = &self.shared.init;
        wire::send(init.socket(), &FirstStageRequest::Inspect, &[])?;
        match init.receive(Instant::now() + INSPECT) {
            Ok((Reply::Inspected { reason, bytes }, _)) => Ok((reason, bytes)),
            Ok((Reply::Failed(failure), _)) => Err(explain(self.store.layout(), failure)),
            Err(WireError::TimedOut) => {
                Err(Error::TimedOut("compare what it wrote with the image"))
            }
            _ => Err(Error::Gone),
        }
    }

    /// Kills the sandbox without waiting for its end.
    pub fn hard_kill(&self) {
        self.shared.init.kill();
    }

    /// Sends a request with a new number and waits for its answer.
    fn ask<'a>(
        &self,
        what: &'static str,
        message: impl FnOnce(u32) -> (Pid1Request, Option<std::os::fd::BorrowedFd<'a>>),
    ) -> Result<(u32, Answer), Error> {
        let (sender, receiver) = mpsc::channel();
        let id = {
            let mut state = self.shared.state();
            if state.closed {
                return Err(Error::Gone);
            }
            state.next += 1;
            let id = state.next;
            state.waiting.insert(id, sender);
            id
        };
        let (request, file) = message(id);
        let files: Vec<_> = file.into_iter().collect();
        if let Err(error) = wire::send(self.shared.init.socket(), &request, &files) {
            self.shared.state().waiting.remove(&id);
            return Err(match error {
                WireError::Closed => Error::Gone,
                other => other.into(),
            });
        }
        match receiver.recv_timeout(ANSWER) {
            Ok(answer) => Ok((id, answer)),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Gone),
            Err(RecvTimeoutError::Timeout) => {
                self.hard_kill();
                Err(Error::TimedOut(what))
            }
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Pid 1 exits when its connection ends, and the first stage when the process tree is gone.
        // A process that does not exit in time is killed.
        let _ = shutdown(self.shared.init.socket(), Shutdown::Both);
        if !self.shared.init.wait(Instant::now() + END) {
            self.shared.init.kill();
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Distributes the init's messages until the process tree is gone.
    fn read(&self) {
        while let Ok((reply, files)) = wire::receive(self.init.socket(), None) {
            if !self.take(reply, files) {
                break;
            }
        }
        let mut state = self.state();
        state.closed = true;
        state.waiting.clear();
        state.exits.clear();
    }

    fn take(&self, reply: Reply, files: Vec<OwnedFd>) -> bool {
        let mut state = self.state();
        let (id, answer) = match reply {
            Reply::Started { id, pid } => {
                let Ok(ends) = wire::exactly(files) else {
                    return false;
                };
                let (sender, exit) = oneshot::channel();
                state.exits.insert(id, sender);
                (id, Answer::Started { pid, ends, exit })
            }
            Reply::NotStarted { id, step, errno } => (id, Answer::NotStarted { step, errno }),
            Reply::Done { request, errno } => (request, Answer::Done { errno }),
            Reply::Exited { id, exit } => {
                if let Some(sender) = state.exits.remove(&id) {
                    // The caller may have dropped the receiver.
                    let _ = sender.send(exit);
                }
                return true;
            }
            Reply::Over { usage } => {
                state.usage = Some(usage);
                return true;
            }
            Reply::TreeGone { over } => {
                state.tree_gone = true;
                state.over = over;
                return false;
            }
            _ => return false,
        };
        if let Some(sender) = state.waiting.remove(&id) {
            let _ = sender.send(answer);
        }
        true
    }
}
