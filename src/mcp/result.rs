//! Converts answers and errors of tools to results of the protocol.

use rmcp::model::{CallToolResult, ContentBlock, MetaObject, ProtocolVersion, Resource};

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

/// The key of `_meta` with the code of an error.
const CODE_KEY: &str = "dev.contree/code";

/// Builds an error that the model sees and can act upon. Many clients hide protocol errors.
///
/// The code is metadata. Structured content would have to match the output schema of the tool:
/// clients check it even in errors, and then hide the message.
pub(super) fn error(error: &ToolError) -> CallToolResult {
    let mut result = CallToolResult::error(vec![ContentBlock::text(error.to_string())]);
    let mut meta = MetaObject::new();
    let code = error.code().name().into();
    meta.0.insert(CODE_KEY.to_owned(), code);
    result.meta = Some(meta);
    result
}
