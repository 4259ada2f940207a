//! Renders all texts of the manifest.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::mentions::MentionChecker;
use super::model::Manifest;
use super::problem::Problem;
use super::resolve::{Param, Prompt, ResolvedManifest, Tool};
use super::templates::{Templates, TextEntry};
use super::yaml::Located;
use super::{Inputs, documents};

/// The rendered texts.
#[derive(Debug, Default)]
pub struct RenderedTexts {
    /// The instructions that a client receives when it connects.
    pub instructions: String,
    /// The name and the text of each guide.
    pub guides: Vec<(String, String)>,
    /// The path and the content of each generated page.
    pub documents: Vec<(String, String)>,
    /// The values, including the rendered texts, for templates that the server renders at run time.
    pub facts: Value,
    /// The template of the instructions.
    pub instructions_template: String,
    /// The tools that each prompt calls.
    prompts: BTreeMap<String, BTreeSet<String>>,
    /// The tools that each guide mentions.
    guide_tools: BTreeMap<String, BTreeSet<String>>,
    descriptions: BTreeMap<String, String>,
    params: BTreeMap<(String, String), String>,
}

impl RenderedTexts {
    /// The description of a tool.
    pub fn description(&self, tool: &str) -> &str {
        self.descriptions.get(tool).map_or("", String::as_str)
    }

    /// The tools that a prompt calls.
    pub fn called_by(&self, prompt: &str) -> impl Iterator<Item = &str> {
        self.prompts
            .get(prompt)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// The tools that a guide mentions.
    pub fn mentioned_by(&self, guide: &str) -> impl Iterator<Item = &str> {
        self.guide_tools
            .get(guide)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// The description of an argument.
    pub fn param(&self, tool: &str, param: &str) -> &str {
        self.params
            .get(&(tool.to_owned(), param.to_owned()))
            .map_or("", String::as_str)
    }
}

/// Renders all texts, and checks that they mention only existing names.
pub fn render(
    inputs: &Inputs<'_>,
    manifest: &Manifest,
    resolved: &ResolvedManifest,
    problems: &mut Vec<Problem>,
) -> RenderedTexts {
    let before = problems.len();
    let mut templates = Templates::load(inputs.templates, problems);
    let file = inputs.manifest.name.as_str();
    let facts = facts(resolved, inputs.version);
    let mentions = MentionChecker::new(inputs.scheme, manifest, resolved);
    let mut texts = RenderedTexts::default();
    let mut text = |located: &Located<String>, context: &Value, problems: &mut Vec<Problem>| {
        let entry = TextEntry {
            file,
            line: located.line,
            text: &located.value,
        };
        let rendered = templates.render(entry, context, problems)?;
        mentions.check(entry, source(inputs, located), &rendered, problems);
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
        for (param, argument) in model.params.iter() {
            if let Some(text) = text(&argument.doc, &context, problems) {
                texts
                    .params
                    .insert((tool.name.clone(), param.value.clone()), text);
            }
        }
    }
    texts.instructions_template = manifest.instructions.value.clone();
    texts.instructions = text(&manifest.instructions, &facts, problems).unwrap_or_default();
    for (name, guide) in manifest.guides.iter() {
        let rendered = text(&guide.template, &facts, problems);
        let tools = rendered
            .as_deref()
            .map(|text| mentions.mentioned_tools(text));
        texts
            .guide_tools
            .insert(name.value.clone(), tools.unwrap_or_default());
        texts
            .guides
            .extend(rendered.map(|text| (name.value.clone(), text)));
    }
    let mut context = facts;
    describe(&mut context, &texts);
    texts.facts = context.clone();
    for (path, template) in manifest.documents.iter() {
        let rendered = text(template, &context, problems);
        texts
            .documents
            .extend(rendered.map(|text| (path.value.clone(), documents::finish(&text))));
    }
    if let Some(page) = &manifest.page {
        text(page, &for_page(&context), problems);
    }
    for prompt in &resolved.prompts {
        let Some(model) = manifest.prompts.get(prompt.name.as_str()) else {
            continue;
        };
        let called = prompt_text(
            &mut templates,
            &mentions,
            inputs,
            prompt,
            model,
            &context,
            problems,
        );
        texts.prompts.insert(prompt.name.clone(), called);
    }
    // After a failure, some includes may not have been reached.
    if problems.len() == before {
        templates.unused(problems);
    }
    texts
}

/// Renders a prompt as the server does, once with all arguments and once without those that may be
/// absent. Returns the tools that it calls.
fn prompt_text(
    templates: &mut Templates,
    mentions: &MentionChecker<'_>,
    inputs: &Inputs<'_>,
    prompt: &Prompt,
    model: &super::model::Prompt,
    facts: &Value,
    problems: &mut Vec<Problem>,
) -> BTreeSet<String> {
    let template = &model.template;
    let entry = TextEntry {
        file: &inputs.manifest.name,
        line: template.line,
        text: &template.value,
    };
    let (mut all, mut minimal) = (facts.clone(), facts.clone());
    for argument in &prompt.arguments {
        let value = argument.default.as_deref().unwrap_or(SAMPLE);
        all[&argument.name] = json!(value);
        if argument.required || argument.default.is_some() {
            minimal[&argument.name] = json!(value);
        }
    }
    let Some(complete) = templates.render(entry, &all, problems) else {
        return BTreeSet::new();
    };
    let mut called = mentions.check(entry, source(inputs, template), &complete, problems);
    if let Some(short) = templates.render_again(entry, &minimal, problems) {
        called.extend(mentions.check(entry, source(inputs, template), &short, problems));
    }
    for argument in &prompt.arguments {
        if !templates.reads(&template.value, &argument.name) {
            let text = format!(
                "the template never reads the argument `{}` (use it, or remove it)",
                argument.name
            );
            problems.push(Problem::new(entry.file, template.line, text));
        }
    }
    called
}

/// The sample value of an argument without a default.
const SAMPLE: &str = "VALUE";

/// The text before rendering, in which the lines of mistakes are found.
fn source<'a>(inputs: &'a Inputs<'_>, text: &'a str) -> &'a str {
    let template = inputs
        .templates
        .iter()
        .find(|template| template.name == text);
    template.map_or(text, |template| &template.text)
}

/// The values for templates.
fn facts(resolved: &ResolvedManifest, version: &str) -> Value {
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
    let guides = resolved.guides.iter().map(|guide| {
        let facts = json!({
            "name": guide.name,
            "title": guide.title,
            "doc": guide.doc,
            "uri": guide.uri,
        });
        (guide.name.clone(), facts)
    });
    let prompts = resolved
        .prompts
        .iter()
        .map(|prompt| (prompt.name.clone(), prompt_facts(prompt)));
    let resources = resolved.resources.iter().map(|resource| {
        let facts = json!({
            "name": resource.name,
            "uri": resource.uri,
            "title": resource.title,
            "doc": resource.doc,
            "mime": resource.mime,
            "tool": resource.tool,
        });
        (resource.name.clone(), facts)
    });
    json!({
        "tools": tools,
        "toolsets": toolsets.collect::<Map<_, _>>(),
        "guides": guides.collect::<Map<_, _>>(),
        "prompts": prompts.collect::<Map<_, _>>(),
        "resources": resources.collect::<Map<_, _>>(),
        "version": version,
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

fn prompt_facts(prompt: &Prompt) -> Value {
    let arguments = prompt.arguments.iter().map(|argument| {
        let mut facts = json!({
            "name": argument.name,
            "doc": argument.doc,
            "required": argument.required,
        });
        if let Some(default) = &argument.default {
            facts["default"] = json!(default);
        }
        (argument.name.clone(), facts)
    });
    json!({
        "name": prompt.name,
        "title": prompt.title,
        "description": prompt.description,
        "arguments": arguments.collect::<Map<_, _>>(),
    })
}

/// The values of an argument. Bounds and default exist only if the argument has them, so that a
/// text cannot mention a missing one.
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
    for (key, length) in [
        ("min_length", shape.min_length),
        ("max_length", shape.max_length),
    ] {
        if let Some(length) = length {
            facts[key] = json!(length);
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

/// The values for the web page. Samples stand for the values that the server adds when it renders
/// the page, such as texts in HTML.
fn for_page(facts: &Value) -> Value {
    let mut context = facts.clone();
    let copy = |entry: &mut Value, from: &str, to: &str| entry[to] = entry[from].clone();
    for tool in context["tools"]
        .as_object_mut()
        .into_iter()
        .flat_map(Map::values_mut)
    {
        copy(tool, "description", "description_html");
        for param in tool["params"]
            .as_object_mut()
            .into_iter()
            .flat_map(Map::values_mut)
        {
            copy(param, "doc", "doc_html");
        }
    }
    for guide in context["guides"]
        .as_object_mut()
        .into_iter()
        .flat_map(Map::values_mut)
    {
        copy(guide, "text", "text_html");
    }
    let file = json!({"name": SAMPLE, "version": SAMPLE, "integrity": SAMPLE});
    context["page"] = json!({
        "url": SAMPLE,
        "kind": "live",
        "token": true,
        "instructions": SAMPLE,
        "css": file,
        "scripts": [file],
    });
    context
}

/// Adds the rendered texts to the values, for pages that show them.
fn describe(context: &mut Value, texts: &RenderedTexts) {
    for (name, tool) in context["tools"].as_object_mut().into_iter().flatten() {
        tool["description"] = json!(texts.description(name));
        for (param, facts) in tool["params"].as_object_mut().into_iter().flatten() {
            facts["doc"] = json!(texts.param(name, param));
        }
    }
    for (name, text) in &texts.guides {
        context["guides"][name]["text"] = json!(text);
    }
    context["instructions"] = json!(texts.instructions);
}
