//! A running sandbox and its processes: the main process, and subprocesses that clients start.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use contree_sandbox::{Command, Exit, Process, Sandbox, TerminalProcess};
use tokio::sync::{RwLock, oneshot};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::api::report::{event_resources, millis, spawn_event};
use crate::api::request::SpawnRequest;
use crate::api::types::{EventDataExit, EventDataTruncatedStream, OperationEventType};
use crate::blocking::blocking;
use crate::egress::{NetworkAccess, NetworkVariables};
use crate::error::ApiError;
use crate::limits;
use crate::operation::events::EventLog;
use crate::ports::{Publisher, SandboxPorts};
use crate::rows::images::Image;
use crate::run::hints;
use crate::run::streams::{InputSink, ProcessInput, record_output, record_terminal};
use crate::run::terminal::{ProcessTerminal, TerminalView};

/// The `spid` of the main process in events.
pub(crate) const MAIN: u64 = 1;

/// How long the engine reads the remaining output of killed processes.
const KILLED_OUTPUT_WAIT: Duration = Duration::from_secs(5);

/// How long the exit event of a subprocess waits for its remaining output. Processes that the
/// subprocess started may keep its streams open for long.
const EXITED_OUTPUT_WAIT: Duration = Duration::from_secs(1);

/// The value of `TERM` for a terminal whose request sets none. Most terminals understand it.
const DEFAULT_TERMINAL: &str = "xterm-256color";

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
    live: HashMap<u64, LiveProcess>,
}

/// A running process.
#[derive(Clone)]
struct LiveProcess {
    /// Its number in the sandbox crate.
    id: u32,
    input: Arc<ProcessInput>,
    terminal: Option<Arc<ProcessTerminal>>,
}

/// The streams of a started process.
enum ProcessStreams {
    Pipes(Process),
    Terminal(TerminalProcess),
}

/// A started process with the tasks that serve its streams.
pub(crate) struct StartedProcess {
    spid: u64,
    pub(crate) pid: i32,
    started_at: Instant,
    input: Arc<ProcessInput>,
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
            timed_out: AtomicBool::new(false),
            processes: Mutex::new(Processes {
                next: MAIN + 1,
                starting: 0,
                live: HashMap::new(),
            }),
            tasks: TaskTracker::new(),
        })
    }

    /// Starts the main process.
    pub(crate) async fn start_main(
        &self,
        request: &SpawnRequest,
    ) -> Result<StartedProcess, ApiError> {
        self.launch(MAIN, request).await
    }

    /// Starts a subprocess and returns its `spid`. The engine follows it until it ends, even if the
    /// client goes away.
    pub(crate) async fn start(self: &Arc<Self>, request: SpawnRequest) -> Result<u64, ApiError> {
        let starting = StartingProcess::new(self)?;
        let spid = starting.spid;
        let running_sandbox = Arc::clone(self);
        // In a task of its own, because the process needs a reader of its output even if the client
        // goes away.
        let started = self.tasks.spawn(async move {
            let process = running_sandbox.launch(spid, &request).await;
            drop(starting);
            let process = process?;
            let following = Arc::clone(&running_sandbox);
            running_sandbox
                .tasks
                .spawn(async move { following.follow(process).await });
            Ok(())
        });
        started
            .await
            .map_err(|error| ApiError::internal(format!("a task of the engine failed: {error}")))?
            .map(|()| spid)
    }

    async fn launch(&self, spid: u64, request: &SpawnRequest) -> Result<StartedProcess, ApiError> {
        let mut env = request.environment(&self.image);
        self.variables.add(&mut env, request);
        let terminal = request.terminal_size();
        if terminal.is_some() {
            env.entry("TERM".to_owned())
                .or_insert_with(|| DEFAULT_TERMINAL.to_owned());
        }
        let cwd = request.start_directory(&self.image);
        let (program, args) = request.program(&env);
        let command = Command {
            program: program.clone().into(),
            args: args.iter().map(Into::into).collect(),
            env: env
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            default_home: request.default_home(),
            cwd: PathBuf::from(&cwd),
            uid: request.uid,
            gid: request.gid,
        };
        let process = self
            .with_sandbox(move |sandbox| match terminal {
                None => sandbox.exec(&command).map(ProcessStreams::Pipes),
                Some(size) => sandbox
                    .exec_on_terminal(&command, size)
                    .map(ProcessStreams::Terminal),
            })
            .await?;
        let pid = match &process {
            ProcessStreams::Pipes(process) => process.pid,
            ProcessStreams::Terminal(process) => process.pid,
        };
        self.log.append(
            spid,
            OperationEventType::Spawn,
            spawn_event(request, pid, &program, &args, &cwd, self.timeout),
        );
        self.connect_streams(spid, process, request)
    }

    /// Starts the tasks that write the input and record the output of a process.
    fn connect_streams(
        &self,
        spid: u64,
        process: ProcessStreams,
        request: &SpawnRequest,
    ) -> Result<StartedProcess, ApiError> {
        let max_recorded = request.truncate_output_at;
        let input = Arc::new(ProcessInput::new(Arc::clone(&self.log), spid, max_recorded));
        input.begin(
            request.stdin_bytes().unwrap_or_default(),
            !request.keeps_stdin_open(),
        );
        let log = || Arc::clone(&self.log);
        let (id, pid, exit, sink, readers, terminal) = match process {
            ProcessStreams::Pipes(process) => {
                let readers = [
                    (process.stdout, EventDataTruncatedStream::Stdout),
                    (process.stderr, EventDataTruncatedStream::Stderr),
                ]
                .map(|(fd, name)| record_output(log(), spid, fd, name, max_recorded));
                let sink = InputSink::Pipe(process.stdin);
                let (id, pid, exit) = (process.id, process.pid, process.exit);
                (id, pid, exit, sink, Vec::from(readers), None)
            }
            ProcessStreams::Terminal(process) => {
                // An error drops the terminal, which hangs the process up.
                let terminal = ProcessTerminal::new(process.terminal)?;
                let shown = Arc::clone(&terminal);
                let readers = vec![record_terminal(log(), spid, shown, max_recorded)];
                let sink = InputSink::Terminal(Arc::clone(&terminal));
                let (id, pid, exit) = (process.id, process.pid, process.exit);
                (id, pid, exit, sink, readers, Some(terminal))
            }
        };
        let writer = {
            let input = Arc::clone(&input);
            tokio::spawn(async move { input.write_to(sink).await })
        };
        let live = LiveProcess {
            id,
            input: Arc::clone(&input),
            terminal,
        };
        self.processes().live.insert(spid, live);
        Ok(StartedProcess {
            spid,
            pid,
            started_at: Instant::now(),
            input,
            writer,
            readers,
            exit,
        })
    }

    /// Waits for the end of a subprocess and records it.
    async fn follow(&self, mut process: StartedProcess) {
        let exit = (&mut process.exit).await.ok();
        self.record_end(process, exit.as_ref(), EXITED_OUTPUT_WAIT, async {})
            .await;
    }

    /// Records the end of the main process, after all processes in the sandbox were killed.
    /// `diagnostics` may append to its output.
    pub(crate) async fn record_main_end(
        &self,
        process: StartedProcess,
        exit: Option<&Exit>,
        diagnostics: impl Future<Output = ()>,
    ) {
        self.record_end(process, exit, KILLED_OUTPUT_WAIT, diagnostics)
            .await;
    }

    /// Records the end of a process. A process without an exit ended together with its sandbox.
    async fn record_end(
        &self,
        process: StartedProcess,
        exit: Option<&Exit>,
        output_wait: Duration,
        diagnostics: impl Future<Output = ()>,
    ) {
        let StartedProcess {
            spid,
            pid,
            started_at,
            input,
            writer,
            readers,
            ..
        } = process;
        let elapsed = started_at.elapsed();
        self.processes().live.remove(&spid);
        writer.abort();
        let _ = writer.await;
        input.end();
        let deadline = tokio::time::Instant::now() + output_wait;
        for mut reader in readers {
            if tokio::time::timeout_at(deadline, &mut reader)
                .await
                .is_err()
            {
                if spid == MAIN {
                    reader.abort();
                    let _ = reader.await;
                } else {
                    // Processes that the subprocess started may still write, and must not block.
                    self.tasks.spawn(reader);
                }
            }
        }
        diagnostics.await;
        let killed = Exit {
            code: None,
            signal: Some(9),
            core_dump: false,
            usage: contree_sandbox::Usage::default(),
        };
        // The operation's ending reports a main process that ended with its sandbox.
        if spid == MAIN && exit.is_none() {
            return;
        }
        let exit = exit.unwrap_or(&killed);
        self.log.append(
            spid,
            OperationEventType::Exit,
            EventDataExit {
                pid: pid.into(),
                code: exit.code.unwrap_or(-1).into(),
                signal: exit.signal.unwrap_or(-1).into(),
                core_dump: Some(exit.core_dump),
                timed_out: self.timed_out.load(Ordering::Acquire),
                duration_ms: millis(elapsed),
                resources: event_resources(&exit.usage),
            },
        );
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
        self.live_process(spid)?.terminal.ok_or_else(|| {
            ApiError::new(
                StatusCode::CONFLICT,
                format!("process {spid} has no terminal: start it with `x-terminal`"),
            )
        })
    }

    /// Returns whether the sandbox is closed: its main process has ended, and further calls fail.
    pub(crate) async fn is_closed(&self) -> bool {
        self.sandbox.read().await.is_none()
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

    fn live_process(&self, spid: u64) -> Result<LiveProcess, ApiError> {
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

/// 409: the sandbox is closed.
pub(crate) fn main_process_ended() -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "the main process has ended, and the sandbox with it",
    )
}

fn no_process(spid: u64) -> ApiError {
    ApiError::missing(format!(
        "no process {spid} runs in this sandbox: it was never started, or has ended"
    ))
}

/// The answer to an error of the sandbox: 400, 404 or 409 if the request caused it.
fn sandbox_error(error: contree_sandbox::Error) -> ApiError {
    use contree_sandbox::Error;
    match &error {
        Error::Exec {
            step, error: cause, ..
        } => ApiError::bad(match hints::of_start(*step, cause) {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        }),
        Error::Invalid(_) => ApiError::bad(error.to_string()),
        Error::NoProcess(_) => ApiError::missing(error.to_string()),
        Error::Gone => main_process_ended(),
        Error::TimedOut(_) => ApiError::new(StatusCode::GATEWAY_TIMEOUT, error.to_string()),
        _ => error.into(),
    }
}

/// A reserved place for a process that is being started. It counts as a running process.
struct StartingProcess {
    spid: u64,
    running_sandbox: Arc<RunningSandbox>,
}

impl StartingProcess {
    fn new(running_sandbox: &Arc<RunningSandbox>) -> Result<Self, ApiError> {
        let mut processes = running_sandbox.processes();
        if processes.starting + processes.live.len() > limits::MAX_SUBPROCESSES {
            return Err(ApiError::too_many(
                format!(
                    "{} subprocesses run in this sandbox, which is the limit; try again when one has ended",
                    limits::MAX_SUBPROCESSES
                ),
                1,
            ));
        }
        let spid = processes.next;
        if spid > MAIN + limits::MAX_SUBPROCESSES_STARTED {
            return Err(ApiError::new(
                StatusCode::CONFLICT,
                format!(
                    "{} subprocesses were started in this sandbox, which is the limit",
                    limits::MAX_SUBPROCESSES_STARTED
                ),
            ));
        }
        processes.next += 1;
        processes.starting += 1;
        drop(processes);
        Ok(Self {
            spid,
            running_sandbox: Arc::clone(running_sandbox),
        })
    }
}

impl Drop for StartingProcess {
    fn drop(&mut self) {
        self.running_sandbox.processes().starting -= 1;
    }
}
