//! The Model Context Protocol over standard input and output, and over HTTP. Only this module uses
//! rmcp.
//!
//! No tool name appears here. The manifest's table lists the tools, and the generated dispatch
//! calls them.

mod background_context;
mod call_shutdown;
mod complete;
#[cfg(feature = "conformance")]
#[path = "../../tests/conformance/fixtures.rs"]
mod conformance;
mod elicit;
mod http;
mod line_reader;
mod message;
mod method_error;
mod paging;
mod progress;
mod prompts;
mod resources;
mod result;
mod server;
mod tasks;
mod tool_calls;
mod transport;

use std::sync::Arc;

use contree_error_codes::ErrorCode;
use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use tokio_util::sync::CancellationToken;

use crate::tools::Session;
use call_shutdown::CallShutdown;
use server::Server;
use transport::LineTransport;

pub use http::{HttpOptions, HttpServer, InvalidToken, Token, is_host};

/// A failure to serve a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The handshake failed.
    #[error("the MCP handshake failed: {0}")]
    Handshake(String),
    /// The session's own task failed.
    #[error("the MCP session failed: {0}")]
    Session(String),
    /// The server cannot listen.
    #[error("{0}")]
    Listen(String),
}

impl ServeError {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Handshake(_) | Self::Session(_) => ErrorCode::HandshakeFailed,
            Self::Listen(_) => ErrorCode::ListenFailed,
        }
    }
}

/// Serves one session over standard input and output, until the input ends or `stop` is cancelled.
///
/// At the end of the input, calls in flight get five seconds to finish; then they are cancelled.
/// `stop` cancels them at once. Returns when they have cleaned up, or after three seconds more.
///
/// # Errors
/// If the handshake or the session fails. The end of the input is not an error.
pub async fn serve(session: Arc<Session>, stop: CancellationToken) -> Result<(), ServeError> {
    let (read, write) = rmcp::transport::stdio_pipes();
    let shutdown = CallShutdown::new(stop);
    let transport = LineTransport::new(read, write, shutdown.clone());
    let server = Server::new(session, shutdown);
    // rmcp does not get `stop`: the transport ends the input instead, once the calls have ended.
    let running = match server.serve(transport).await {
        Ok(running) => running,
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(ServeError::Handshake(error.to_string())),
    };
    running
        .waiting()
        .await
        .map_err(|error| ServeError::Session(error.to_string()))?;
    Ok(())
}
