//! The surface of guides, prompts and resource templates.

use serde_json::{Value, json};

use super::resolve::ResolvedManifest;

/// Guides, prompts and resource templates in the form of the protocol's lists.
pub fn surface(resolved: &ResolvedManifest) -> Value {
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

/// The media type of every guide.
pub const GUIDE_MIME: &str = "text/markdown";
