//! What clients see of the server, as a value that can be kept and compared.

mod compare;
mod read;
mod shape;

use serde_json::{Value, json};

use crate::tools::{GUIDES, Tool, ToolSelection};

pub(super) use compare::{Change, Severity, compare};
pub(super) use read::{SurfaceError, read};

/// Everything that `offer` shows: tools, prompts, resources, templates and instructions, under the names of the protocol.
pub(super) fn whole(offer: &ToolSelection) -> Value {
    let prompts = offer.prompts().map(|prompt| {
        let arguments = prompt.arguments.iter().map(|argument| {
            json!({"name": argument.name, "description": argument.doc, "required": argument.required, "default": argument.default})
        });
        json!({
            "name": prompt.name,
            "title": prompt.title,
            "description": prompt.description,
            "arguments": arguments.collect::<Vec<_>>(),
        })
    });
    let resources = GUIDES.iter().map(|guide| {
        json!({"uri": guide.uri, "name": guide.name, "title": guide.title, "description": guide.doc, "mimeType": "text/markdown"})
    });
    let templates = offer.resources().map(|resource| {
        json!({
            "uriTemplate": resource.uri,
            "name": resource.name,
            "title": resource.title,
            "description": resource.doc,
            "mimeType": resource.mime,
        })
    });
    json!({
        "instructions": offer.instructions(),
        "tools": offer.tools().map(tool).collect::<Vec<_>>(),
        "prompts": prompts.collect::<Vec<_>>(),
        "resources": resources.collect::<Vec<_>>(),
        "resourceTemplates": templates.collect::<Vec<_>>(),
    })
}

/// A tool as `tools/list` has it.
pub(super) fn tool(tool: &Tool) -> Value {
    json!({
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": tool.input_schema(),
        "outputSchema": tool.output_schema(),
        "annotations": {
            "readOnlyHint": tool.hints.read_only,
            "destructiveHint": tool.hints.destructive,
            "idempotentHint": tool.hints.idempotent,
            "openWorldHint": tool.hints.open_world,
        },
    })
}
