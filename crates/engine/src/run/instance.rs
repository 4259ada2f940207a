//! A sandbox that is up, and the processes in it: the main one, and those that clients start beside it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use contree_sandbox::{Command, Exit, Process, Sandbox};
use tokio::sync::{RwLock, oneshot};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::api::report::{event_resources, millis, spawn_event};
use crate::api::request::SpawnRequest;
use crate::api::types::{EventDataExit, EventDataTruncatedStream, OperationEventType};
use crate::blocking::blocking;
use crate::egress::NetworkVariables;
use crate::error::ApiError;
use crate::limits;
use crate::operation::events::EventLog;
use crate::rows::images::Image;
use crate::run::streams::{ProcessInput, record};

/// The main process, as the events' `spid`.
pub(crate) const MAIN: u64 = 1;

/// How long what a killed process has written may take to be read.
const GRACE: Duration = Duration::from_secs(5);

/// How long the output of a process that ended by itself is waited for. What it started may hold its streams open for long.
const REST: Duration = Duration::from_secs(1);

/// A sandbox that is up.
pub(crate) struct Instance {
    /// Taken out when the instance is over; held for reading while something is asked of it.
    sandbox: Arc<RwLock<Option<Sandbox>>>,
    log: Arc<EventLog>,
    /// What processes start with.
    image: Image,
    /// Seconds until all of it is killed.
    timeout: u64,
    /// What they are told of the network.
    variables: NetworkVariables,
    timed_out: AtomicBool,
    processes: Mutex<Processes>,
    attended: TaskTracker,
}

struct Processes {
    /// The number of the next one.
    next: u64,
    /// How many are being started.
    starting: usize,
    live: HashMap<u64, LiveProcess>,
}

/// A process that runs.
#[derive(Clone)]
struct LiveProcess {
    /// Its number in the sandbox crate.
    id: u32,
    input: Arc<ProcessInput>,
}

/// A process and all that is kept of it.
pub(crate) struct AttendedProcess {
    spid: u64,
    pub(crate) pid: i32,
    begun: Instant,
    input: Arc<ProcessInput>,
    /// Writes its input, and reads its two output streams.
    feeder: JoinHandle<()>,
    readers: [JoinHandle<()>; 2],
    pub(crate) exit: oneshot::Receiver<Exit>,
}

impl Instance {
    pub(crate) fn new(
        sandbox: Sandbox,
        log: Arc<EventLog>,
        image: Image,
        timeout: u64,
        variables: NetworkVariables,
    ) -> Arc<Self> {
        Arc::new(Self {
            sandbox: Arc::new(RwLock::new(Some(sandbox))),
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
            attended: TaskTracker::new(),
        })
    }

    /// Starts the main process.
    pub(crate) async fn start_main(
        &self,
        request: &SpawnRequest,
    ) -> Result<AttendedProcess, ApiError> {
        self.launch(MAIN, request).await
    }

    /// Starts a further process, and gives its number. It is attended to until it ends, whoever asked for it.
    pub(crate) async fn start(self: &Arc<Self>, request: SpawnRequest) -> Result<u64, ApiError> {
        let starting = Starting::new(self)?;
        let spid = starting.spid;
        let instance = Arc::clone(self);
        // On its own, since a client that goes away must not leave a process without anybody who reads its output.
        let started = self.attended.spawn(async move {
            let attended = instance.launch(spid, &request).await;
            drop(starting);
            let attended = attended?;
            let attending = Arc::clone(&instance);
            instance
                .attended
                .spawn(async move { attending.attend(attended).await });
            Ok(())
        });
        started
            .await
            .map_err(|error| ApiError::internal(format!("the engine's worker failed: {error}")))?
            .map(|()| spid)
    }

    async fn launch(&self, spid: u64, request: &SpawnRequest) -> Result<AttendedProcess, ApiError> {
        let mut env = request.environment(&self.image);
        self.variables.add(&mut env, request);
        let cwd = request.start_directory(&self.image);
        let (program, args) = request.program(&env);
        let command = Command {
            program: program.clone().into(),
            args: args.iter().map(Into::into).collect(),
            env: env
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            cwd: PathBuf::from(&cwd),
            uid: request.uid,
            gid: request.gid,
        };
        let process = self.ask(move |sandbox| sandbox.exec(&command)).await?;
        self.log.append(
            spid,
            OperationEventType::Spawn,
            spawn_event(request, &process, &program, &args, &cwd, self.timeout),
        );
        Ok(self.take(spid, process, request))
    }

    fn take(&self, spid: u64, process: Process, request: &SpawnRequest) -> AttendedProcess {
        let cap = request.truncate_output_at;
        let input = Arc::new(ProcessInput::new(Arc::clone(&self.log), spid, cap));
        input.begin(
            request.stdin_bytes().unwrap_or_default(),
            !request.keeps_stdin(),
        );
        let feeder = {
            let input = Arc::clone(&input);
            tokio::spawn(async move { input.deliver(process.stdin).await })
        };
        let readers = [
            (process.stdout, EventDataTruncatedStream::Stdout),
            (process.stderr, EventDataTruncatedStream::Stderr),
        ]
        .map(|(fd, name)| record(Arc::clone(&self.log), spid, fd, name, cap));
        let live = LiveProcess {
            id: process.id,
            input: Arc::clone(&input),
        };
        self.processes().live.insert(spid, live);
        AttendedProcess {
            spid,
            pid: process.pid,
            begun: Instant::now(),
            input,
            feeder,
            readers,
            exit: process.exit,
        }
    }

    /// Waits for the end of a further process and records it.
    async fn attend(&self, mut attended: AttendedProcess) {
        let exit = (&mut attended.exit).await.ok();
        self.conclude(attended, exit.as_ref(), REST, async {}).await;
    }

    /// Records the end of the main process, after all in the sandbox was killed. `last_words` may add to its output.
    pub(crate) async fn conclude_main(
        &self,
        attended: AttendedProcess,
        exit: Option<&Exit>,
        last_words: impl Future<Output = ()>,
    ) {
        self.conclude(attended, exit, GRACE, last_words).await;
    }

    /// Records the end of a process. One without an exit went down with its sandbox.
    async fn conclude(
        &self,
        attended: AttendedProcess,
        exit: Option<&Exit>,
        rest: Duration,
        last_words: impl Future<Output = ()>,
    ) {
        let AttendedProcess {
            spid,
            pid,
            begun,
            input,
            feeder,
            readers,
            ..
        } = attended;
        let elapsed = begun.elapsed();
        self.processes().live.remove(&spid);
        feeder.abort();
        let _ = feeder.await;
        input.end();
        let until = tokio::time::Instant::now() + rest;
        for mut reader in readers {
            if tokio::time::timeout_at(until, &mut reader).await.is_err() {
                if spid == MAIN {
                    reader.abort();
                    let _ = reader.await;
                } else {
                    // What it started goes on writing, and must not be held up.
                    self.attended.spawn(reader);
                }
            }
        }
        last_words.await;
        let killed = Exit {
            code: None,
            signal: Some(9),
            core_dump: false,
            usage: contree_sandbox::Usage::default(),
        };
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
        let id = self.live(spid)?.id;
        self.ask(move |sandbox| sandbox.signal(id, signal))
            .await
            .map_err(|error| {
                if error.is_missing() {
                    no_process(spid)
                } else {
                    error
                }
            })
    }

    /// Writes to a process's standard input, and closes it if asked. Waits while it does not read.
    pub(crate) async fn write(
        &self,
        spid: u64,
        bytes: Vec<u8>,
        close: bool,
    ) -> Result<(), ApiError> {
        let input = self.live(spid)?.input;
        input.push(bytes, close).await
    }

    /// Whether it is over: its main process has ended, and nothing can be asked of it any more.
    pub(crate) async fn is_over(&self) -> bool {
        self.sandbox.read().await.is_none()
    }

    /// Ends the instance for everybody else: what is being asked of it is answered first, nothing after that is.
    pub(crate) async fn close(&self, timed_out: bool) -> Option<Sandbox> {
        self.timed_out.store(timed_out, Ordering::Release);
        self.sandbox.write().await.take()
    }

    /// Waits until the end of every further process is recorded, after all in the sandbox was killed.
    pub(crate) async fn rest(&self) {
        self.attended.close();
        if tokio::time::timeout(GRACE, self.attended.wait())
            .await
            .is_err()
        {
            tracing::warn!("the streams of killed processes did not end in time");
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Sandbox) -> Result<T, contree_sandbox::Error> + Send + 'static,
    ) -> Result<T, ApiError> {
        let sandbox = Arc::clone(&self.sandbox).read_owned().await;
        blocking(move || match &*sandbox {
            Some(sandbox) => question(sandbox).map_err(refusal),
            None => Err(over()),
        })
        .await
    }

    fn live(&self, spid: u64) -> Result<LiveProcess, ApiError> {
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

/// 409: nothing can be asked of an instance that is over.
pub(crate) fn over() -> ApiError {
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

/// What a sandbox refuses on account of the request is the client's to mend.
fn refusal(error: contree_sandbox::Error) -> ApiError {
    use contree_sandbox::Error;
    match &error {
        Error::Exec { .. } | Error::Invalid(_) => ApiError::bad(error.to_string()),
        Error::NoProcess(_) => ApiError::missing(error.to_string()),
        Error::Gone => over(),
        Error::TimedOut(_) => ApiError::new(StatusCode::GATEWAY_TIMEOUT, error.to_string()),
        _ => error.into(),
    }
}

/// A process that is being started counts as one that runs.
struct Starting {
    spid: u64,
    instance: Arc<Instance>,
}

impl Starting {
    fn new(instance: &Arc<Instance>) -> Result<Self, ApiError> {
        let mut processes = instance.processes();
        if processes.starting + processes.live.len() > limits::SUBPROCESSES {
            return Err(ApiError::too_many(
                format!(
                    "{} processes run in this sandbox beside its main one, and no more may",
                    limits::SUBPROCESSES
                ),
                1,
            ));
        }
        let spid = processes.next;
        if spid > MAIN + limits::SUBPROCESSES_IN_ALL {
            return Err(ApiError::new(
                StatusCode::CONFLICT,
                format!(
                    "{} processes were started in this sandbox, and no more may be",
                    limits::SUBPROCESSES_IN_ALL
                ),
            ));
        }
        processes.next += 1;
        processes.starting += 1;
        drop(processes);
        Ok(Self {
            spid,
            instance: Arc::clone(instance),
        })
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.instance.processes().starting -= 1;
    }
}
