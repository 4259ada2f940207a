//! The surface of tools, with their input schemas.

use serde_json::{Map, Value, json};

use super::resolve::{ResolvedManifest, Tool};
use super::shape::Shape;
use super::texts::RenderedTexts;

/// The input schema of a tool, with the rendered texts.
pub fn input_schema(tool: &Tool, texts: &RenderedTexts) -> Value {
    let properties = tool.params.iter().map(|param| {
        let description = Some(texts.param(&tool.name, &param.name).to_owned());
        let shape = Shape {
            description,
            ..param.shape.clone()
        };
        (param.name.clone(), json!(shape))
    });
    let properties: Map<_, _> = properties.collect();
    let required: Vec<_> = tool
        .params
        .iter()
        .filter(|param| param.required)
        .map(|param| &param.name)
        .collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema["additionalProperties"] = json!(false);
    schema
}

/// The name of each tool and its entry of `tools/list`, without output schemas, which come from the
/// result types.
pub fn surface(resolved: &ResolvedManifest, texts: &RenderedTexts) -> Vec<(String, Value)> {
    let tool = |tool: &Tool| {
        let value = json!({
            "name": tool.name,
            "title": tool.title,
            "description": texts.description(&tool.name),
            "inputSchema": input_schema(tool, texts),
            "annotations": tool.hints,
        });
        (tool.name.clone(), value)
    };
    resolved.tools.iter().map(tool).collect()
}
