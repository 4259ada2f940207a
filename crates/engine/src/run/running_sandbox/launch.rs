//! Starting processes in a running sandbox.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use contree_error_codes::ErrorCode;
use contree_sandbox::{Command, Process, TerminalProcess};
use futures_util::FutureExt as _;

use super::{MAIN, RunningProcess, RunningSandbox, StartedProcess};
use crate::api::report::spawn_event;
use crate::api::request::SpawnRequest;
use crate::api::types::{EventDataTruncatedStream, OperationEventType};
use crate::error::ApiError;
use crate::limits;
use crate::run::live_output::LiveOutput;
use crate::run::streams::{InputSink, ProcessInput, record_output, record_terminal};
use crate::run::terminal::ProcessTerminal;

/// The value of `TERM` for a terminal whose request sets none. Most terminals understand it.
const DEFAULT_TERMINAL: &str = "xterm-256color";

/// The most characters of a command in the list of processes.
const SHOWN_COMMAND: usize = 200;

/// The streams of a started process.
enum ProcessStreams {
    Pipes(Process),
    Terminal(TerminalProcess),
}

impl RunningSandbox {
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
        let launching = async move {
            let process = running_sandbox.launch(spid, &request).await;
            drop(starting);
            let process = process?;
            let following = Arc::clone(&running_sandbox);
            let following = async move { following.follow(process).await };
            running_sandbox.tasks.spawn(following.boxed());
            Ok(())
        };
        let started = self.tasks.spawn(launching.boxed());
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
            contree_tasks::spawn(async move { input.write_to(sink).await })
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
}

/// The beginning of a command, for the list of processes.
fn shown_command(command: &str) -> Arc<str> {
    let shown: String = command.chars().take(SHOWN_COMMAND).collect();
    shown.into()
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
