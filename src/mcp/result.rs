//! Converts answers and errors of tools to results of the protocol.

use rmcp::model::{CallToolResult, ContentBlock, ProtocolVersion, Resource};
use serde_json::json;

use crate::tools::{ToolAnswer, ToolError};

/// Builds a result with the text and the structured content of an answer.
///
/// Clients show either, so each is complete. Links need protocol 2025-06-18 or later.
pub(super) fn answer(answer: ToolAnswer, version: Option<&ProtocolVersion>) -> CallToolResult {
    let mut content = vec![ContentBlock::text(answer.text)];
    if version.is_some_and(|version| *version >= ProtocolVersion::V_2025_06_18) {
        content.extend(answer.links.into_iter().map(|link| {
            ContentBlock::resource_link(
                Resource::new(link.uri, link.name).with_mime_type(link.mime),
            )
        }));
    }
    let mut result = CallToolResult::success(content);
    result.structured_content = Some(answer.structured);
    result.is_error = Some(answer.is_failure);
    result
}

/// Builds an error that the model sees and can act upon. Many clients hide protocol errors.
///
/// The structured content has the code, and the whole text for clients that show no other content.
pub(super) fn error(error: &ToolError) -> CallToolResult {
    let text = error.to_string();
    let structured = json!({"code": error.code().name(), "error": text});
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    result.structured_content = Some(structured);
    result
}
