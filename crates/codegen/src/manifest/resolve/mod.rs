//! The manifest with every reference followed: each argument has its full type, each tool its operations.

mod extras;
mod params;

use std::collections::BTreeMap;

use serde::Serialize;

use super::api::Api;
use super::model::{self, Local, Manifest};
use super::names::{is_snake_case, suggestion};
use super::problem::{Problem, Source};
use super::schema::Shape;
use super::yaml::At;

pub use extras::{Guide, Prompt, Resource};

/// All that clients see, in the order of the manifest.
#[derive(Debug)]
pub struct Resolved {
    /// The tools.
    pub tools: Vec<Tool>,
    /// The guides.
    pub guides: Vec<Guide>,
    /// The prompts.
    pub prompts: Vec<Prompt>,
    /// The resource templates.
    pub resources: Vec<Resource>,
    /// The toolsets and what they are for.
    pub toolsets: Vec<(String, String)>,
}

/// A tool whose references are followed.
#[derive(Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// Its family.
    pub toolset: String,
    /// The operation that a generated handler calls.
    pub operation: Option<String>,
    /// Whether it answers what the API does.
    pub plain: bool,
    /// The operations that its handler calls.
    pub uses: Vec<String>,
    /// What it touches on the machine of the server.
    pub local: Local,
    /// What clients may assume.
    pub hints: Hints,
    /// Its arguments.
    pub params: Vec<Param>,
}

/// The hints under the names of the protocol.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Hints {
    /// It changes nothing.
    #[serde(rename = "readOnlyHint")]
    pub read_only: bool,
    /// It may overwrite or remove something.
    #[serde(rename = "destructiveHint")]
    pub destructive: bool,
    /// Calling it twice is the same as calling it once.
    #[serde(rename = "idempotentHint")]
    pub idempotent: bool,
    /// It may reach things beyond the backend.
    #[serde(rename = "openWorldHint")]
    pub open_world: bool,
}

/// An argument whose type is known.
#[derive(Debug)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its type, bounds, choices and default.
    pub shape: Shape,
    /// Whether it must be given.
    pub required: bool,
    /// Names that are accepted too.
    pub aliases: Vec<String>,
    /// Whether the values of a map may be null.
    pub null_values: bool,
    /// The parameter of the mapped operation that it becomes.
    pub parameter: Option<String>,
}

/// Follows the references of the manifest.
///
/// # Errors
/// Returns every reference that leads nowhere, every override without a reason and every argument that cannot be.
pub fn resolve(source: &Source, manifest: &Manifest, api: &Api) -> Result<Resolved, Vec<Problem>> {
    let mut resolver = Resolver {
        file: &source.name,
        api,
        problems: Vec::new(),
    };
    let tools = manifest
        .tools
        .iter()
        .map(|(name, tool)| resolver.tool(name, tool, manifest))
        .collect();
    let toolsets = manifest
        .toolsets
        .iter()
        .map(|(name, doc)| (name.value.clone(), doc.value.clone()))
        .collect();
    let (guides, prompts) = (resolver.guides(manifest), resolver.prompts(manifest));
    let resources = resolver.resources(manifest);
    resolver.problems.sort();
    if resolver.problems.is_empty() {
        Ok(Resolved {
            tools,
            guides,
            prompts,
            resources,
            toolsets,
        })
    } else {
        Err(resolver.problems)
    }
}

struct Resolver<'a> {
    file: &'a str,
    api: &'a Api,
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    fn problem(&mut self, line: u64, text: impl Into<String>) {
        self.problems.push(Problem::new(self.file, line, text));
    }

    fn tool(&mut self, name: &At<String>, tool: &model::Tool, manifest: &Manifest) -> Tool {
        if !is_snake_case(name) {
            self.problem(
                name.line,
                format!(
                    "`{}` is no name for a tool (write it in snake_case)",
                    name.value
                ),
            );
        }
        if !manifest.toolsets.contains_key(tool.toolset.as_str()) {
            let known = manifest.toolsets.keys().map(|name| name.as_str());
            let meant = suggestion(&tool.toolset, known);
            self.problem(
                tool.toolset.line,
                format!("{}: no toolset `{}`{meant}", name.value, tool.toolset.value),
            );
        }
        if let (Some(_), Some(first)) = (&tool.operation, tool.uses.first()) {
            self.problem(
                first.line,
                format!(
                    "{}: `operation` says it already (remove `uses`)",
                    name.value
                ),
            );
        }
        if let (None, Some(answer)) = (&tool.operation, &tool.answer) {
            self.problem(
                answer.line,
                format!(
                    "{}: only a generated handler can answer `plain` (add `operation`, or remove `answer`)",
                    name.value
                ),
            );
        }
        let uses: Vec<_> = tool.operation.iter().chain(&tool.uses).collect();
        for id in &uses {
            if !self.api.operations.contains_key(id.as_str()) {
                let meant = suggestion(id, self.api.operations.keys().map(String::as_str));
                self.problem(
                    id.line,
                    format!(
                        "{}: the API has no operation `{}`{meant}",
                        name.value, id.value
                    ),
                );
            }
        }
        let params: Vec<_> = tool
            .params
            .iter()
            .map(|(param, at)| self.param(name, tool, param, at))
            .collect();
        self.unique_names(name, tool);
        if let Some(operation) = &tool.operation {
            self.mapped(name, operation, &params);
        }
        let hints = &tool.hints;
        Tool {
            name: name.value.clone(),
            title: tool.title.value.clone(),
            toolset: tool.toolset.value.clone(),
            operation: tool.operation.as_ref().map(|id| id.value.clone()),
            plain: tool.answer.is_some(),
            uses: uses.into_iter().map(|id| id.value.clone()).collect(),
            local: tool.local.value,
            hints: Hints {
                read_only: hints.read_only,
                destructive: hints.destructive,
                idempotent: hints.idempotent,
                open_world: hints.open_world,
            },
            params,
        }
    }

    /// No name stands for two arguments.
    fn unique_names(&mut self, tool: &At<String>, model: &model::Tool) {
        let mut taken: BTreeMap<&str, &str> = model
            .params
            .keys()
            .map(|name| (name.as_str(), name.as_str()))
            .collect();
        for (param, at) in model.params.iter() {
            for alias in &at.aliases {
                if let Some(other) = taken.insert(alias, param) {
                    let text = format!(
                        "{}.{}: `{}` is a name of `{other}` already",
                        tool.value, param.value, alias.value
                    );
                    self.problem(alias.line, format!("{text} (choose another alias)"));
                }
            }
        }
    }

    /// A generated handler needs every parameter that the operation requires, and has no way to send a body.
    fn mapped(&mut self, tool: &At<String>, operation: &At<String>, params: &[Param]) {
        let label = &tool.value;
        if self.api.has_body(operation) {
            let text = format!(
                "{label}: `{}` takes a body (write a handler, and `uses`)",
                operation.value
            );
            self.problem(operation.line, text);
        }
        for required in self.api.required_parameters(operation) {
            if !params
                .iter()
                .any(|param| param.parameter.as_deref() == Some(required))
            {
                let text = format!(
                    "{label}: `{}` requires `{required}` (add a param from it)",
                    operation.value
                );
                self.problem(operation.line, text);
            }
        }
    }
}
