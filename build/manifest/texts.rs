//! All texts of the manifest, rendered.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::model::Manifest;
use super::problem::Problem;
use super::prose;
use super::resolve::{Param, Resolved, Tool};
use super::templates::{Entry, Templates};
use super::yaml::At;
use super::{Inputs, documents};

/// The rendered texts.
#[derive(Debug, Default)]
pub struct Texts {
    /// What a client is told when it connects.
    pub instructions: String,
    /// The guides by name.
    pub guides: Vec<(String, String)>,
    /// The generated pages by path.
    pub documents: Vec<(String, String)>,
    descriptions: BTreeMap<String, String>,
    params: BTreeMap<(String, String), String>,
}

impl Texts {
    /// What a tool does.
    pub fn description(&self, tool: &str) -> &str {
        self.descriptions.get(tool).map_or("", String::as_str)
    }

    /// What an argument means.
    pub fn param(&self, tool: &str, param: &str) -> &str {
        self.params
            .get(&(tool.to_owned(), param.to_owned()))
            .map_or("", String::as_str)
    }
}

/// Renders everything, and checks that it speaks only of what exists.
pub fn render(
    inputs: &Inputs<'_>,
    manifest: &Manifest,
    resolved: &Resolved,
    problems: &mut Vec<Problem>,
) -> Texts {
    let before = problems.len();
    let mut templates = Templates::load(inputs.templates, problems);
    let file = inputs.manifest.name.as_str();
    let facts = facts(manifest, resolved);
    let prose = prose::Names::new(manifest, resolved);
    let mut texts = Texts::default();
    let mut text = |at: &At<String>, context: &Value, problems: &mut Vec<Problem>| {
        let entry = Entry {
            file,
            line: at.line,
            text: &at.value,
        };
        let rendered = templates.render(entry, context, problems)?;
        prose.check(entry, source(inputs, at), &rendered, problems);
        Some(rendered)
    };
    for tool in &resolved.tools {
        let Some(model) = manifest.tools.get(tool.name.as_str()) else {
            continue;
        };
        let mut context = facts.clone();
        context["tool"] = facts["tools"][&tool.name].clone();
        if let Some(text) = text(&model.description, &context, problems) {
            texts.descriptions.insert(tool.name.clone(), text);
        }
        for (param, at) in model.params.iter() {
            if let Some(text) = text(&at.doc, &context, problems) {
                texts
                    .params
                    .insert((tool.name.clone(), param.value.clone()), text);
            }
        }
    }
    texts.instructions = text(&manifest.instructions, &facts, problems).unwrap_or_default();
    for (name, guide) in manifest.guides.iter() {
        texts
            .guides
            .extend(text(guide, &facts, problems).map(|text| (name.value.clone(), text)));
    }
    let mut context = facts;
    describe(&mut context, &texts);
    for (path, template) in manifest.documents.iter() {
        let rendered = text(template, &context, problems);
        texts
            .documents
            .extend(rendered.map(|text| (path.value.clone(), documents::finish(&text))));
    }
    // A text that failed has perhaps not come to its includes.
    if problems.len() == before {
        templates.unused(problems);
    }
    texts
}

/// The text before rendering, to find lines in.
fn source<'a>(inputs: &'a Inputs<'_>, text: &'a str) -> &'a str {
    let template = inputs
        .templates
        .iter()
        .find(|template| template.name == text);
    template.map_or(text, |template| &template.text)
}

/// What templates may speak of.
fn facts(manifest: &Manifest, resolved: &Resolved) -> Value {
    let tools: Map<_, _> = resolved
        .tools
        .iter()
        .map(|tool| (tool.name.clone(), tool_facts(tool)))
        .collect();
    let toolsets = resolved.toolsets.iter().map(|(name, doc)| {
        let members = resolved
            .tools
            .iter()
            .filter(|tool| tool.toolset == *name)
            .map(|tool| tool.name.as_str());
        (
            name.clone(),
            json!({"name": name, "doc": doc, "tools": members.collect::<Vec<_>>()}),
        )
    });
    let guides = manifest.guides.keys().map(|name| {
        let uri = format!("contree://guide/{}", name.value);
        (name.value.clone(), json!({"name": name.value, "uri": uri}))
    });
    json!({
        "tools": tools,
        "toolsets": toolsets.collect::<Map<_, _>>(),
        "guides": guides.collect::<Map<_, _>>(),
    })
}

fn tool_facts(tool: &Tool) -> Value {
    let params: Map<_, _> = tool
        .params
        .iter()
        .map(|param| (param.name.clone(), param_facts(param)))
        .collect();
    json!({
        "name": tool.name,
        "title": tool.title,
        "toolset": tool.toolset,
        "uses": tool.uses,
        "read_only": tool.hints.read_only,
        "destructive": tool.hints.destructive,
        "params": params,
    })
}

/// Bounds and default are there only if the argument has them, so that a text cannot speak of one it has not.
fn param_facts(param: &Param) -> Value {
    let shape = &param.shape;
    let mut facts =
        json!({"name": param.name, "type": type_name(param), "required": param.required});
    let optional = [
        ("default", &shape.default),
        ("min", &shape.minimum),
        ("max", &shape.maximum),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            facts[key] = value.clone();
        }
    }
    if let Some(choices) = &shape.choices {
        facts["choices"] = json!(choices);
    }
    facts
}

fn type_name(param: &Param) -> String {
    let shape = &param.shape;
    match (&shape.items, &shape.additional_properties) {
        (Some(items), _) => format!("array of {}", items.kind),
        (_, Some(values)) => format!("map of {}", values.kind),
        _ => shape.format.clone().unwrap_or_else(|| shape.kind.clone()),
    }
}

/// Adds the rendered texts to the facts, for pages that show them.
fn describe(context: &mut Value, texts: &Texts) {
    for (name, tool) in context["tools"].as_object_mut().into_iter().flatten() {
        tool["description"] = json!(texts.description(name));
        for (param, facts) in tool["params"].as_object_mut().into_iter().flatten() {
            facts["doc"] = json!(texts.param(name, param));
        }
    }
    context["instructions"] = json!(texts.instructions);
}
