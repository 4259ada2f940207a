//! The surface of tools, with their input schemas.

use serde_json::{Map, Value, json};

use super::resolve::{ResolvedManifest, Tool};
use super::shape::Shape;
use super::texts::RenderedTexts;

/// The formats that all large model providers accept in the schema of a tool. Some providers refuse
/// a tool with any other format.
const SHARED_FORMATS: [&str; 1] = ["date-time"];

/// The input schema of a tool that clients receive, with the rendered texts.
pub fn published_schema(tool: &Tool, texts: &RenderedTexts) -> Value {
    schema(tool, texts, without_other_formats)
}

/// The schema against which arguments are checked. It also has the formats that are not published.
pub fn argument_schema(tool: &Tool, texts: &RenderedTexts) -> Value {
    schema(tool, texts, |shape| shape)
}

fn without_other_formats(mut shape: Shape) -> Shape {
    let is_shared = |format: &String| SHARED_FORMATS.contains(&format.as_str());
    shape.format = shape.format.filter(is_shared);
    for inner in [&mut shape.items, &mut shape.additional_properties] {
        if let Some(shape) = inner.take() {
            *inner = Some(Box::new(without_other_formats(*shape)));
        }
    }
    shape
}

fn schema(tool: &Tool, texts: &RenderedTexts, change: impl Fn(Shape) -> Shape) -> Value {
    let properties = tool.params.iter().map(|param| {
        let description = Some(texts.param(&tool.name, &param.name).to_owned());
        let shape = Shape {
            description,
            ..param.shape.clone()
        };
        (param.name.clone(), json!(change(shape)))
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
            "inputSchema": published_schema(tool, texts),
            "annotations": tool.hints,
        });
        (tool.name.clone(), value)
    };
    resolved.tools.iter().map(tool).collect()
}
