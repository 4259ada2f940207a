//! A running sandbox and its processes: the main process, and subprocesses that clients start.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use contree_error_codes::ErrorCode;
use contree_sandbox::{Command, Exit, Process, Sandbox, SandboxUse, TerminalProcess};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, oneshot};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::api::report::{event_resources, millis, spawn_event};
use crate::api::request::SpawnRequest;
use crate::api::types::{EventDataExit, EventDataTruncatedStream, LiveProcess, OperationEventType};
use crate::blocking::blocking;
use crate::egress::{NetworkAccess, NetworkVariables};
use crate::error::ApiError;
use crate::limits;
use crate::operation::events::EventLog;
use crate::ports::{Publisher, SandboxPorts};
use crate::rows::images::Image;
use crate::run::hints;
use crate::run::live_output::{LiveOutput, ProcessEnd};
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

/// The number of ended subprocesses whose newest output is kept while the sandbox runs.
const KEPT_OUTPUTS: usize = 32;

/// The most characters of a command in the list of processes.
const SHOWN_COMMAND: usize = 200;

/// SIGKILL, with which the kernel ends a process to free memory.
const KILLED: i32 = 9;

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
        let output = LiveOutput::new();
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
                .map(|(fd, name)| {
                    let live = Arc::clone(&output);
                    record_output(log(), live, spid, fd, name, max_recorded)
                });
                let sink = InputSink::Pipe(process.stdin);
                let (id, pid, exit) = (process.id, process.pid, process.exit);
                (id, pid, exit, sink, Vec::from(readers), None)
            }
            ProcessStreams::Terminal(process) => {
                // An error drops the terminal, which hangs the process up.
                let terminal = ProcessTerminal::new(process.terminal)?;
                let shown = Arc::clone(&terminal);
                let live = Arc::clone(&output);
                let readers = vec![record_terminal(log(), live, spid, shown, max_recorded)];
                let sink = InputSink::Terminal(Arc::clone(&terminal));
                let (id, pid, exit) = (process.id, process.pid, process.exit);
                (id, pid, exit, sink, readers, Some(terminal))
            }
        };
        let writer = {
            let input = Arc::clone(&input);
            tokio::spawn(async move { input.write_to(sink).await })
        };
        let started_at = Instant::now();
        let live = RunningProcess {
            id,
            pid,
            command: shown_command(&request.command),
            started_at,
            input: Arc::clone(&input),
            output: Arc::clone(&output),
            terminal,
        };
        self.processes().live.insert(spid, live);
        Ok(StartedProcess {
            spid,
            pid,
            started_at,
            input,
            output,
            writer,
            readers,
            exit,
        })
    }

    /// Waits for the end of a subprocess and records it.
    async fn follow(&self, mut process: StartedProcess) {
        let exit = (&mut process.exit).await.ok();
        let was_killed = exit
            .as_ref()
            .is_some_and(|exit| exit.signal == Some(KILLED));
        let oom_killed = was_killed
            && self
                .with_sandbox(|sandbox| Ok(sandbox.killed_for_memory().is_some()))
                .await
                .unwrap_or(false);
        self.record_end(
            process,
            exit.as_ref(),
            oom_killed,
            EXITED_OUTPUT_WAIT,
            async {},
        )
        .await;
    }

    /// Records the end of the main process, after all processes in the sandbox were killed.
    /// `oom_killed` states that the kernel killed one of them for a memory limit. `diagnostics` may
    /// append to its output.
    pub(crate) async fn record_main_end(
        &self,
        process: StartedProcess,
        exit: Option<&Exit>,
        oom_killed: bool,
        diagnostics: impl Future<Output = ()>,
    ) {
        self.record_end(process, exit, oom_killed, KILLED_OUTPUT_WAIT, diagnostics)
            .await;
    }

    /// Records the end of a process. A process without an exit ended together with its sandbox.
    async fn record_end(
        &self,
        process: StartedProcess,
        exit: Option<&Exit>,
        oom_killed: bool,
        output_wait: Duration,
        diagnostics: impl Future<Output = ()>,
    ) {
        let StartedProcess {
            spid,
            pid,
            started_at,
            input,
            output,
            writer,
            readers,
            ..
        } = process;
        let elapsed = started_at.elapsed();
        self.keep_output(spid, &output);
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
            output.finish(ProcessEnd::default());
            return;
        }
        let exit = exit.unwrap_or(&killed);
        let end = ProcessEnd {
            code: exit.code.map(i64::from),
            signal: exit.signal.map(i64::from),
            oom_killed,
        };
        self.log.append(
            spid,
            OperationEventType::Exit,
            EventDataExit {
                pid: pid.into(),
                code: exit.code.unwrap_or(-1).into(),
                signal: exit.signal.unwrap_or(-1).into(),
                core_dump: Some(exit.core_dump),
                timed_out: self.timed_out.load(Ordering::Acquire),
                x_oom_killed: oom_killed.then_some(true),
                duration_ms: millis(elapsed),
                resources: event_resources(&exit.usage),
            },
        );
        // After its event, so that a client that sees the end finds it in the record.
        output.finish(end);
    }

    /// Moves a process from the running to the ended ones, whose output can still be read.
    fn keep_output(&self, spid: u64, output: &Arc<LiveOutput>) {
        let mut processes = self.processes();
        let process = processes.live.remove(&spid);
        // The main process is never removed.
        if processes.ended.len() == KEPT_OUTPUTS
            && let Some(oldest) = processes.ended.iter().position(|ended| ended.spid != MAIN)
        {
            processes.ended.remove(oldest);
        }
        processes.ended.push_back(EndedProcess {
            spid,
            output: Arc::clone(output),
            terminal: process.and_then(|process| process.terminal),
        });
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

/// 409: the sandbox is closed.
pub(crate) fn main_process_ended() -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        ErrorCode::OperationOver,
        "the main process has ended, and the sandbox with it",
    )
}

/// The beginning of a command, for the list of processes.
fn shown_command(command: &str) -> Arc<str> {
    let shown: String = command.chars().take(SHOWN_COMMAND).collect();
    shown.into()
}

fn no_process(spid: u64) -> ApiError {
    ApiError::missing(
        ErrorCode::ProcessNotFound,
        format!("no process {spid} runs in this sandbox: it was never started, or has ended"),
    )
}

/// The answer to an error of the sandbox: 400, 404 or 409 if the request caused it.
pub(super) fn sandbox_error(error: contree_sandbox::Error) -> ApiError {
    use contree_sandbox::Error;
    match &error {
        Error::Exec {
            step, error: cause, ..
        } => ApiError::bad(match hints::of_start(*step, cause) {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        })
        .with_code(ErrorCode::CommandNotStarted),
        Error::Invalid(_) => ApiError::bad(error.to_string()),
        Error::NoProcess(_) => ApiError::missing(ErrorCode::ProcessNotFound, error.to_string()),
        Error::Gone => main_process_ended(),
        Error::NotStill(_) | Error::Abandoned => ApiError::new(
            StatusCode::CONFLICT,
            ErrorCode::SnapshotNotPossible,
            error.to_string(),
        ),
        Error::TimedOut(_) => ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            ErrorCode::SandboxSilent,
            error.to_string(),
        ),
        _ => error.into(),
    }
}

/// A reservation for a process that is being started. It counts as a running process.
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
            )
            .with_code(ErrorCode::TooManyProcesses));
        }
        let spid = processes.next;
        if spid > MAIN + limits::MAX_SUBPROCESSES_STARTED {
            return Err(ApiError::new(
                StatusCode::CONFLICT,
                ErrorCode::TooManyProcesses,
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
