//! The present state of runs: of this process, and of other processes of the data directory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use futures_util::future::join_all;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::forward;
use crate::api::types::{LiveRun, OperationSummary};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::running::RunningOperation;
use crate::operation::silent_owners::SilentOwners;
use crate::rows::operations::{self, INSTANCE, Operation, Status};

/// How long a list waits for the other processes, which are all asked at once. Without the answer
/// of one, the list lacks the state of its runs.
const LIST_TIMEOUT: Duration = Duration::from_millis(750);
/// How long the process of a single run may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// that does not answer is left out, and the next lists do not ask it.
    async fn ask(self, silent: &SilentOwners) -> HashMap<Uuid, LiveRun> {
        let sockets = self.0.into_keys().filter(|socket| !silent.has(socket));
        let asked = sockets.map(|socket| async move {
            let path = "/v1/operations?kind=instance&status=EXECUTING&limit=1000";
            let answer = answer::<Vec<RunState>>(&socket, path);
            let answered = tokio::time::timeout(LIST_TIMEOUT, answer).await;
            if answered.is_err() {
                tracing::warn!(
                    socket,
                    "another engine of the data directory does not answer"
                );
                silent.add(&socket);
            }
            answered.ok().flatten().unwrap_or_default()
        });
        let states = join_all(asked).await.into_iter().flatten();
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

async fn answer<T: DeserializeOwned>(socket: &str, path: &str) -> Option<T> {
    let body = forward::get(socket, path, ANSWER_TIMEOUT).await?;
    serde_json::from_slice(&body)
        .inspect_err(|error| tracing::debug!(socket, %error, "cannot read the state of runs"))
        .ok()
}

/// Asks the process that executes a run for its state. That is a contact of a client to the run.
async fn ask_about(silent: &SilentOwners, remote: RemoteRuns, run: Uuid) -> Option<LiveRun> {
    let (socket, _) = remote.0.into_iter().next()?;
    let path = format!("/v1/operations/{run}");
    let state = answer::<RunState>(&socket, &path).await?;
    silent.remove(&socket);
    state.x_live
}

/// Adds the states to a list of operations.
pub(super) async fn complete(
    engine: &Engine,
    summaries: &mut [OperationSummary],
    remote: RemoteRuns,
) {
    let mut states = remote.ask(&engine.silent_owners).await;
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
    let (seen, shared, headers) = (operation.clone(), Arc::clone(engine), headers.clone());
    let uuid = operation.uuid;
    let (state, remote) = blocking(move || match shared.running(uuid) {
        Some(running) => {
            running.contact.touch();
            Ok((local(&seen, &running), RemoteRuns::default()))
        }
        None => Ok((
            None,
            RemoteRuns::find(&shared, &headers, std::slice::from_ref(&seen))?,
        )),
    })
    .await?;
    match state {
        Some(state) => Ok(Some(state)),
        None => Ok(ask_about(&engine.silent_owners, remote, uuid).await),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_list_waits_once_for_all_silent_owners_and_not_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = |name: &str| {
            let path = directory.path().join(name);
            path.to_str().expect("a path").to_owned()
        };
        let run = Uuid::from_u128(7);
        let answering = UnixListener::bind(socket("answers")).expect("a socket");
        let questions = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&questions);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = answering.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 1024]).await;
                let body =
                    format!(r#"[{{"uuid":"{run}","x-live":{{"client":"left","processes":[]}}}}]"#);
                let answer = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        // Their kernel accepts connections, and nothing answers.
        let hung: Vec<_> = (0..20).map(|n| socket(&format!("hung{n}"))).collect();
        let _listeners: Vec<_> = hung
            .iter()
            .map(|path| UnixListener::bind(path).expect("a socket"))
            .collect();
        let all = || {
            let sockets = hung
                .iter()
                .cloned()
                .chain([socket("answers"), socket("gone")]);
            RemoteRuns(sockets.map(|socket| (socket, vec![run])).collect())
        };
        let silent = SilentOwners::default();
        let start = Instant::now();
        let states = all().ask(&silent).await;
        assert!(states.contains_key(&run), "{states:?}");
        assert!(start.elapsed() >= LIST_TIMEOUT);
        // Side by side, so not once for each of the twenty.
        assert!(start.elapsed() < 10 * LIST_TIMEOUT, "{:?}", start.elapsed());
        assert!(hung.iter().all(|socket| silent.has(socket)));
        assert!(!silent.has(&socket("gone")) && !silent.has(&socket("answers")));
        let start = Instant::now();
        let states = all().ask(&silent).await;
        assert!(states.contains_key(&run), "{states:?}");
        assert!(start.elapsed() < LIST_TIMEOUT, "{:?}", start.elapsed());
        assert_eq!(questions.load(Ordering::SeqCst), 2);
    }
}
