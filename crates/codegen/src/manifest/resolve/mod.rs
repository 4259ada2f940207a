//! Resolves the references of the manifest: each argument gets its full type, each tool its
//! operations.

mod extras;
mod mapped;
mod params;
mod tasks;

use std::collections::BTreeMap;

use serde::Serialize;

use super::Inputs;
use super::api::Api;
use super::model::{self, LocalEffect, Manifest};
use super::names::{is_rust_name, is_snake_case, suggestion};
use super::problem::Problem;
use super::shape::Shape;
use super::yaml::Located;

pub use extras::{Guide, Prompt, Resource, guide_uri};
pub use mapped::RequestTarget;
pub use tasks::{TaskSource, TaskTools};

/// The resolved manifest, in the order of the file.
#[derive(Debug)]
pub struct ResolvedManifest {
    /// The tools.
    pub tools: Vec<Tool>,
    /// The tools that serve every task.
    pub tasks: Option<TaskTools>,
    /// The guides.
    pub guides: Vec<Guide>,
    /// The prompts.
    pub prompts: Vec<Prompt>,
    /// The resource templates.
    pub resources: Vec<Resource>,
    /// The name and the description of each toolset.
    pub toolsets: Vec<(String, String)>,
}

/// A tool with resolved references.
#[derive(Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// Its toolset.
    pub toolset: String,
    /// The operation that a generated handler calls.
    pub operation: Option<String>,
    /// Whether it returns the API's answer unchanged.
    pub plain: bool,
    /// Its former names.
    pub aliases: Vec<String>,
    /// The operations that its handler calls.
    pub uses: Vec<String>,
    /// The task that a call of it makes.
    pub task: Option<TaskSource>,
    /// Its effect on files of the server's machine.
    pub local: LocalEffect,
    /// The properties that clients may assume.
    pub hints: Hints,
    /// Its arguments.
    pub params: Vec<Param>,
}

/// The hints with their names in the protocol.
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
    /// It may reach systems other than the backend.
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
    /// Whether it is required.
    pub required: bool,
    /// Other accepted names.
    pub aliases: Vec<String>,
    /// Whether the values of a map may be null.
    pub null_values: bool,
    /// Whether an empty text has a meaning of its own.
    pub keeps_empty: bool,
    /// The part of the mapped operation's request that it sets.
    pub target: Option<RequestTarget>,
}

/// Resolves the references of the manifest.
///
/// # Errors
/// Every unknown reference, every override without a reason, and every invalid argument.
pub fn resolve(inputs: &Inputs<'_>, manifest: &Manifest) -> Result<ResolvedManifest, Vec<Problem>> {
    let mut resolver = Resolver {
        file: &inputs.manifest.name,
        api: inputs.api,
        scheme: inputs.scheme,
        problems: Vec::new(),
    };
    let tools = manifest
        .tools
        .iter()
        .map(|(name, tool)| resolver.tool(name, tool, manifest))
        .collect();
    resolver.unique_tools(manifest);
    let tasks = resolver.task_tools(manifest);
    let toolsets = resolver.toolsets(manifest);
    let (guides, prompts) = (resolver.guides(manifest), resolver.prompts(manifest));
    let resources = resolver.resources(manifest);
    resolver.problems.sort();
    if resolver.problems.is_empty() {
        Ok(ResolvedManifest {
            tools,
            tasks,
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
    scheme: &'a str,
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    fn problem(&mut self, line: u64, text: impl Into<String>) {
        self.problems.push(Problem::new(self.file, line, text));
    }

    fn tool(&mut self, name: &Located<String>, tool: &model::Tool, manifest: &Manifest) -> Tool {
        if !is_snake_case(name) {
            self.problem(
                name.line,
                format!(
                    "`{}` is not a valid name for a tool (write it in snake_case)",
                    name.value
                ),
            );
        }
        self.check_rust_name(name, "a tool");
        if !manifest.toolsets.contains_key(tool.toolset.as_str()) {
            let known = manifest.toolsets.keys().map(|name| name.as_str());
            let hint = suggestion(&tool.toolset, known);
            self.problem(
                tool.toolset.line,
                format!("{}: no toolset `{}`{hint}", name.value, tool.toolset.value),
            );
        }
        if let (Some(_), Some(first)) = (&tool.operation, tool.uses.first()) {
            self.problem(
                first.line,
                format!(
                    "{}: `operation` already implies it (remove `uses`)",
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
                let hint = suggestion(id, self.api.operations.keys().map(String::as_str));
                self.problem(
                    id.line,
                    format!(
                        "{}: the API has no operation `{}`{hint}",
                        name.value, id.value
                    ),
                );
            }
        }
        let params: Vec<_> = tool
            .params
            .iter()
            .map(|(param, model)| self.param(name, tool, param, model))
            .collect();
        self.unique_names(name, tool);
        if let Some(operation) = &tool.operation {
            self.check_mapped(name, operation, &params);
        }
        let task = tool
            .makes_task
            .as_ref()
            .map(|task| self.task(name, tool, task, &params));
        let hints = &tool.hints;
        Tool {
            name: name.value.clone(),
            title: tool.title.value.clone(),
            toolset: tool.toolset.value.clone(),
            operation: tool.operation.as_ref().map(|id| id.value.clone()),
            plain: tool.answer.is_some(),
            aliases: tool.aliases.iter().map(|name| name.value.clone()).collect(),
            uses: uses.into_iter().map(|id| id.value.clone()).collect(),
            task,
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

    /// Reports a name that a handler cannot have, since Rust reserves it.
    fn check_rust_name(&mut self, name: &Located<String>, owner: &str) {
        if is_snake_case(name) && !is_rust_name(name) {
            let text = format!(
                "`{}` is not a valid name for {owner}, since Rust reserves it (choose another name)",
                name.value
            );
            self.problem(name.line, text);
        }
    }

    fn toolsets(&mut self, manifest: &Manifest) -> Vec<(String, String)> {
        for name in manifest.toolsets.keys() {
            if !is_snake_case(name) {
                let text = format!(
                    "`{}` is not a valid name for a toolset (write it in snake_case)",
                    name.value
                );
                self.problem(name.line, text);
            }
        }
        let toolsets = manifest.toolsets.iter();
        toolsets
            .map(|(name, doc)| (name.value.clone(), doc.value.clone()))
            .collect()
    }

    /// Reports names that two arguments of a tool share.
    fn unique_names(&mut self, tool: &Located<String>, model: &model::Tool) {
        let mut taken: BTreeMap<&str, &str> = model
            .params
            .keys()
            .map(|name| (name.as_str(), name.as_str()))
            .collect();
        for (param, argument) in model.params.iter() {
            for alias in &argument.aliases {
                if let Some(other) = taken.insert(alias, param) {
                    let text = format!(
                        "{}.{}: `{}` is already a name of `{other}`",
                        tool.value, param.value, alias.value
                    );
                    self.problem(alias.line, format!("{text} (choose another alias)"));
                }
            }
        }
    }

    /// Reports names that two tools share.
    fn unique_tools(&mut self, manifest: &Manifest) {
        let tools = || manifest.tools.iter();
        let mut taken: BTreeMap<&str, String> = tools()
            .map(|(name, _)| (name.as_str(), "the name of a tool".to_owned()))
            .collect();
        for (name, tool) in tools() {
            for alias in &tool.aliases {
                let label = format!("{}: alias `{}`", name.value, alias.value);
                if !is_snake_case(alias) {
                    let text =
                        format!("{label} is not a valid name for a tool (write it in snake_case)");
                    self.problem(alias.line, text);
                }
                let owner = format!("an alias of `{}`", name.value);
                if let Some(other) = taken.insert(alias, owner) {
                    let text = format!("{label} is already {other} (remove one of them)");
                    self.problem(alias.line, text);
                }
            }
        }
    }
}
