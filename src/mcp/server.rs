//! What the server says and does for each request of the protocol.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CustomRequest,
    CustomResult, ErrorCode, ErrorData, Implementation, JsonObject, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::ending::Ending;
use super::progress::{self, NewestLine};
use super::result;
use crate::tools::{self, Context, Handlers, INSTRUCTIONS, Session, TOOLS};

/// How many calls run at once; further ones wait.
const RUNNING: usize = 256;
/// How many calls wait; further ones are refused.
const WAITING: usize = 16 * 1024;
/// How long clients may keep the list of tools, in milliseconds: it never changes while the server runs.
const LIST_KEPT_MS: u64 = 3_600_000;

/// The methods whose malformed parameters are to be called so. rmcp takes such a request for one of an unknown
/// method. `initialize` and `logging/setLevel` are not here, since protocol 2026-07-28 has neither.
const KNOWN_METHODS: &[&str] = &["tools/call", "tools/list", "ping", "server/discover"];

static LISTED: LazyLock<Vec<Tool>> = LazyLock::new(|| TOOLS.iter().map(listed).collect());

pub(super) struct Server {
    session: Arc<Session>,
    ending: Ending,
    running: Semaphore,
    waiting: AtomicUsize,
}

impl Server {
    pub(super) fn new(session: Arc<Session>, ending: Ending) -> Self {
        Self {
            session,
            ending,
            running: Semaphore::new(RUNNING),
            waiting: AtomicUsize::new(0),
        }
    }

    async fn call(
        &self,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResult {
        let Some(waiting) = Waiting::begin(&self.waiting) else {
            return refused(format!(
                "{WAITING} calls are waiting already; wait for answers before you send more"
            ));
        };
        let permit = tokio::select! {
            permit = self.running.acquire() => permit,
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
                () = context.ct.cancelled() => {}
                () = self.ending.cancelled() => {}
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

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let name =
            Implementation::new("contree-mcp", env!("CARGO_PKG_VERSION")).with_title("Contree");
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(name)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if let Some(cursor) = request.and_then(|request| request.cursor) {
            return Err(ErrorData::invalid_params(
                format!("no such cursor: `{cursor}` (the list is one page)"),
                None,
            ));
        }
        Ok(ListToolsResult::with_all_items(LISTED.clone()).with_ttl_ms(LIST_KEPT_MS))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        LISTED.iter().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if !TOOLS.iter().any(|tool| tool.name == request.name) {
            return Err(ErrorData::invalid_params(
                tools::unknown_tool(&request.name).to_string(),
                None,
            ));
        }
        Ok(self.call(request, &context).await.into())
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        if KNOWN_METHODS.contains(&request.method.as_str()) {
            let message = format!("the parameters of `{}` are malformed", request.method);
            return Err(ErrorData::invalid_params(message, None));
        }
        Err(ErrorData::new(
            ErrorCode::METHOD_NOT_FOUND,
            request.method,
            None,
        ))
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
