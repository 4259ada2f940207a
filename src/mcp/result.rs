//! Answers and errors of tools as results of the protocol.

use rmcp::model::{CallToolResult, ContentBlock, ProtocolVersion, Resource};

use crate::tools::{Answer, ToolError};

/// Both renderings of an answer. Clients show either, so each is complete by itself.
/// Links go to clients of a protocol that has them alone.
pub(super) fn answer(answer: Answer, version: Option<&ProtocolVersion>) -> CallToolResult {
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

/// An error the model sees and can act upon, rather than a protocol error, which many clients hide.
pub(super) fn error(error: &ToolError) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(error.to_string())])
}
