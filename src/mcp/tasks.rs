//! The tasks extension: a call that takes long is answered with a task, which the client asks for later.
//!
//! A task is one operation of the backend, and its id says which and on which backend. So it outlives the server: what is
//! kept here only knows the newest line of output.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::model::{
    CallToolResult, CreateTaskResult, DetailedTask, ErrorData, GetTaskResult, JsonObject,
    ProtocolVersion, Task, TaskPayload, TaskStatus,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::progress::NewestLine;
use super::quiet::quiet;
use super::result;
use crate::tools::{
    self, Context, OperationSnapshot, OperationState, Session, TASK_TOOLS, TaskTools, ToolError,
};

/// How long a call may take before it becomes a task.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// How often a client should ask, in milliseconds.
const POLL_MS: u64 = 500;

/// The tasks of a session.
pub(super) struct Tasks {
    session: Arc<Session>,
    running: RunningTasks,
}

/// The calls that became tasks and go on in this process.
#[derive(Default)]
struct RunningTasks(Mutex<HashMap<Uuid, RunningTask>>);

#[derive(Clone)]
struct RunningTask {
    newest: Arc<NewestLine>,
    created_at: String,
}

impl RunningTasks {
    /// Remembers a call that goes on although its request is answered, unless it is over by now.
    fn begin(&self, operation: Uuid, newest: Arc<NewestLine>, created_at: String) {
        let mut running = self.lock();
        if !newest.is_over() {
            running.insert(operation, RunningTask { newest, created_at });
        }
    }

    /// Forgets it: from now on the backend knows more.
    fn end(&self, newest: &NewestLine) {
        newest.set_over();
        if let Some(operation) = newest.known_operation() {
            self.lock().remove(&operation);
        }
    }

    /// What is known of it without asking the backend.
    fn find(&self, operation: Uuid) -> Option<OperationSnapshot> {
        let running = self.lock().get(&operation).cloned()?;
        let state = OperationState::Working(running.newest.message());
        Some(OperationSnapshot::new(
            state,
            running.created_at,
            tools::now(),
        ))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, RunningTask>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a call's task when it is dropped, also by a call that breaks off.
pub(super) struct CallTracker {
    tasks: Arc<Tasks>,
    newest: Arc<NewestLine>,
}

impl CallTracker {
    /// Tracks the call that `newest` is told of.
    pub(super) fn new(tasks: Arc<Tasks>, newest: Arc<NewestLine>) -> Self {
        Self { tasks, newest }
    }
}

impl Drop for CallTracker {
    fn drop(&mut self) {
        self.tasks.running.end(&self.newest);
    }
}

impl Tasks {
    /// The tasks of `session`.
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self {
            session,
            running: RunningTasks::default(),
        }
    }

    /// Answers a call with a task for the operation that it has started and goes on following.
    pub(super) async fn promote(
        &self,
        operation: Uuid,
        newest: Arc<NewestLine>,
    ) -> Result<CreateTaskResult, ToolError> {
        let id = task_id(operation, &tools::fingerprint(&self.quiet()).await?);
        let now = tools::now();
        let message = newest.message();
        self.running.begin(operation, newest, now.clone());
        // It ends with this process, or does not, as an operation that nobody waits for.
        self.session.leave_running(operation);
        let mut task =
            Task::new(id, TaskStatus::Working, now.clone(), now).with_poll_interval_ms(POLL_MS);
        if !message.is_empty() {
            task = task.with_status_message(message);
        }
        Ok(CreateTaskResult::new(task))
    }

    /// How far a task is.
    pub(super) async fn get(&self, id: String) -> Result<GetTaskResult, ErrorData> {
        let operation = self.operation_of(&id, |tasks| tasks.look_up).await?;
        let followed = match self.running.find(operation) {
            Some(followed) => followed,
            None => tools::operation_snapshot(operation, &self.quiet())
                .await
                .map_err(|error| self.refused(error))?,
        };
        let (status, payload, message) = match followed.state {
            OperationState::Working(message) => {
                (TaskStatus::Working, TaskPayload::Working, Some(message))
            }
            OperationState::Cancelled(why) => (TaskStatus::Cancelled, TaskPayload::Cancelled, why),
            OperationState::Ended(answer) => {
                let result = match answer {
                    // Whoever takes tasks takes links.
                    Ok(answer) => result::answer(answer, Some(&ProtocolVersion::LATEST)),
                    Err(error) => result::error(&self.session.explain(error)),
                };
                let payload = TaskPayload::Completed {
                    result: object(&result)?,
                };
                (TaskStatus::Completed, payload, None)
            }
        };
        let mut task = Task::new(id, status, followed.created_at, followed.updated_at)
            .with_poll_interval_ms(POLL_MS);
        if let Some(message) = message.filter(|message| !message.is_empty()) {
            task = task.with_status_message(message);
        }
        Ok(GetTaskResult::new(DetailedTask::new(task, payload)))
    }

    /// Stops the operation of a task. Whether it was stopped in time is told by the task.
    pub(super) async fn stop(&self, id: &str) -> Result<(), ErrorData> {
        let operation = self.operation_of(id, |tasks| tasks.cancel).await?;
        tools::stop_operation(operation, &self.quiet())
            .await
            .map_err(|error| self.refused(error))
    }

    /// Takes answers to what a task has asked for. None asks for anything, so there is nothing to do but to know it.
    pub(super) async fn answer(&self, id: String) -> Result<(), ErrorData> {
        self.get(id).await.map(drop)
    }

    /// The operation of a task, if it is one of the backend in use, and this server offers a tool that makes tasks, or the one
    /// that `serves` what is to be done with it.
    async fn operation_of(
        &self,
        id: &str,
        serves: impl Fn(&TaskTools) -> &'static str,
    ) -> Result<Uuid, ErrorData> {
        let invalid = |why: &str| {
            let data = Some(json!({"taskId": id}));
            ErrorData::invalid_params(format!("there is no task `{id}`{why}"), data)
        };
        let offer = self.session.selection();
        let makes = offer.tools().any(|tool| tool.task.is_some());
        let serves = TASK_TOOLS.is_some_and(|tasks| offer.has(serves(&tasks)));
        if !makes && !serves {
            return Err(invalid(": this server offers no tool that makes any"));
        }
        let (operation, backend) = parts(id).ok_or_else(|| invalid(""))?;
        let here = tools::fingerprint(&self.quiet())
            .await
            .map_err(|error| self.refused(error))?;
        if backend != here {
            return Err(invalid(": it belongs to another backend"));
        }
        Ok(operation)
    }

    fn refused(&self, error: ToolError) -> ErrorData {
        let missing = error.is_missing();
        let text = self.session.explain(error).to_string();
        if missing {
            ErrorData::invalid_params(text, None)
        } else {
            ErrorData::internal_error(text, None)
        }
    }

    /// A context for what is asked of the backend on the way.
    fn quiet(&self) -> Context {
        quiet(&self.session)
    }
}

fn task_id(operation: Uuid, backend: &str) -> String {
    format!("{operation}.{backend}")
}

fn parts(id: &str) -> Option<(Uuid, &str)> {
    let (operation, backend) = id.split_once('.')?;
    Some((operation.parse().ok()?, backend))
}

fn object(result: &CallToolResult) -> Result<JsonObject, ErrorData> {
    match serde_json::to_value(result) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(ErrorData::internal_error(
            "the answer is no JSON object",
            None,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_which_operation_and_where() {
        let operation = Uuid::from_u128(7);
        let id = task_id(operation, "0123456789ab");
        assert_eq!(parts(&id), Some((operation, "0123456789ab")));
        assert_eq!(parts("nonsense"), None);
        assert_eq!(parts(&operation.to_string()), None);
    }

    #[test]
    fn what_is_over_is_forgotten_whichever_comes_first() {
        use crate::tools::Watcher;
        let tasks = RunningTasks::default();
        let operation = Uuid::from_u128(1);
        let newest = Arc::new(NewestLine::new());
        newest.started(operation);
        tasks.begin(operation, newest.clone(), tools::now());
        newest.progress("half");
        let found = tasks.find(operation).unwrap();
        assert!(matches!(found.state, OperationState::Working(line) if line == "half"));
        tasks.end(&newest);
        assert!(tasks.find(operation).is_none());
        tasks.begin(operation, newest, tools::now());
        assert!(tasks.find(operation).is_none());
    }
}
