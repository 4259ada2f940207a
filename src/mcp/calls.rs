//! Listing and calling tools.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use rmcp::RoleServer;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, JsonObject,
    ListToolsResult, PaginatedRequestParams, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::paging::{LIST_KEPT_MS, PAGE, page};
use super::progress::{self, NewestLine};
use super::result;
use super::server::Server;
use crate::tools::{self, Context, Handlers, TOOLS};

/// How many calls run at once; further ones wait.
const RUNNING: usize = 256;
/// How many calls wait; further ones are refused.
const WAITING: usize = 16 * 1024;

static LISTED: LazyLock<Vec<Tool>> = LazyLock::new(|| TOOLS.iter().map(listed).collect());

/// One page of the tools.
pub(super) fn list(request: Option<PaginatedRequestParams>) -> Result<ListToolsResult, ErrorData> {
    let (tools, next) = page(&LISTED, request.as_ref(), PAGE)?;
    let mut list = ListToolsResult::with_all_items(tools).with_ttl_ms(LIST_KEPT_MS);
    list.next_cursor = next;
    Ok(list)
}

/// The tool with this name as it is listed.
pub(super) fn find(name: &str) -> Option<Tool> {
    LISTED.iter().find(|tool| tool.name == name).cloned()
}

/// The calls of all sessions of this process, those that run and those that wait for their turn.
pub(super) struct Queue {
    running: Semaphore,
    waiting: AtomicUsize,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            running: Semaphore::new(RUNNING),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Server {
    /// Calls a tool.
    pub(super) async fn call(
        &self,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if !TOOLS.iter().any(|tool| tool.name == request.name) {
            return Err(ErrorData::invalid_params(
                tools::unknown_tool(&request.name).to_string(),
                None,
            ));
        }
        Ok(self.run(request, context).await.into())
    }

    async fn run(
        &self,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResult {
        // A transport that knows when its input ends counts requests from there; any other is counted here.
        let _counted = self.ending.call();
        let Some(waiting) = Waiting::begin(&self.queue.waiting) else {
            return refused(format!(
                "{WAITING} calls are waiting already; wait for answers before you send more"
            ));
        };
        let permit = tokio::select! {
            permit = self.queue.running.acquire() => permit,
            () = context.ct.cancelled() => return refused("cancelled before it began".into()),
            () = self.ending.cancelled() => return refused("the session ended before the call began".into()),
        };
        drop(waiting);
        let newest = Arc::new(NewestLine::new());
        let cancelled = CancellationToken::new();
        let tool = Context::new(self.session.clone(), newest.clone(), cancelled.clone());
        let arguments = request.arguments.unwrap_or_default();
        // Boxed, so that a call that waits for its turn holds little.
        let work = Box::pin(async {
            let work = tools::dispatch(&Handlers, &request.name, arguments, &tool);
            let mut work = std::pin::pin!(work);
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.stopped(context) => {}
            }
            // The handler is told and goes on until it has cleaned up.
            cancelled.cancel();
            work.await
        });
        let done = progress::report(
            &context.peer,
            context.meta.get_progress_token(),
            &newest,
            work,
        )
        .await;
        drop(permit);
        match done {
            Ok(answer) => result::answer(answer),
            Err(error) => result::error(&self.session.explain(error)),
        }
    }
}

/// One place in the queue, given back when dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::AcqRel);
        let place = Self(count);
        (before < WAITING).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn refused(why: String) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(why)])
}

fn listed(tool: &'static tools::Tool) -> Tool {
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

/// A schema's fields; schemas of tools are objects.
fn object(schema: Value) -> JsonObject {
    match schema {
        Value::Object(fields) => fields,
        _ => JsonObject::new(),
    }
}
