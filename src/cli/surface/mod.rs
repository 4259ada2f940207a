//! The surface of the server: everything that clients see, as a JSON value that can be compared.

mod change;
mod compare;
mod fields;
mod read;
mod shape;

use serde_json::{Value, json};

use crate::tools::{GUIDES, Tool, ToolSelection};

pub(super) use change::{Change, Severity};
pub(super) use compare::compare;
pub(super) use read::{SurfaceError, read};

/// The surface of a selection of tools, under the names of the protocol: tools, prompts, resources,
/// templates and instructions.
pub(super) fn full_surface(selection: &ToolSelection) -> Value {
    let prompts = selection.prompts().map(|prompt| {
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
    let templates = selection.resources().map(|resource| {
        json!({
            "uriTemplate": resource.uri,
            "name": resource.name,
            "title": resource.title,
            "description": resource.doc,
            "mimeType": resource.mime,
        })
    });
    json!({
        "instructions": selection.instructions(),
        "tools": selection.tools().map(tool).collect::<Vec<_>>(),
        "prompts": prompts.collect::<Vec<_>>(),
        "resources": resources.collect::<Vec<_>>(),
        "resourceTemplates": templates.collect::<Vec<_>>(),
    })
}

/// A tool as `tools/list` shows it.
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
