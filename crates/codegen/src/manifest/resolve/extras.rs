//! Guides, prompts and resource templates.

use std::collections::{BTreeMap, BTreeSet};

use super::super::model::{self, Complete, Manifest};
use super::super::names::{is_kebab_case, is_snake_case, suggestion};
use super::super::templates::is_template;
use super::super::yaml::At;
use super::Resolver;

/// Variables of all templates, which an argument would hide.
const TAKEN: [&str; 6] = [
    "tools",
    "toolsets",
    "guides",
    "prompts",
    "resources",
    "instructions",
];

/// A guide without its text.
#[derive(Debug)]
pub struct Guide {
    /// Its name.
    pub name: String,
    /// Where it is read.
    pub uri: String,
    /// Its name for people.
    pub title: String,
    /// What it is about.
    pub doc: String,
}

/// A prompt.
#[derive(Debug)]
pub struct Prompt {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What it makes an agent do.
    pub description: String,
    /// The name of its template.
    pub template: String,
    /// Its arguments.
    pub arguments: Vec<Argument>,
}

/// An argument of a prompt.
#[derive(Debug)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// What it means.
    pub doc: String,
    /// Whether it must be given.
    pub required: bool,
    /// Its value when left out.
    pub default: Option<String>,
    /// What completes it.
    pub complete: Option<Complete>,
}

/// A resource template.
#[derive(Debug)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// Its URI with variables.
    pub uri: String,
    /// Its name for people.
    pub title: String,
    /// What is read there.
    pub doc: String,
    /// The type of its contents.
    pub mime: String,
    /// The tool that it goes with.
    pub tool: String,
    /// Its variables and what completes each.
    pub variables: Vec<(String, Option<Complete>)>,
}

impl Resolver<'_> {
    pub(super) fn guides(&mut self, manifest: &Manifest) -> Vec<Guide> {
        for name in manifest.guides.keys() {
            if !is_kebab_case(name) {
                let text = format!(
                    "`{}` is no name for a guide (write it in kebab-case)",
                    name.value
                );
                self.problem(name.line, text);
            }
        }
        manifest
            .guides
            .iter()
            .map(|(name, guide)| Guide {
                name: name.value.clone(),
                uri: guide_uri(self.scheme, name),
                title: guide.title.value.clone(),
                doc: guide.doc.value.clone(),
            })
            .collect()
    }

    pub(super) fn prompts(&mut self, manifest: &Manifest) -> Vec<Prompt> {
        manifest
            .prompts
            .iter()
            .map(|(name, prompt)| self.prompt(name, prompt))
            .collect()
    }

    fn prompt(&mut self, name: &At<String>, prompt: &model::Prompt) -> Prompt {
        if !is_kebab_case(name) {
            let text = format!(
                "`{}` is no name for a prompt (write it in kebab-case)",
                name.value
            );
            self.problem(name.line, text);
        }
        if !is_template(&prompt.template) {
            let text = format!(
                "{}: a prompt is rendered at run time (put its text into a template, whose name ends in `.j2`)",
                name.value
            );
            self.problem(prompt.template.line, text);
        }
        let kinds: Vec<Option<Complete>> = prompt
            .arguments
            .values()
            .map(|argument| argument.complete.as_ref().map(|kind| kind.value))
            .collect();
        for (argument, at) in prompt.arguments.iter() {
            let label = format!("{}.{}", name.value, argument.value);
            if !is_snake_case(argument) || TAKEN.contains(&argument.as_str()) {
                let text = format!(
                    "{label}: `{}` is no argument name (write it in snake_case, and not as a variable of all templates)",
                    argument.value
                );
                self.problem(argument.line, text);
            }
            if let Some(default) = at.default.as_ref().filter(|_| at.required) {
                let text =
                    format!("{label}: it has a default, so it cannot be required (remove one)");
                self.problem(default.line, text);
            }
            self.completable(&label, at.complete.as_ref(), &kinds);
        }
        let arguments = prompt.arguments.iter().map(|(argument, at)| Argument {
            name: argument.value.clone(),
            doc: at.doc.value.clone(),
            required: at.required,
            default: at.default.as_ref().map(|default| default.value.clone()),
            complete: at.complete.as_ref().map(|kind| kind.value),
        });
        Prompt {
            name: name.value.clone(),
            title: prompt.title.value.clone(),
            description: prompt.description.value.clone(),
            template: prompt.template.value.clone(),
            arguments: arguments.collect(),
        }
    }

    /// Paths are those of one image.
    fn completable(&mut self, label: &str, kind: Option<&At<Complete>>, all: &[Option<Complete>]) {
        let images = all
            .iter()
            .filter(|kind| **kind == Some(Complete::Image))
            .count();
        if let Some(kind) = kind
            && kind.value == Complete::Path
            && images != 1
        {
            let text = format!(
                "{label}: paths are those of an image, and {images} of the others are `image` (one must be)"
            );
            self.problem(kind.line, text);
        }
    }

    pub(super) fn resources(&mut self, manifest: &Manifest) -> Vec<Resource> {
        let mut patterns: BTreeMap<Vec<String>, &str> = BTreeMap::new();
        let mut resources = Vec::new();
        for (name, resource) in manifest.resources.iter() {
            if !is_snake_case(name) {
                let text = format!(
                    "`{}` is no name for a resource (write it in snake_case)",
                    name.value
                );
                self.problem(name.line, text);
            }
            let resolved = self.resource(name, resource, manifest);
            let pattern = resolved.uri.split('/').map(|part| {
                if part.starts_with('{') {
                    "{}".to_owned()
                } else {
                    part.to_owned()
                }
            });
            if let Some(other) = patterns.insert(pattern.collect(), name) {
                let text = format!("{}: `{other}` has the same URI (change one)", name.value);
                self.problem(resource.uri.line, text);
            }
            resources.push(resolved);
        }
        resources
    }

    fn resource(
        &mut self,
        name: &At<String>,
        resource: &model::Resource,
        manifest: &Manifest,
    ) -> Resource {
        let label = &name.value;
        let uri = &resource.uri;
        let variables = variables(self.scheme, uri);
        if let Err(text) = &variables {
            self.problem(uri.line, format!("{label}: {text}"));
        }
        let variables = variables.unwrap_or_default();
        if !manifest.tools.contains_key(resource.tool.as_str()) {
            let meant = suggestion(
                &resource.tool,
                manifest.tools.keys().map(|name| name.as_str()),
            );
            let text = format!("{label}: no tool `{}`{meant}", resource.tool.value);
            self.problem(resource.tool.line, text);
        }
        let kinds: Vec<_> = resource
            .complete
            .values()
            .map(|kind| Some(kind.value))
            .collect();
        for (variable, kind) in resource.complete.iter() {
            if !variables.contains(&variable.as_str()) {
                let meant = suggestion(variable, variables.iter().copied());
                let text = format!(
                    "{label}: `{}` has no variable `{}`{meant}",
                    uri.value, variable.value
                );
                self.problem(variable.line, text);
            }
            self.completable(label, Some(kind), &kinds);
        }
        let kind = |name: &str| resource.complete.get(name).map(|kind| kind.value);
        Resource {
            name: label.clone(),
            uri: uri.value.clone(),
            title: resource.title.value.clone(),
            doc: resource.doc.value.clone(),
            mime: resource.mime.value.clone(),
            tool: resource.tool.value.clone(),
            variables: variables
                .into_iter()
                .map(|name| (name.to_owned(), kind(name)))
                .collect(),
        }
    }
}

/// Where a guide is read.
pub fn guide_uri(scheme: &str, name: &str) -> String {
    format!("{scheme}://guide/{name}")
}

/// The variables of a URI, each of which is a whole part between slashes.
fn variables<'a>(scheme: &str, uri: &'a str) -> Result<Vec<&'a str>, String> {
    let path = uri
        .strip_prefix(scheme)
        .and_then(|rest| rest.strip_prefix("://"))
        .ok_or_else(|| format!("`{uri}` does not begin with `{scheme}://` (let it)"))?;
    let mut variables = Vec::new();
    let mut known = BTreeSet::new();
    for part in path.split('/') {
        let variable = part
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        match variable {
            Some(name) if is_snake_case(name) && known.insert(name) => variables.push(name),
            Some(name) => {
                return Err(format!(
                    "`{{{name}}}` is no variable, or there twice (rename it)"
                ));
            }
            None if part.is_empty() || part.contains(['{', '}', '?', '#', '%']) => {
                return Err(format!(
                    "`{part}` is no part of a URI (write a word, or one variable in braces)"
                ));
            }
            None => {}
        }
    }
    if variables.is_empty() {
        return Err(format!(
            "`{uri}` has no variable (a text that is always the same is a guide)"
        ));
    }
    Ok(variables)
}
