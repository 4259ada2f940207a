//! Runs one command: sandbox, streams, time-out, cancellation and commit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use contree_error_codes::ErrorCode;
use contree_sandbox::{
    Exit, FileCopy, LayerId, NewDirectory, PathChange, Sandbox, SandboxOutcome, SandboxSpec, Usage,
};

use tokio_util::sync::CancellationToken;

use crate::api::report::{init_event, resources};
use crate::api::request::SpawnRequest;
use crate::api::types::{
    EventDataShutdown, EventDataShutdownReason, EventDataSizeCap, InstanceResult,
    OperationEventType, ProcessState,
};
use crate::blocking::blocking;
use crate::descriptors::DescriptorReservation;
use crate::egress::{Proxy, SandboxNetwork};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::squash;
use crate::limits;
use crate::operation::events::{EventLog, SYSTEM, timestamp};
use crate::operation::lifecycle::{CommitWork, OperationTask, WorkEnding};
use crate::ports::ReservedPort;
use crate::rows::images::Image;
use crate::rows::layers::Layer;
use crate::run::commit::commit_run;
use crate::run::diagnostics;
use crate::run::ending::RunEnding;
use crate::run::host_names;
use crate::run::running_sandbox::{MAIN, ResultSettings, RunningSandbox, StartedProcess};

/// How long processes that the command leaves behind may take to end after SIGTERM, if the run's
/// changes are kept. A database writes its newest data then.
const END_GRACE: Duration = Duration::from_secs(2);

/// How long killed processes may take to end before the sandbox is ended by force.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// A checked request to run a command, with its image.
pub(crate) struct RunPlan {
    pub(crate) request: SpawnRequest,
    pub(crate) image: Image,
    /// The layers of the image, the top one first.
    pub(crate) chain: Vec<Layer>,
    /// Files to copy into the sandbox before the command starts.
    pub(crate) files: Vec<FileCopy>,
    /// Paths to remove or to make before the files are copied.
    pub(crate) changes: Vec<PathChange>,
    /// The ports to publish.
    pub(crate) ports: Vec<ReservedPort>,
}

/// Runs a command to its end.
pub(crate) async fn run(engine: Arc<Engine>, task: OperationTask, mut plan: RunPlan) -> WorkEnding {
    let log = Arc::clone(&task.running.log);
    let cwd = plan.request.start_directory(&plan.image);
    let access = engine.egress.access(&plan.request);
    let network = engine.egress.sandbox_network(access, &plan.request);
    let spec = sandbox_spec(
        &plan,
        &cwd,
        engine.shared_memory.bytes(&plan.request),
        network,
    );
    let started = match DescriptorReservation::wait(&task.running.cancel).await {
        Ok(descriptors) => {
            let started_at = Instant::now();
            let store = engine.store.clone();
            let run = Arc::clone(&task.run);
            let sandbox = blocking(move || Ok(Sandbox::start(&store, &run, &spec)?)).await;
            sandbox.map(|sandbox| (sandbox, started_at, descriptors))
        }
        Err(_) if task.running.cancel.is_cancelled() => return WorkEnding::cancelled(),
        Err(error) => Err(error),
    };
    let (sandbox, started_at, descriptors) = match started {
        Ok(started) => started,
        Err(error) => {
            append_shutdown(&log, EventDataShutdownReason::SpawnFailed);
            return WorkEnding::failed_by(&error);
        }
    };
    log.append(SYSTEM, OperationEventType::Init, init_event(&plan.request));
    let proxy = engine.egress.serve(&sandbox, &log, &plan.request);
    let variables = engine.egress.variables(access, &sandbox);
    let running_sandbox = RunningSandbox::new(
        sandbox,
        Arc::clone(&log),
        plan.image.clone(),
        plan.request.timeout,
        variables,
        ResultSettings {
            command: plan.request.command.clone(),
            env: plan.request.saved_env(&plan.image),
            cwd: plan.request.saved_cwd(&plan.image),
            layers: plan.chain.len(),
        },
        (Arc::clone(&engine.publisher), access),
    );
    let (recorded, main) = tokio::join!(
        task.record_executing(&engine),
        running_sandbox.start_main(&plan.request)
    );
    drop(descriptors);
    let main = match main {
        Ok(main) => main,
        Err(error) => return not_started(&running_sandbox, &log, &error).await,
    };
    if let Err(error) = recorded {
        // A command whose start cannot be recorded must not run.
        task.running.fail(&error);
    }
    task.running.begin(Some(Arc::clone(&running_sandbox)));
    for port in std::mem::take(&mut plan.ports) {
        if let Err(error) = running_sandbox.ports.open(port) {
            tracing::error!(%error, "cannot serve a published port");
        }
    }
    let (ending, outcome) = run_to_end(
        &engine,
        &task,
        &plan,
        &running_sandbox,
        main,
        proxy,
        started_at,
    )
    .await;
    ending.into_work_ending(outcome, |finished| {
        (!plan.request.disposable).then(|| commit_work(task, plan, finished))
    })
}

/// Ends the sandbox of a command that could not be started.
async fn not_started(
    running_sandbox: &RunningSandbox,
    log: &EventLog,
    error: &ApiError,
) -> WorkEnding {
    let finish_error = match running_sandbox.close(false).await {
        Some(sandbox) => finish(Arc::new(sandbox), false, log).await.err(),
        None => None,
    };
    append_shutdown(log, EventDataShutdownReason::SpawnFailed);
    // The files of the request alone may have exceeded the layer's limit.
    match finish_error {
        Some(too_large) if too_large.is_too_large() => WorkEnding::failed_by(&too_large),
        _ => WorkEnding::failed_by(error),
    }
}

/// The reason why the engine stopped waiting for the main process.
enum StopCause {
    /// The process ended. `None`: its sandbox ended with it.
    Exit(Option<Exit>),
    TimeOut,
    Cancel,
    EngineStop,
}

/// Follows the main process to its end, then ends the sandbox. Returns the run's ending, and the
/// exit state and resources of the main process.
async fn run_to_end(
    engine: &Engine,
    task: &OperationTask,
    plan: &RunPlan,
    running_sandbox: &Arc<RunningSandbox>,
    mut main: StartedProcess,
    proxy: Option<Proxy>,
    started_at: Instant,
) -> (RunEnding, Option<InstanceResult>) {
    let log = &task.running.log;
    let pid = main.pid;
    let cause = tokio::select! {
        biased;
        () = task.running.cancel.cancelled() => {
            if engine.stopping.is_cancelled() { StopCause::EngineStop } else { StopCause::Cancel }
        }
        exit = &mut main.exit => StopCause::Exit(exit.ok()),
        () = tokio::time::sleep(Duration::from_secs(plan.request.timeout)) => StopCause::TimeOut,
    };
    let timed_out = matches!(cause, StopCause::TimeOut);
    // An open connection would keep the sandbox's network alive.
    running_sandbox.ports.close().await;
    // When the main process ends, all other processes in the sandbox end too.
    let Some(sandbox) = running_sandbox.close(timed_out).await.map(Arc::new) else {
        return (RunEnding::AlreadyClosed, None);
    };
    // A cancelled run keeps nothing, and the command of a run that timed out gets no more time.
    let grace = match &cause {
        StopCause::Exit(Some(_)) if !plan.request.disposable => END_GRACE,
        _ => Duration::ZERO,
    };
    end_processes(&sandbox, grace, &task.running.cancel).await;
    let observed_exit = match &cause {
        StopCause::Exit(exit) => exit.clone(),
        StopCause::TimeOut | StopCause::Cancel | StopCause::EngineStop => {
            let exit = tokio::time::timeout(KILL_WAIT, &mut main.exit).await;
            exit.ok().and_then(Result::ok)
        }
    };
    let forced = observed_exit.is_none();
    if forced {
        sandbox.hard_kill();
    }
    // A disposable run that timed out counts as killed by its time-out, even if a very busy machine
    // took too long to end it. A run with a result does not: its files may still have been
    // changing.
    let exit = observed_exit.or_else(|| (timed_out && plan.request.disposable).then(killed));
    let exceeded_memory_limit = sandbox.killed_for_memory();
    let oom_killed = exceeded_memory_limit.is_some();
    let append_diagnostics = async {
        // An open connection would keep the sandbox's network alive.
        let denial = match proxy {
            Some(proxy) => proxy.close().await,
            None => None,
        };
        diagnostics::append(
            engine,
            task,
            &plan.request,
            diagnostics::Findings {
                denial,
                exceeded_memory_limit,
                made_directory: made_directory(&sandbox, plan),
            },
            exit.as_ref(),
            running_sandbox.output(MAIN).as_deref(),
        );
    };
    running_sandbox
        .record_main_end(main, exit.as_ref(), oom_killed, append_diagnostics)
        .await;
    if let Some(output) = running_sandbox.output(MAIN) {
        engine.last_outputs.keep(task.operation, output);
    }
    running_sandbox.wait_for_subprocesses().await;
    let elapsed = started_at.elapsed();
    let cancelled = matches!(cause, StopCause::Cancel | StopCause::EngineStop);
    let to_commit = exit.is_some() && !plan.request.disposable && !cancelled;
    let finished = finish(sandbox, to_commit, log).await;
    append_shutdown(
        log,
        match cause {
            StopCause::TimeOut if exit.is_some() => EventDataShutdownReason::Timeout,
            StopCause::Exit(_) if exit.is_some() => EventDataShutdownReason::JobComplete,
            _ => EventDataShutdownReason::Signal,
        },
    );
    let outcome = exit.map(|exit| {
        let usage = finished
            .as_ref()
            .map_or(&exit.usage, |finished| &finished.usage);
        InstanceResult {
            state: Some(ProcessState {
                continued: Some(false),
                core_dump: Some(exit.core_dump),
                exit_code: Some(exit.code.unwrap_or(-1).into()),
                pid: Some(pid.into()),
                signal: Some(exit.signal.unwrap_or(-1).into()),
                stopped: Some(false),
                timed_out: Some(timed_out),
                x_oom_killed: oom_killed.then_some(true),
            }),
            resources: Some(resources(usage, elapsed)),
            stdout: None,
            stderr: None,
        }
    });
    let ending = match (cause, finished) {
        (StopCause::Cancel, _) => RunEnding::Cancelled,
        (StopCause::EngineStop, _) => RunEnding::EngineStopped,
        (_, Err(error)) if error.is_too_large() => RunEnding::TooLarge(error),
        // The sandbox has said why it ended.
        (StopCause::Exit(None), Err(error)) if error.code() != ErrorCode::SandboxGone => {
            RunEnding::NotFinished(error)
        }
        (StopCause::Exit(None), _) => RunEnding::SandboxLost,
        (StopCause::TimeOut, _) if outcome.is_none() => RunEnding::Stuck,
        (StopCause::TimeOut, Err(_)) if forced => RunEnding::TimedOut(None),
        (_, Err(error)) => RunEnding::NotFinished(error),
        (StopCause::TimeOut, Ok(finished)) => RunEnding::TimedOut(Some(finished)),
        (StopCause::Exit(Some(_)), Ok(finished)) => RunEnding::Exited(finished),
    };
    (ending, outcome)
}

/// The exit of a command whose sandbox was ended by force.
fn killed() -> Exit {
    Exit {
        code: None,
        signal: Some(rustix::process::Signal::KILL.as_raw()),
        core_dump: false,
        usage: Usage::default(),
    }
}

/// The closure that commits the command's changes as an image.
fn commit_work(task: OperationTask, plan: RunPlan, finished: SandboxOutcome) -> CommitWork {
    Box::new(move |engine, ending| {
        commit_run(
            engine,
            task.operation,
            &plan.request,
            &plan.image,
            &plan.chain,
            &task.run,
            &finished,
            ending,
        )
        .map_err(|error| {
            ApiError::internal(format!(
                "the command ran, but its result could not be committed: {}",
                error.message()
            ))
            .with_code(error.code())
        })
        .inspect(|committed| {
            if committed.result_image != Some(plan.image.uuid) && squash::is_due(&plan.chain) {
                engine.squash_queue.request(plan.image.layer);
            }
        })
    })
}

fn sandbox_spec(
    plan: &RunPlan,
    cwd: &str,
    shared_memory_bytes: u64,
    network: SandboxNetwork,
) -> SandboxSpec {
    let SandboxNetwork {
        network,
        side_files,
        mut temporary_lines,
    } = network;
    temporary_lines.push(host_names::lines(&plan.request.hostname));
    SandboxSpec {
        layers: plan.chain.iter().map(|layer| LayerId(layer.id)).collect(),
        hostname: plan.request.hostname.clone(),
        // The kernel's own file systems exist already, and no directory is created in them.
        directories: Some(PathBuf::from(cwd))
            .filter(|path| {
                !["/proc", "/sys", "/dev"]
                    .iter()
                    .any(|mount| path.starts_with(mount))
            })
            .map(|path| NewDirectory {
                path,
                uid: plan.request.uid,
                gid: plan.request.gid,
            })
            .into_iter()
            .collect(),
        changes: plan.changes.clone(),
        files: plan.files.clone(),
        side_files,
        temporary_lines,
        shared_memory_bytes,
        network,
        max_processes: limits::MAX_PROCESSES,
        max_layer_bytes: Some(plan.request.max_layer_bytes()),
        limits: plan.request.sandbox_limits(),
    }
}

/// The working directory, if the image lacked it and the request places no file in it.
fn made_directory(sandbox: &Sandbox, plan: &RunPlan) -> Option<PathBuf> {
    let made = sandbox.made_directories().first()?;
    let mut placed = plan.files.iter().map(|file| &file.path);
    let mut changed = plan.changes.iter().map(|change| &change.path);
    let is_used =
        placed.any(|path| path.starts_with(made)) || changed.any(|path| path.starts_with(made));
    (!is_used).then(|| made.clone())
}

/// Ends all processes. They get SIGTERM and `grace`, which `cancel` cuts short, and then SIGKILL.
async fn end_processes(sandbox: &Arc<Sandbox>, grace: Duration, cancel: &CancellationToken) {
    let end = |grace| {
        let sandbox = Arc::clone(sandbox);
        // Processes that survive an error here end together with the sandbox.
        async move {
            let _ = blocking(move || Ok(sandbox.end_all(grace)?)).await;
        }
    };
    let ended = end(grace);
    tokio::pin!(ended);
    tokio::select! {
        biased;
        () = &mut ended => return,
        () = cancel.cancelled(), if !grace.is_zero() => end(Duration::ZERO).await,
    }
    ended.await;
}

/// Ends the sandbox, waits until all of it is gone, and logs if its layer was too large. `inspect`:
/// also check whether the upper directory has changes.
async fn finish(
    sandbox: Arc<Sandbox>,
    inspect: bool,
    log: &EventLog,
) -> Result<SandboxOutcome, ApiError> {
    let ended = blocking(move || match Arc::into_inner(sandbox) {
        Some(sandbox) => Ok(sandbox.finish(inspect)),
        None => Err(ApiError::internal("the sandbox is still in use")),
    })
    .await?;
    if let Err(contree_sandbox::Error::LayerTooLarge { bytes, limit }) = &ended {
        let data = EventDataSizeCap {
            limit_bytes: *limit,
            file_size: *bytes,
        };
        log.append(SYSTEM, OperationEventType::SizeCap, data);
    }
    Ok(ended?)
}

fn append_shutdown(log: &EventLog, reason: EventDataShutdownReason) {
    log.append(
        SYSTEM,
        OperationEventType::Shutdown,
        EventDataShutdown {
            stopped_at: timestamp(Utc::now()),
            reason,
        },
    );
}
