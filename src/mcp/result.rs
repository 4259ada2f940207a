//! Answers and errors of tools as results of the protocol.

use rmcp::model::{CallToolResult, ContentBlock};

use crate::tools::{Answer, ToolError};

/// Both renderings of an answer. Clients show either, so each is complete by itself.
pub(super) fn answer(answer: Answer) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(answer.text)]);
    result.structured_content = Some(answer.structured);
    result
}

/// An error the model sees and can act upon, rather than a protocol error, which many clients hide.
pub(super) fn error(error: &ToolError) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(error.to_string())])
}
