//! What clients see of guides, prompts and resource templates.

use serde_json::{Value, json};

use super::resolve::Resolved;

/// Guides, prompts and resource templates as the lists of the protocol have them.
pub fn surface(resolved: &Resolved) -> Value {
    let guides = resolved.guides.iter().map(|guide| {
        json!({
            "uri": guide.uri,
            "name": guide.name,
            "title": guide.title,
            "description": guide.doc,
            "mimeType": GUIDE_MIME,
        })
    });
    let prompts = resolved.prompts.iter().map(|prompt| {
        let arguments = prompt.arguments.iter().map(|argument| {
            let mut shown = json!({
                "name": argument.name,
                "description": argument.doc,
                "required": argument.required,
            });
            if let Some(default) = &argument.default {
                shown["default"] = json!(default);
            }
            shown
        });
        json!({
            "name": prompt.name,
            "title": prompt.title,
            "description": prompt.description,
            "arguments": arguments.collect::<Vec<_>>(),
        })
    });
    let templates = resolved.resources.iter().map(|resource| {
        json!({
            "uriTemplate": resource.uri,
            "name": resource.name,
            "title": resource.title,
            "description": resource.doc,
            "mimeType": resource.mime,
        })
    });
    json!({
        "prompts": prompts.collect::<Vec<_>>(),
        "resources": guides.collect::<Vec<_>>(),
        "resourceTemplates": templates.collect::<Vec<_>>(),
    })
}

/// The type of every guide.
pub const GUIDE_MIME: &str = "text/markdown";
