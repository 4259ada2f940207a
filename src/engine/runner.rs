//! Running one command: sandbox, streams, time-out, cancellation, and keeping the result.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use contree_sandbox::{
    Command, Finished, LayerId, MakeDir, Place, Process, RunDir, Sandbox, SandboxSpec,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::ApiError;
use super::events::timestamp;
use super::keep::keep;
use super::limits;
use super::report::{completion, event_resources, init_event, millis, resources, spawn_event};
use super::request::SpawnRequest;
use super::rows::images::Image;
use super::rows::layers::Layer;
use super::rows::operations::{self, Ending, Status};
use super::state::{Engine, Running, blocking};
use super::streams::{feed, record};

/// The engine itself, as the events' `spid`.
const SYSTEM: u64 = 0;

/// The main process, as the events' `spid`.
pub(super) const MAIN: u64 = 1;

/// How long a killed tree may take to go before the sandbox is ended by force.
const GRACE: Duration = Duration::from_secs(5);

/// A command that was accepted and has its run directory.
pub(super) struct Job {
    pub(super) operation: Uuid,
    pub(super) request: SpawnRequest,
    pub(super) image: Image,
    /// The image's chain, top first.
    pub(super) chain: Vec<Layer>,
    /// Files to place before the command starts.
    pub(super) places: Vec<Place>,
    pub(super) run: Arc<RunDir>,
    pub(super) running: Arc<Running>,
}

/// How a command came to its end.
struct Ran {
    status: Status,
    error: Option<String>,
    outcome: Option<Value>,
    /// What the sandbox left, if the run may be kept.
    finished: Option<Finished>,
}

impl Ran {
    fn failed(error: impl Into<String>) -> Self {
        Self {
            status: Status::Failed,
            error: Some(error.into()),
            outcome: None,
            finished: None,
        }
    }

    /// The reason is added when the ending is recorded.
    fn cancelled() -> Self {
        Self {
            status: Status::Cancelled,
            error: None,
            outcome: None,
            finished: None,
        }
    }
}

/// Runs a job to its end and records it. Never fails: what goes wrong is the operation's error.
pub(super) async fn run(engine: Arc<Engine>, job: Job) {
    let waiting = Instant::now();
    let slot = tokio::select! {
        slot = Arc::clone(&engine.slots).acquire_owned() => slot.ok(),
        () = job.running.cancel.cancelled() => None,
    };
    let started = if slot.is_some() {
        Instant::now()
    } else {
        waiting
    };
    let ran = match slot {
        Some(_) => execute(&engine, &job).await,
        None => Ran::cancelled(),
    };
    settle(&engine, job, ran, started).await;
}

async fn execute(engine: &Arc<Engine>, job: &Job) -> Ran {
    let operation = job.operation;
    let env = job.request.environment(&job.image);
    let cwd = job.request.start_directory(&job.image);
    let spec = spec(job, &cwd);
    let store = engine.store.clone();
    let run = Arc::clone(&job.run);
    let begun = Instant::now();
    let (recorded, sandbox) = tokio::join!(
        engine.write(move |t| operations::set_status(t, operation, Status::Executing)),
        blocking(move || Ok(Sandbox::start(&store, &run, &spec)?)),
    );
    let sandbox = match recorded.and(sandbox) {
        Ok(sandbox) => Arc::new(sandbox),
        Err(error) => {
            shut_down(&job.running, "spawn_failed");
            return Ran::failed(error.message());
        }
    };
    let log = &job.running.log;
    log.append(SYSTEM, "init", init_event(job));
    let (program, args) = job.request.program(&env);
    let command = Command {
        program: program.clone().into(),
        args: args.iter().map(Into::into).collect(),
        env: env
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        cwd: PathBuf::from(&cwd),
        uid: job.request.uid,
        gid: job.request.gid,
    };
    let process = {
        let sandbox = Arc::clone(&sandbox);
        blocking(move || Ok(sandbox.exec(&command)?)).await
    };
    let process = match process {
        Ok(process) => process,
        Err(error) => {
            let _ = finish(sandbox, false).await;
            shut_down(&job.running, "spawn_failed");
            return Ran::failed(error.message());
        }
    };
    log.append(
        MAIN,
        "spawn",
        spawn_event(job, &process, &program, &args, &cwd),
    );
    watch(job, sandbox, process, begun).await
}

/// Follows the main process to its end, then ends the sandbox.
async fn watch(job: &Job, sandbox: Arc<Sandbox>, process: Process, begun: Instant) -> Ran {
    let cap = job.request.truncate_output_at;
    let pid = process.pid;
    let stdin = feed(job, process.stdin);
    let stdout = record(job, process.stdout, "stdout", cap);
    let stderr = record(job, process.stderr, "stderr", cap);
    let mut exit = process.exit;
    let mut timed_out = false;
    let mut cancelled = false;
    let mut seen = None;
    tokio::select! {
        biased;
        () = job.running.cancel.cancelled() => cancelled = true,
        exit = &mut exit => seen = Some(exit),
        () = tokio::time::sleep(Duration::from_secs(job.request.timeout)) => timed_out = true,
    }
    // The main process's end is the end of all that it started.
    kill_all(&sandbox).await;
    let exit = match seen {
        Some(exit) => exit.ok(),
        None => tokio::time::timeout(GRACE, exit)
            .await
            .ok()
            .and_then(Result::ok),
    };
    if exit.is_none() {
        sandbox.hard_kill();
    }
    stdin.abort();
    let _ = stdin.await;
    for mut pump in [stdout, stderr] {
        if tokio::time::timeout(GRACE, &mut pump).await.is_err() {
            pump.abort();
            let _ = pump.await;
        }
    }
    let elapsed = begun.elapsed();
    let Some(exit) = exit else {
        let finished = finish(sandbox, false).await;
        shut_down(&job.running, "signal");
        if let (false, Err(error)) = (cancelled, &finished)
            && error.is_too_large()
        {
            return Ran::failed(error.message());
        }
        return match (cancelled, timed_out) {
            (true, _) => Ran::cancelled(),
            (false, true) => Ran::failed(
                "the command ran out of time, and its processes did not end in time when they were killed",
            ),
            (false, false) => Ran::failed(
                "the sandbox ended unexpectedly: its first process was killed or crashed",
            ),
        };
    };
    let code = exit.code.unwrap_or(-1);
    let signal = exit.signal.unwrap_or(-1);
    job.running.log.append(
        MAIN,
        "exit",
        json!({
            "pid": pid, "code": code, "signal": signal, "core_dump": exit.core_dump, "timed_out": timed_out,
            "duration_ms": millis(elapsed), "resources": event_resources(&exit.usage),
        }),
    );
    let reason = if timed_out {
        "timeout"
    } else if cancelled {
        "signal"
    } else {
        "job_complete"
    };
    let keep = !job.request.disposable && !cancelled;
    let finished = finish(sandbox, keep).await;
    shut_down(&job.running, reason);
    let usage = finished
        .as_ref()
        .map_or(&exit.usage, |finished| &finished.usage);
    let outcome = json!({
        "state": {
            "continued": false, "core_dump": exit.core_dump, "exit_code": code, "pid": pid,
            "signal": signal, "stopped": false, "timed_out": timed_out,
        },
        "resources": resources(usage, elapsed),
    });
    if cancelled {
        return Ran {
            outcome: Some(outcome),
            ..Ran::cancelled()
        };
    }
    match finished {
        Ok(finished) => Ran {
            status: Status::Success,
            error: None,
            outcome: Some(outcome),
            finished: Some(finished),
        },
        Err(error) => Ran {
            outcome: Some(outcome),
            ..Ran::failed(error.message())
        },
    }
}

/// Keeps the result if asked, records the ending, closes the log and clears the run directory away.
async fn settle(engine: &Arc<Engine>, job: Job, ran: Ran, started: Instant) {
    let Job {
        operation,
        request,
        image,
        chain,
        run,
        running,
        ..
    } = job;
    let Ran {
        status,
        error,
        outcome,
        finished,
    } = ran;
    let mut ending = Ending {
        status,
        error,
        result_image: None,
        outcome,
        image_size: None,
    };
    let kept = {
        let engine = Arc::clone(engine);
        let run = Arc::clone(&run);
        let closing = Arc::clone(&running);
        blocking(move || {
            let mut finished = finished.filter(|_| !request.disposable);
            // From here on nobody is told any more that it was cancelled; who was told so is not wrong.
            if let Some(reason) = closing.close() {
                ending.status = Status::Cancelled;
                ending.error = Some(reason);
                finished = None;
            }
            if let Some(finished) = finished {
                match keep(
                    &engine, operation, &request, &image, &chain, &run, &finished, &ending,
                ) {
                    Ok(kept) => return Ok(kept),
                    Err(error) => {
                        ending.status = Status::Failed;
                        ending.error = Some(format!(
                            "the command ran, but its result could not be kept: {}",
                            error.message()
                        ));
                    }
                }
            }
            if let Err(error) = engine
                .rows
                .write(|t| operations::end(t, operation, &ending))
            {
                // The log must not promise what the record does not have.
                ending.status = Status::Failed;
                ending.error = Some(format!(
                    "the operation's ending could not be recorded: {error}"
                ));
            }
            Ok(ending)
        })
        .await
    };
    let ending = kept.unwrap_or_else(|error| Ending {
        status: Status::Failed,
        error: Some(error.message().to_owned()),
        result_image: None,
        outcome: None,
        image_size: None,
    });
    running
        .log
        .append(SYSTEM, "completion", completion(&ending, started.elapsed()));
    running.log.close();
    engine
        .running
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&operation);
    let store = engine.store.clone();
    let cleared = blocking(move || {
        store.remove_run(&operation.to_string())?;
        drop(run);
        Ok(())
    });
    if let Err(error) = cleared.await {
        tracing::warn!(%operation, error = error.message(), "cannot clear a run directory; the next start tries again");
    }
}

fn spec(job: &Job, cwd: &str) -> SandboxSpec {
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
            .map(|path| MakeDir {
                path,
                uid: job.request.uid,
                gid: job.request.gid,
            })
            .into_iter()
            .collect(),
        places: job.places.clone(),
        max_processes: limits::PROCESSES,
        max_layer_bytes: Some(job.request.max_layer_bytes()),
    }
}

async fn kill_all(sandbox: &Arc<Sandbox>) {
    let sandbox = Arc::clone(sandbox);
    // What cannot be killed politely is ended with the sandbox.
    let _ = blocking(move || Ok(sandbox.kill_all()?)).await;
}

/// Ends the sandbox and waits until nothing of it is left.
async fn finish(sandbox: Arc<Sandbox>, inspect: bool) -> Result<Finished, ApiError> {
    blocking(move || match Arc::into_inner(sandbox) {
        Some(sandbox) => Ok(sandbox.finish(inspect)?),
        None => Err(ApiError::internal("the sandbox is still in use")),
    })
    .await
}

fn shut_down(running: &Running, reason: &str) {
    running.log.append(
        SYSTEM,
        "shutdown",
        json!({"stopped_at": timestamp(Utc::now()), "reason": reason}),
    );
}
