//! A running sandbox and its processes: the main process, and subprocesses that clients start.

mod ending;
mod errors;
mod launch;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use contree_error_codes::ErrorCode;
use contree_sandbox::{Exit, Sandbox, SandboxUse};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, oneshot};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::api::types::LiveProcess;
use crate::blocking::blocking;
use crate::egress::{NetworkAccess, NetworkVariables};
use crate::error::ApiError;
use crate::operation::events::EventLog;
use crate::ports::{Publisher, SandboxPorts};
use crate::rows::images::Image;
use crate::run::live_output::LiveOutput;
use crate::run::streams::ProcessInput;
use crate::run::terminal::{ProcessTerminal, TerminalView};

pub(crate) use errors::main_process_ended;
use errors::no_process;
pub(super) use errors::sandbox_error;

/// The `spid` of the main process in events.
pub(crate) const MAIN: u64 = 1;

/// How long the engine reads the remaining output of killed processes.
const KILLED_OUTPUT_WAIT: Duration = Duration::from_secs(5);

/// The settings that images of a run have.
pub(crate) struct ResultSettings {
    pub(crate) command: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: String,
    /// The layers of the image that the run started on.
    pub(crate) layers: usize,
}

/// A running sandbox.
pub(crate) struct RunningSandbox {
    /// `None` once the sandbox is closed. A call into the sandbox holds the read lock.
    sandbox: Arc<RwLock<Option<Sandbox>>>,
    log: Arc<EventLog>,
    /// The image, whose environment and working directory are the defaults of processes.
    image: Image,
    /// Seconds until all processes are killed.
    timeout: u64,
    /// Environment variables about the network, such as the proxy's address.
    variables: NetworkVariables,
    /// The settings that images of this run have.
    pub(super) result: ResultSettings,
    /// The published ports.
    pub(crate) ports: SandboxPorts,
    timed_out: AtomicBool,
    processes: Mutex<Processes>,
    /// The tasks that start and follow subprocesses.
    tasks: TaskTracker,
}

/// The processes of a sandbox.
struct Processes {
    /// The `spid` of the next subprocess.
    next: u64,
    /// The number of processes that are being started.
    starting: usize,
    live: HashMap<u64, RunningProcess>,
    /// The processes that ended last.
    ended: VecDeque<EndedProcess>,
}

/// A process that has ended, whose output can still be read.
struct EndedProcess {
    spid: u64,
    output: Arc<LiveOutput>,
    /// A client that asks for it late still gets its kept output.
    terminal: Option<Arc<ProcessTerminal>>,
}

impl Processes {
    fn ended(&self, spid: u64) -> Option<&EndedProcess> {
        self.ended.iter().find(|ended| ended.spid == spid)
    }
}

/// A running process.
#[derive(Clone)]
struct RunningProcess {
    /// Its number in the sandbox crate.
    id: u32,
    pid: i32,
    command: Arc<str>,
    started_at: Instant,
    input: Arc<ProcessInput>,
    output: Arc<LiveOutput>,
    terminal: Option<Arc<ProcessTerminal>>,
}

/// A started process with the tasks that serve its streams.
pub(crate) struct StartedProcess {
    spid: u64,
    pub(crate) pid: i32,
    started_at: Instant,
    input: Arc<ProcessInput>,
    output: Arc<LiveOutput>,
    /// The task that writes its input.
    writer: JoinHandle<()>,
    /// The tasks that read its output streams.
    readers: Vec<JoinHandle<()>>,
    pub(crate) exit: oneshot::Receiver<Exit>,
}

impl RunningSandbox {
    pub(crate) fn new(
        sandbox: Sandbox,
        log: Arc<EventLog>,
        image: Image,
        timeout: u64,
        variables: NetworkVariables,
        result: ResultSettings,
        (publisher, access): (Arc<Publisher>, NetworkAccess),
    ) -> Arc<Self> {
        let sandbox = Arc::new(RwLock::new(Some(sandbox)));
        Arc::new(Self {
            ports: SandboxPorts::new(publisher, access, Arc::clone(&sandbox), Arc::clone(&log)),
            sandbox,
            log,
            image,
            timeout,
            variables,
            result,
            timed_out: AtomicBool::new(false),
            processes: Mutex::new(Processes {
                next: MAIN + 1,
                starting: 0,
                live: HashMap::new(),
                ended: VecDeque::new(),
            }),
            tasks: TaskTracker::new(),
        })
    }

    /// The newest output of a process that runs, or that has ended a short time ago.
    pub(crate) fn output(&self, spid: u64) -> Option<Arc<LiveOutput>> {
        let processes = self.processes();
        let live = processes.live.get(&spid).map(|process| &process.output);
        let found = live.or_else(|| Some(&processes.ended(spid)?.output));
        found.map(Arc::clone)
    }

    /// The running processes, ordered by `spid`.
    pub(crate) fn live_processes(&self) -> Vec<LiveProcess> {
        let processes = self.processes();
        let mut live: Vec<LiveProcess> = processes
            .live
            .iter()
            .map(|(spid, process)| LiveProcess {
                spid: *spid,
                pid: process.pid.into(),
                command: process.command.to_string(),
                seconds: process.started_at.elapsed().as_secs_f64(),
            })
            .collect();
        live.sort_by_key(|process| process.spid);
        live
    }

    /// The resources that the sandbox uses. `None` while it ends, or while a snapshot is taken.
    /// Blocks briefly.
    pub(crate) fn resource_use(&self) -> Option<SandboxUse> {
        let sandbox = self.sandbox.try_read().ok()?;
        sandbox.as_ref().map(Sandbox::resource_use)
    }

    /// The image on which it started.
    pub(super) fn image(&self) -> &Image {
        &self.image
    }

    /// Waits for the calls into the sandbox to finish, and holds off further ones and its end.
    pub(super) async fn exclusive(&self) -> OwnedRwLockWriteGuard<Option<Sandbox>> {
        Arc::clone(&self.sandbox).write_owned().await
    }

    /// Sends a signal to the process group of a process.
    pub(crate) async fn signal(&self, spid: u64, signal: i32) -> Result<(), ApiError> {
        let id = self.live_process(spid)?.id;
        self.with_sandbox(move |sandbox| sandbox.signal(id, signal))
            .await
            .map_err(|error| {
                if error.is_missing() {
                    no_process(spid)
                } else {
                    error
                }
            })
    }

    /// Writes to a process's standard input, and closes it if `close` is set. Waits while the
    /// process does not read.
    pub(crate) async fn write(
        &self,
        spid: u64,
        bytes: Vec<u8>,
        close: bool,
    ) -> Result<(), ApiError> {
        let input = self.live_process(spid)?.input;
        input.push(bytes, close).await
    }

    /// Shows the terminal of a process. 409 if it has none.
    pub(crate) fn view_terminal(&self, spid: u64) -> Result<TerminalView, ApiError> {
        Ok(self.terminal(spid)?.view())
    }

    /// Changes the size of a process's terminal. 409 if it has none.
    pub(crate) fn resize_terminal(
        &self,
        spid: u64,
        size: contree_sandbox::TerminalSize,
    ) -> Result<(), ApiError> {
        Ok(self.terminal(spid)?.resize(size)?)
    }

    fn terminal(&self, spid: u64) -> Result<Arc<ProcessTerminal>, ApiError> {
        let terminal = {
            let processes = self.processes();
            let live = processes.live.get(&spid).map(|process| &process.terminal);
            let found = live.or_else(|| Some(&processes.ended(spid)?.terminal));
            found.ok_or_else(|| no_process(spid))?.clone()
        };
        terminal.ok_or_else(|| {
            ApiError::new(
                StatusCode::CONFLICT,
                ErrorCode::InvalidArgument,
                format!("process {spid} has no terminal: start it with `x-terminal`"),
            )
        })
    }

    /// Returns whether the sandbox is closed: its main process has ended, and further calls fail.
    ///
    /// It does not wait: during a snapshot, which may take minutes, the sandbox is not closed.
    pub(crate) fn is_closed(&self) -> bool {
        let sandbox = self.sandbox.try_read();
        sandbox.is_ok_and(|sandbox| sandbox.is_none())
    }

    /// Returns whether the run's time is up. Its processes are killed as soon as no call into the
    /// sandbox is in progress.
    pub(super) fn has_timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Acquire)
    }

    /// Closes the sandbox and returns it. Calls in progress finish first; later ones fail.
    pub(crate) async fn close(&self, timed_out: bool) -> Option<Sandbox> {
        self.timed_out.store(timed_out, Ordering::Release);
        self.sandbox.write().await.take()
    }

    /// Waits until the end of every subprocess is recorded, after all processes in the sandbox were
    /// killed.
    pub(crate) async fn wait_for_subprocesses(&self) {
        self.tasks.close();
        if tokio::time::timeout(KILLED_OUTPUT_WAIT, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("the streams of killed processes did not end in time");
        }
    }

    /// Calls into the sandbox, on a thread that may block. 409 if the sandbox is closed.
    async fn with_sandbox<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Sandbox) -> Result<T, contree_sandbox::Error> + Send + 'static,
    ) -> Result<T, ApiError> {
        let sandbox = Arc::clone(&self.sandbox).read_owned().await;
        blocking(move || match &*sandbox {
            Some(sandbox) => call(sandbox).map_err(sandbox_error),
            None => Err(main_process_ended()),
        })
        .await
    }

    fn live_process(&self, spid: u64) -> Result<RunningProcess, ApiError> {
        self.processes()
            .live
            .get(&spid)
            .cloned()
            .ok_or_else(|| no_process(spid))
    }

    fn processes(&self) -> MutexGuard<'_, Processes> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
