//! Running one command: sandbox, streams, time-out, cancellation, and keeping the result.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use contree_sandbox::{
    Exit, FileCopy, LayerId, Network, NewDirectory, Sandbox, SandboxOutcome, SandboxSpec, SideFile,
    Usage,
};

use crate::api::report::{init_event, resources};
use crate::api::request::SpawnRequest;
use crate::api::types::{
    EventDataShutdown, EventDataShutdownReason, EventDataSizeCap, InstanceResult,
    OperationEventType, ProcessState,
};
use crate::blocking::blocking;
use crate::egress::Proxy;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::squash;
use crate::limits;
use crate::operation::events::{EventLog, SYSTEM, timestamp};
use crate::operation::lifecycle::{CommitWork, Task, WorkEnding};
use crate::rows::images::Image;
use crate::rows::layers::Layer;
use crate::run::commit::keep;
use crate::run::diagnostics;
use crate::run::ending::RunEnding;
use crate::run::instance::{AttendedProcess, Instance};

/// How long a killed tree may take to go before the sandbox is ended by force.
const GRACE: Duration = Duration::from_secs(5);

/// A command to run.
pub(crate) struct Job {
    pub(crate) request: SpawnRequest,
    pub(crate) image: Image,
    /// The image's chain, top first.
    pub(crate) chain: Vec<Layer>,
    /// Files to place before the command starts.
    pub(crate) places: Vec<FileCopy>,
}

/// Runs a command to its end.
pub(crate) async fn run(engine: Arc<Engine>, task: Task, job: Job) -> WorkEnding {
    let log = Arc::clone(&task.running.log);
    let cwd = job.request.start_directory(&job.image);
    let access = engine.egress.access(&job.request);
    let spec = spec(&job, &cwd, engine.egress.sandbox(access));
    let begun = Instant::now();
    let sandbox = {
        let store = engine.store.clone();
        let run = Arc::clone(&task.run);
        blocking(move || Ok(Sandbox::start(&store, &run, &spec)?)).await
    };
    let sandbox = match sandbox {
        Ok(sandbox) => sandbox,
        Err(error) => {
            shut_down(&log, EventDataShutdownReason::SpawnFailed);
            return WorkEnding::failed(error.message());
        }
    };
    log.append(SYSTEM, OperationEventType::Init, init_event(&job.request));
    let proxy = engine.egress.serve(&sandbox, &log);
    let variables = engine.egress.variables(access, &sandbox);
    let instance = Instance::new(
        sandbox,
        Arc::clone(&log),
        job.image.clone(),
        job.request.timeout,
        variables,
    );
    let (recorded, main) = tokio::join!(task.executing(&engine), instance.start_main(&job.request));
    let main = match main {
        Ok(main) => main,
        Err(error) => return not_started(&instance, &log, &error).await,
    };
    if let Err(error) = recorded {
        // What cannot be recorded is not run.
        task.running.fail(error.message());
    }
    task.running.begin(Some(Arc::clone(&instance)));
    let (ending, outcome) = watch(&engine, &task, &job, &instance, main, proxy, begun).await;
    ending.into_work_ending(outcome, |finished| {
        (!job.request.disposable).then(|| keeping(task, job, finished))
    })
}

async fn not_started(instance: &Instance, log: &EventLog, error: &ApiError) -> WorkEnding {
    let ended = match instance.close(false).await {
        Some(sandbox) => finish(Arc::new(sandbox), false, log).await.err(),
        None => None,
    };
    shut_down(log, EventDataShutdownReason::SpawnFailed);
    // What was placed before it may have been too much already.
    match ended {
        Some(ended) if ended.is_too_large() => WorkEnding::failed(ended.message()),
        _ => WorkEnding::failed(error.message()),
    }
}

/// What ended the wait for the main process.
enum Cause {
    /// It ended; without an exit its sandbox is gone.
    Exit(Option<Exit>),
    TimeOut,
    Cancel,
    EngineStop,
}

/// Follows the main process to its end, then ends the sandbox. Answers how it ended, with the process's part of the
/// operation's result.
async fn watch(
    engine: &Engine,
    task: &Task,
    job: &Job,
    instance: &Arc<Instance>,
    mut main: AttendedProcess,
    proxy: Option<Proxy>,
    begun: Instant,
) -> (RunEnding, Option<InstanceResult>) {
    let log = &task.running.log;
    let pid = main.pid;
    let cause = tokio::select! {
        biased;
        () = task.running.cancel.cancelled() => {
            if engine.stopping.is_cancelled() { Cause::EngineStop } else { Cause::Cancel }
        }
        exit = &mut main.exit => Cause::Exit(exit.ok()),
        () = tokio::time::sleep(Duration::from_secs(job.request.timeout)) => Cause::TimeOut,
    };
    let timed_out = matches!(cause, Cause::TimeOut);
    // The main process's end is the end of all that was started in the sandbox.
    let Some(sandbox) = instance.close(timed_out).await.map(Arc::new) else {
        return (RunEnding::Taken, None);
    };
    kill_all(&sandbox).await;
    let seen = match &cause {
        Cause::Exit(exit) => exit.clone(),
        Cause::TimeOut | Cause::Cancel | Cause::EngineStop => {
            let exit = tokio::time::timeout(GRACE, &mut main.exit).await;
            exit.ok().and_then(Result::ok)
        }
    };
    let forced = seen.is_none();
    if forced {
        sandbox.hard_kill();
    }
    // Out of time is out of time, however long the end took on a machine that is on its knees. What was written is another matter:
    // nobody has seen it come to rest.
    let exit = seen.or_else(|| (timed_out && job.request.disposable).then(killed));
    let last_words = async {
        // An open connection would keep the sandbox's network alive.
        let denied = match proxy {
            Some(proxy) => proxy.close().await,
            None => None,
        };
        let starved = sandbox.killed_for_memory();
        diagnostics::add(engine, task, &job.request, denied, starved, exit.as_ref());
    };
    instance
        .conclude_main(main, exit.as_ref(), last_words)
        .await;
    instance.rest().await;
    let elapsed = begun.elapsed();
    let cancelled = matches!(cause, Cause::Cancel | Cause::EngineStop);
    let kept = exit.is_some() && !job.request.disposable && !cancelled;
    let finished = finish(sandbox, kept, log).await;
    shut_down(
        log,
        match cause {
            Cause::TimeOut if exit.is_some() => EventDataShutdownReason::Timeout,
            Cause::Exit(_) if exit.is_some() => EventDataShutdownReason::JobComplete,
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
            }),
            resources: Some(resources(usage, elapsed)),
            stdout: None,
            stderr: None,
        }
    });
    let ending = match (cause, finished) {
        (Cause::Cancel, _) => RunEnding::Cancelled,
        (Cause::EngineStop, _) => RunEnding::EngineStopped,
        (_, Err(error)) if error.is_too_large() => RunEnding::TooLarge(error),
        (Cause::Exit(None), _) => RunEnding::SandboxLost,
        (Cause::TimeOut, _) if outcome.is_none() => RunEnding::Stuck,
        (Cause::TimeOut, Err(_)) if forced => RunEnding::TimedOut(None),
        (_, Err(error)) => RunEnding::Unfinished(error),
        (Cause::TimeOut, Ok(finished)) => RunEnding::TimedOut(Some(finished)),
        (Cause::Exit(Some(_)), Ok(finished)) => RunEnding::Exited(finished),
    };
    (ending, outcome)
}

/// The end of a command whose sandbox was ended by force.
fn killed() -> Exit {
    Exit {
        code: None,
        signal: Some(rustix::process::Signal::KILL.as_raw()),
        core_dump: false,
        usage: Usage::default(),
    }
}

/// Keeps what the command left as an image.
fn keeping(task: Task, job: Job, finished: SandboxOutcome) -> CommitWork {
    Box::new(move |engine, ending| {
        keep(
            engine,
            task.operation,
            &job.request,
            &job.image,
            &job.chain,
            &task.run,
            &finished,
            ending,
        )
        .map_err(|error| {
            ApiError::internal(format!(
                "the command ran, but its result could not be kept: {}",
                error.message()
            ))
        })
        .inspect(|kept| {
            if kept.result_image != Some(job.image.uuid) && squash::is_due(&job.chain) {
                engine.squash_queue.ask(job.image.layer);
            }
        })
    })
}

fn spec(job: &Job, cwd: &str, (network, side_files): (Network, Vec<SideFile>)) -> SandboxSpec {
    SandboxSpec {
        layers: job.chain.iter().map(|layer| LayerId(layer.id)).collect(),
        hostname: job.request.hostname.clone(),
        // The kernel's own file systems are there, and nothing is made in them.
        directories: Some(PathBuf::from(cwd))
            .filter(|path| {
                !["/proc", "/sys", "/dev"]
                    .iter()
                    .any(|of| path.starts_with(of))
            })
            .map(|path| NewDirectory {
                path,
                uid: job.request.uid,
                gid: job.request.gid,
            })
            .into_iter()
            .collect(),
        files: job.places.clone(),
        side_files,
        network,
        max_processes: limits::PROCESSES,
        max_layer_bytes: Some(job.request.max_layer_bytes()),
        limits: job.request.sandbox_limits(),
    }
}

async fn kill_all(sandbox: &Arc<Sandbox>) {
    let sandbox = Arc::clone(sandbox);
    // What cannot be killed politely is ended with the sandbox.
    let _ = blocking(move || Ok(sandbox.kill_all()?)).await;
}

/// Ends the sandbox and waits until nothing of it is left.
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

fn shut_down(log: &EventLog, reason: EventDataShutdownReason) {
    log.append(
        SYSTEM,
        OperationEventType::Shutdown,
        EventDataShutdown {
            stopped_at: timestamp(Utc::now()),
            reason,
        },
    );
}
