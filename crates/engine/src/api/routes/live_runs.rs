//! The present state of runs: of this process, and of other processes of the data directory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::forward;
use crate::api::types::{LiveRun, OperationSummary};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::running::RunningOperation;
use crate::rows::operations::{self, INSTANCE, Operation, Status};

/// How long another process may take to answer about one run.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long another process may take to answer about its runs for a list. Without its answer, the
/// list lacks their state, and a process that hangs must not hold up each list.
const LIST_TIMEOUT: Duration = Duration::from_millis(500);
/// The most processes that are asked at once.
const MAX_REQUESTS: usize = 8;

/// Returns the state of a run that this process executes. Blocks briefly.
pub(super) fn local(operation: &Operation, running: &RunningOperation) -> Option<LiveRun> {
    let sandbox = running
        .sandbox()
        .filter(|_| operation.status == Status::Executing)?;
    let state = running.contact.state();
    let used = sandbox.resource_use();
    let ports = Some(sandbox.ports.list()).filter(|ports| !ports.is_empty());
    Some(LiveRun {
        client: state.as_str().to_owned(),
        processes: sandbox.live_processes(),
        process_count: used.map(|used| used.processes),
        memory_bytes: used.map(|used| used.memory_bytes),
        ports,
    })
}

/// The sockets of the processes that execute runs, with those runs.
#[derive(Default)]
pub(super) struct RemoteRuns(BTreeMap<String, Vec<Uuid>>);

impl RemoteRuns {
    /// Finds the runs among `listed` that other processes execute. A request of another process
    /// asks for those of this process alone, so it finds none. Blocks.
    pub(super) fn find(
        engine: &Engine,
        headers: &HeaderMap,
        listed: &[Operation],
    ) -> Result<Self, ApiError> {
        let mut found = Self::default();
        if forward::is_forwarded(headers) {
            return Ok(found);
        }
        let executed = listed.iter().filter(|operation| {
            operation.kind == INSTANCE && operation.status == Status::Executing
        });
        for operation in executed {
            let uuid = operation.uuid;
            if engine.running(uuid).is_some() {
                continue;
            }
            let socket = engine.rows.read(|c| operations::owner_socket(c, uuid))?;
            let socket = socket.filter(|socket| engine.socket() != Some(socket));
            if let Some(socket) = socket {
                found.0.entry(socket).or_default().push(uuid);
            }
        }
        Ok(found)
    }

    /// Asks their processes for the state of the runs, without a contact to any of them. A process
    /// that does not answer is left out.
    pub(super) async fn ask(self) -> HashMap<Uuid, LiveRun> {
        let asked = stream::iter(self.0.into_keys())
            .map(|socket| async move {
                let path = "/v1/operations?kind=instance&status=EXECUTING&limit=1000";
                let answer = answer::<Vec<RunState>>(&socket, path, LIST_TIMEOUT).await;
                answer.unwrap_or_default()
            })
            .buffer_unordered(MAX_REQUESTS);
        let states = asked.collect::<Vec<Vec<RunState>>>().await;
        let states = states.into_iter().flatten();
        states
            .filter_map(|state| Some((state.uuid, state.x_live?)))
            .collect()
    }
}

/// The part of an operation that another process answers for.
#[derive(Deserialize)]
struct RunState {
    uuid: Uuid,
    #[serde(rename = "x-live")]
    x_live: Option<LiveRun>,
}

async fn answer<T: DeserializeOwned>(socket: &str, path: &str, limit: Duration) -> Option<T> {
    let body = forward::get(socket, path, limit).await?;
    serde_json::from_slice(&body)
        .inspect_err(|error| tracing::debug!(socket, %error, "cannot read the state of runs"))
        .ok()
}

/// Asks the process that executes a run for its state. That is a contact of a client to the run.
async fn ask_about(remote: RemoteRuns, run: Uuid) -> Option<LiveRun> {
    let (socket, _) = remote.0.into_iter().next()?;
    let path = format!("/v1/operations/{run}");
    answer::<RunState>(&socket, &path, ANSWER_TIMEOUT)
        .await?
        .x_live
}

/// Adds the states to a list of operations.
pub(super) async fn complete(summaries: &mut [OperationSummary], remote: RemoteRuns) {
    let mut states = remote.ask().await;
    for summary in summaries {
        let state = summary.uuid.and_then(|uuid| states.remove(&uuid));
        summary.x_live = summary.x_live.take().or(state);
    }
}

/// Returns the state of one run, which any process may execute.
pub(super) async fn of(
    engine: &Arc<Engine>,
    headers: &HeaderMap,
    operation: &Operation,
) -> Result<Option<LiveRun>, ApiError> {
    let (seen, engine, headers) = (operation.clone(), Arc::clone(engine), headers.clone());
    let uuid = operation.uuid;
    let (state, remote) = blocking(move || match engine.running(uuid) {
        Some(running) => {
            running.contact.touch();
            Ok((local(&seen, &running), RemoteRuns::default()))
        }
        None => Ok((
            None,
            RemoteRuns::find(&engine, &headers, std::slice::from_ref(&seen))?,
        )),
    })
    .await?;
    match state {
        Some(state) => Ok(Some(state)),
        None => Ok(ask_about(remote, uuid).await),
    }
}
