//! What the server says and does for each request of the protocol, whatever transport brought it.
//!
//! One `Server` serves every session of a process: it is shared through an [`Arc`](std::sync::Arc), which is a handler
//! as well. Each kind of request has its file; this one says which there are.

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CustomRequest, CustomResult, ErrorCode, ErrorData,
    Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
    Tool,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};

use super::calls::{self, Queue};
use super::ending::Ending;
use crate::tools::{INSTRUCTIONS, Session};

/// The methods whose malformed parameters are to be called so. rmcp takes such a request for one of an unknown
/// method. `initialize` and `logging/setLevel` are not here, since protocol 2026-07-28 has neither.
const KNOWN_METHODS: &[&str] = &["tools/call", "tools/list", "ping", "server/discover"];

/// The handler of all requests.
pub(super) struct Server {
    pub(super) session: Arc<Session>,
    pub(super) ending: Ending,
    pub(super) queue: Queue,
}

impl Server {
    /// Serves `session` until `ending` says that it is over.
    pub(super) fn new(session: Arc<Session>, ending: Ending) -> Self {
        Self {
            session,
            ending,
            queue: Queue::default(),
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
        calls::list(request)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        calls::find(name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.call(request, &context).await
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
