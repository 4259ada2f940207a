//! Lists and calls tools.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rmcp::RoleServer;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, JsonObject,
    ListToolsResult, PaginatedRequestParams, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::call_shutdown::CallShutdown;
use super::elicit::{ClientPagePresenter, input_required};
use super::paging::{LIST_TTL_MS, PAGE_SIZE, page};
use super::progress::{self, CallProgress};
use super::result;
use super::tasks::{RunningTaskGuard, TASK_DELAY, Tasks};
use crate::tools::{self, Context, Handlers, Session, ToolAnswer, ToolError};

/// Maximum number of calls that run at once; further calls wait.
const MAX_RUNNING: usize = 256;
/// Maximum number of calls that wait; further calls are refused.
const MAX_WAITING: usize = 16 * 1024;

/// Tool calls of all sessions of this process, running or waiting for a permit.
pub(super) struct ToolCalls {
    session: Arc<Session>,
    shutdown: CallShutdown,
    tasks: Arc<Tasks>,
    /// Descriptions of the offered tools. They never change while the server runs.
    listed: Vec<Tool>,
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Reasons why a call gets no permit to run.
#[derive(Debug, thiserror::Error)]
enum QueueError {
    #[error("{MAX_WAITING} calls are already waiting; wait for answers before sending more calls")]
    Full,
    #[error("the server is shutting down and accepts no more calls")]
    Closed,
    #[error("the call was cancelled before it started; nothing ran")]
    Cancelled,
    #[error("the session ended before the call started; nothing ran")]
    SessionEnded,
}

impl ToolCalls {
    /// Creates the calls of the tools that `session` offers. A long call may become one of `tasks`.
    pub(super) fn new(session: Arc<Session>, shutdown: CallShutdown, tasks: Arc<Tasks>) -> Self {
        Self {
            listed: session.selection().tools().map(describe).collect(),
            session,
            shutdown,
            tasks,
            running: Arc::new(Semaphore::new(MAX_RUNNING)),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Finds the description of an offered tool.
    pub(super) fn find(&self, name: &str) -> Option<Tool> {
        self.listed.iter().find(|tool| tool.name == name).cloned()
    }

    /// Returns one page of the list of tools.
    pub(super) fn page(
        &self,
        request: Option<PaginatedRequestParams>,
    ) -> Result<ListToolsResult, ErrorData> {
        let (tools, next) = page(&self.listed, request.as_ref(), PAGE_SIZE)?;
        let mut list = ListToolsResult::with_all_items(tools).with_ttl_ms(LIST_TTL_MS);
        list.next_cursor = next;
        Ok(list)
    }

    /// Calls a tool. An unknown tool is a protocol error; other failures are results with
    /// `isError`.
    pub(super) async fn call(
        &self,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = &request.name;
        let Some(tool) = tools::find_tool(name) else {
            let error = tools::unknown_tool(name);
            return Err(ErrorData::invalid_params(error.to_string(), None));
        };
        let selection = self.session.selection();
        if !selection.has(tool.name) {
            return Ok(result::error(&selection.refusal(&format!("`{name}`"))).into());
        }
        // The transports count a request when they read it. This counts the call as well, for any
        // transport that does not.
        let _in_flight = self.shutdown.track_call();
        let permit = match self.wait_for_permit(context).await {
            Ok(permit) => permit,
            Err(error) => return Ok(error_result(error.to_string()).into()),
        };
        if tool.task.is_some() && accepts_tasks(context) {
            return Ok(self.run_as_task(request, permit, context).await);
        }
        Ok(self.run(request, permit, context).await)
    }

    /// Waits for a permit to run.
    async fn wait_for_permit(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> Result<OwnedSemaphorePermit, QueueError> {
        let _waiting = WaitingCall::enter(&self.waiting).ok_or(QueueError::Full)?;
        tokio::select! {
            permit = self.running.clone().acquire_owned() => permit.map_err(|_| QueueError::Closed),
            () = context.ct.cancelled() => Err(QueueError::Cancelled),
            () = self.shutdown.cancelled() => Err(QueueError::SessionEnded),
        }
    }

    /// Runs a call until it ends.
    async fn run(
        &self,
        request: CallToolRequestParams,
        permit: OwnedSemaphorePermit,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResponse {
        let progress = Arc::new(CallProgress::new());
        let stop = CancellationToken::new();
        let pages = Arc::new(ClientPagePresenter::of(&request, context));
        // Boxed to keep the future of a call small.
        let work = Box::pin(async {
            let work = run_handler(
                self.session.clone(),
                request,
                pages,
                progress.clone(),
                stop.clone(),
            );
            let mut work = std::pin::pin!(work);
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.shutdown.abandoned(&context.ct) => {}
            }
            // The handler sees `stop` and returns once it has cleaned up.
            stop.cancel();
            work.await
        });
        let token = context.meta.get_progress_token();
        let done = progress::report(&context.peer, token, &progress, work).await;
        drop(permit);
        self.result(done, context)
    }

    /// Runs a call for a client that supports tasks.
    ///
    /// A call becomes a task if it has started an operation and still runs after [`TASK_DELAY`].
    async fn run_as_task(
        &self,
        request: CallToolRequestParams,
        permit: OwnedSemaphorePermit,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResponse {
        let progress = Arc::new(CallProgress::new());
        let stop = CancellationToken::new();
        let pages = Arc::new(ClientPagePresenter::of(&request, context));
        let follow = {
            let work = run_handler(
                self.session.clone(),
                request,
                pages,
                progress.clone(),
                stop.clone(),
            );
            let guard = RunningTaskGuard::new(self.tasks.clone(), progress.clone());
            async move {
                let done = work.await;
                drop((guard, permit));
                done
            }
        };
        let mut follow = contree_tasks::spawn(follow);
        let work = async {
            let promotable = async {
                tokio::time::sleep(TASK_DELAY).await;
                loop {
                    progress.operation().await;
                    // The handler may have given the operation up since then.
                    if let Some(operation) = progress.pin_operation() {
                        return operation;
                    }
                }
            };
            tokio::select! {
                biased;
                done = &mut follow => return self.join_result(done, context),
                () = self.shutdown.abandoned(&context.ct) => {}
                operation = promotable => match self.tasks.promote(operation, progress.clone()).await {
                    Ok(task) => return CallToolResponse::Task(task),
                    Err(error) => tracing::warn!("cannot turn the call into a task: {error}"),
                }
            }
            if context.ct.is_cancelled() || self.shutdown.is_cancelled() {
                stop.cancel();
            }
            tokio::select! {
                done = &mut follow => return self.join_result(done, context),
                () = self.shutdown.abandoned(&context.ct) => stop.cancel(),
            }
            self.join_result(follow.await, context)
        };
        let token = context.meta.get_progress_token();
        progress::report(&context.peer, token, &progress, work).await
    }

    fn join_result(
        &self,
        done: Result<Result<ToolAnswer, ToolError>, tokio::task::JoinError>,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResponse {
        match done {
            Ok(done) => self.result(done, context),
            Err(error) => error_result(format!("the call ended unexpectedly: {error}")).into(),
        }
    }

    fn result(
        &self,
        done: Result<ToolAnswer, ToolError>,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResponse {
        match done {
            Ok(mut answer) => {
                if let Some(page) = answer.page_request {
                    return input_required(&page.message, &page.url).into();
                }
                let selection = self.session.selection();
                answer.links.retain(|link| {
                    tools::find_resource(&link.uri)
                        .is_some_and(|(resource, _)| selection.has(resource.tool))
                });
                result::answer(answer, context.protocol_version().as_ref()).into()
            }
            Err(error) => result::error(&self.session.explain(error)).into(),
        }
    }
}

/// Reports whether the client accepts a task as an answer.
///
/// Tasks need protocol 2026-07-28 or later. A server must not answer with a task in earlier
/// versions (SEP-2663, backward compatibility). Some clients declare the extension to every server,
/// then negotiate an older version and do not follow tasks.
fn accepts_tasks(context: &RequestContext<RoleServer>) -> bool {
    let has_tasks = context
        .protocol_version()
        .is_some_and(|version| !version.has_initialize());
    has_tasks
        && context
            .client_capabilities()
            .is_some_and(|capabilities| capabilities.supports_tasks())
}

/// Calls a tool's handler. When `stop` is cancelled, the handler cleans up and returns early.
async fn run_handler(
    session: Arc<Session>,
    request: CallToolRequestParams,
    pages: Arc<ClientPagePresenter>,
    progress: Arc<CallProgress>,
    stop: CancellationToken,
) -> Result<ToolAnswer, ToolError> {
    let cx = Context::new(session, progress, stop).with_pages(pages);
    let arguments = request.arguments.unwrap_or_default();
    tools::dispatch(&Handlers, &request.name, arguments, &cx).await
}

/// A call that waits for its permit. It is counted until dropped.
struct WaitingCall<'a>(&'a AtomicUsize);

impl<'a> WaitingCall<'a> {
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::AcqRel);
        let waiting = Self(count);
        (before < MAX_WAITING).then_some(waiting)
    }
}

impl Drop for WaitingCall<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn error_result(why: String) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(why)])
}

fn describe(tool: &'static tools::Tool) -> Tool {
    let mut listed = Tool::new(tool.name, tool.description, object(tool.input_schema()));
    listed.title = Some(tool.title.to_owned());
    listed.output_schema = Some(Arc::new(object(tool.output_schema())));
    listed.annotations = Some(
        ToolAnnotations::new()
            .read_only(tool.hints.read_only)
            .destructive(tool.hints.destructive)
            .idempotent(tool.hints.idempotent)
            .open_world(tool.hints.open_world),
    );
    listed
}

/// Returns a schema's fields. Schemas of tools are always objects.
fn object(schema: Value) -> JsonObject {
    match schema {
        Value::Object(fields) => fields,
        _ => JsonObject::new(),
    }
}
