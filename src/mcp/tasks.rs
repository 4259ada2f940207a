//! The tasks extension: a long call is answered with a task, which the client polls.
//!
//! A task is one operation of the backend; its id names operation and backend. A task therefore
//! outlives the server. This process only adds the newest line of output.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::model::{
    CallToolResult, CreateTaskResult, DetailedTask, ErrorData, GetTaskResult, JsonObject,
    ProtocolVersion, Task, TaskPayload, TaskStatus,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::background_context::background_context;
use super::progress::CallProgress;
use super::result;
use crate::tools::{
    self, Context, OperationSnapshot, OperationState, Session, TASK_TOOLS, TaskTools, ToolError,
};

/// How long a call runs before it becomes a task.
pub(super) const TASK_DELAY: Duration = Duration::from_millis(500);
/// Poll interval proposed to clients, in milliseconds.
const POLL_MS: u64 = 500;

/// Tasks of a session.
pub(super) struct Tasks {
    session: Arc<Session>,
    running: RunningTasks,
}

/// Calls that became tasks and still run in this process.
#[derive(Default)]
struct RunningTasks(Mutex<HashMap<Uuid, RunningTask>>);

#[derive(Clone)]
struct RunningTask {
    progress: Arc<CallProgress>,
    created_at: String,
}

impl RunningTasks {
    /// Adds a call that continues after its request was answered, unless it has ended meanwhile.
    fn add(&self, operation: Uuid, progress: Arc<CallProgress>, created_at: String) {
        let mut running = self.lock();
        if !progress.is_over() {
            running.insert(
                operation,
                RunningTask {
                    progress,
                    created_at,
                },
            );
        }
    }

    /// Removes a call. From now on the backend's record is more complete.
    fn end(&self, progress: &CallProgress) {
        progress.set_over();
        if let Some(operation) = progress.known_operation() {
            self.lock().remove(&operation);
        }
    }

    /// Returns a snapshot from this process, without asking the backend.
    fn find(&self, operation: Uuid) -> Option<OperationSnapshot> {
        let running = self.lock().get(&operation).cloned()?;
        let state = OperationState::Working(running.progress.message());
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

/// Removes a call from the running tasks when dropped, even if the call panics.
pub(super) struct RunningTaskGuard {
    tasks: Arc<Tasks>,
    progress: Arc<CallProgress>,
}

impl RunningTaskGuard {
    /// Tracks the call whose progress is `progress`.
    pub(super) fn new(tasks: Arc<Tasks>, progress: Arc<CallProgress>) -> Self {
        Self { tasks, progress }
    }
}

impl Drop for RunningTaskGuard {
    fn drop(&mut self) {
        self.tasks.running.end(&self.progress);
    }
}

impl Tasks {
    /// Creates the tasks of `session`.
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self {
            session,
            running: RunningTasks::default(),
        }
    }

    /// Creates a task for the operation that a call has started and still follows.
    pub(super) async fn promote(
        &self,
        operation: Uuid,
        progress: Arc<CallProgress>,
    ) -> Result<CreateTaskResult, ToolError> {
        let id = task_id(
            operation,
            &tools::fingerprint(&self.background_context()).await?,
        );
        let now = tools::now();
        let message = progress.message();
        self.running.add(operation, progress, now.clone());
        // Like a run with wait=false: if it would end with this process, shutdown handles it.
        self.session.leave_running(operation);
        let mut task =
            Task::new(id, TaskStatus::Working, now.clone(), now).with_poll_interval_ms(POLL_MS);
        if !message.is_empty() {
            task = task.with_status_message(message);
        }
        Ok(CreateTaskResult::new(task))
    }

    /// Returns the state of a task, with the result if it has ended.
    pub(super) async fn get(&self, id: String) -> Result<GetTaskResult, ErrorData> {
        let operation = self.operation_of(&id, |tasks| tasks.look_up).await?;
        let snapshot = match self.running.find(operation) {
            Some(snapshot) => snapshot,
            None => tools::operation_snapshot(operation, &self.background_context())
                .await
                .map_err(|error| self.error_data(error))?,
        };
        let (status, payload, message) = match snapshot.state {
            OperationState::Working(message) => {
                (TaskStatus::Working, TaskPayload::Working, Some(message))
            }
            OperationState::Cancelled(why) => (TaskStatus::Cancelled, TaskPayload::Cancelled, why),
            OperationState::Ended(answer) => {
                let result = match answer {
                    // Clients that support tasks support links.
                    Ok(answer) => result::answer(answer, Some(&ProtocolVersion::LATEST)),
                    Err(error) => result::error(&self.session.explain(error)),
                };
                let payload = TaskPayload::Completed {
                    result: object(&result)?,
                };
                (TaskStatus::Completed, payload, None)
            }
        };
        let mut task = Task::new(id, status, snapshot.created_at, snapshot.updated_at)
            .with_poll_interval_ms(POLL_MS);
        if let Some(message) = message.filter(|message| !message.is_empty()) {
            task = task.with_status_message(message);
        }
        Ok(GetTaskResult::new(DetailedTask::new(task, payload)))
    }

    /// Cancels the operation of a task. The task's status shows whether the operation was cancelled
    /// before its end.
    pub(super) async fn cancel(&self, id: &str) -> Result<(), ErrorData> {
        let operation = self.operation_of(id, |tasks| tasks.cancel).await?;
        tools::stop_operation(operation, &self.background_context())
            .await
            .map_err(|error| self.error_data(error))
    }

    /// Accepts a client's input for a task. No task requests input, so this only checks that the
    /// task exists.
    pub(super) async fn accept_input(&self, id: String) -> Result<(), ErrorData> {
        self.get(id).await.map(drop)
    }

    /// Returns the operation of a task.
    ///
    /// The operation must belong to the backend in use. The server must offer a tool that makes
    /// tasks, or the tool that `required_tool` selects.
    async fn operation_of(
        &self,
        id: &str,
        required_tool: impl Fn(&TaskTools) -> &'static str,
    ) -> Result<Uuid, ErrorData> {
        let invalid = |why: &str| {
            let data = Some(json!({"taskId": id}));
            ErrorData::invalid_params(format!("there is no task `{id}`{why}"), data)
        };
        let selection = self.session.selection();
        let makes_tasks = selection.tools().any(|tool| tool.task.is_some());
        let serves_tasks = TASK_TOOLS.is_some_and(|tasks| selection.has(required_tool(&tasks)));
        if !makes_tasks && !serves_tasks {
            return Err(invalid(
                ": this server offers no tool that creates or serves tasks",
            ));
        }
        let (operation, backend) = parse_task_id(id).ok_or_else(|| invalid(""))?;
        let backend_in_use = tools::fingerprint(&self.background_context())
            .await
            .map_err(|error| self.error_data(error))?;
        if backend != backend_in_use {
            return Err(invalid(
                ": it belongs to another backend than the one in use",
            ));
        }
        Ok(operation)
    }

    fn error_data(&self, error: ToolError) -> ErrorData {
        let missing = error.is_missing();
        let text = self.session.explain(error).to_string();
        if missing {
            ErrorData::invalid_params(text, None)
        } else {
            ErrorData::internal_error(text, None)
        }
    }

    /// Creates a context for the requests of this module.
    fn background_context(&self) -> Context {
        background_context(&self.session)
    }
}

fn task_id(operation: Uuid, backend: &str) -> String {
    format!("{operation}.{backend}")
}

fn parse_task_id(id: &str) -> Option<(Uuid, &str)> {
    let (operation, backend) = id.split_once('.')?;
    Some((operation.parse().ok()?, backend))
}

fn object(result: &CallToolResult) -> Result<JsonObject, ErrorData> {
    match serde_json::to_value(result) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(ErrorData::internal_error(
            "the answer is not a JSON object",
            None,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_id_names_operation_and_backend() {
        let operation = Uuid::from_u128(7);
        let id = task_id(operation, "0123456789ab");
        assert_eq!(parse_task_id(&id), Some((operation, "0123456789ab")));
        assert_eq!(parse_task_id("nonsense"), None);
        assert_eq!(parse_task_id(&operation.to_string()), None);
    }

    #[test]
    fn an_ended_call_is_removed_in_either_order() {
        use crate::tools::Watcher;
        let tasks = RunningTasks::default();
        let operation = Uuid::from_u128(1);
        let progress = Arc::new(CallProgress::new());
        progress.started(operation);
        tasks.add(operation, progress.clone(), tools::now());
        progress.progress("half");
        let found = tasks.find(operation).unwrap();
        assert!(matches!(found.state, OperationState::Working(line) if line == "half"));
        tasks.end(&progress);
        assert!(tasks.find(operation).is_none());
        tasks.add(operation, progress, tools::now());
        assert!(tasks.find(operation).is_none());
    }
}
