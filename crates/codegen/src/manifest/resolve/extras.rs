//! Resolves guides, prompts and resource templates.

use std::collections::{BTreeMap, BTreeSet};

use super::super::error::UriTemplateError;
use super::super::model::{self, CompletionSource, Manifest};
use super::super::names::{is_field_name, is_kebab_case, is_snake_case, suggestion};
use super::super::templates::is_template;
use super::super::yaml::Located;
use super::Resolver;

/// Variables of every template, which an argument with the same name would hide.
const TEMPLATE_VARIABLES: [&str; 7] = [
    "tools",
    "toolsets",
    "guides",
    "prompts",
    "resources",
    "instructions",
    "version",
];

/// A guide without its text.
#[derive(Debug)]
pub struct Guide {
    /// Its name.
    pub name: String,
    /// Its URI.
    pub uri: String,
    /// Its name for people.
    pub title: String,
    /// Its topic.
    pub doc: String,
}

/// A prompt.
#[derive(Debug)]
pub struct Prompt {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// The work that it gives to an agent.
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
    /// Its meaning.
    pub doc: String,
    /// Whether it is required.
    pub required: bool,
    /// Its value if it is left out.
    pub default: Option<String>,
    /// The source of its completions.
    pub complete: Option<CompletionSource>,
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
    /// A description of its contents.
    pub doc: String,
    /// The media type of its contents.
    pub mime: String,
    /// The tool that it belongs to.
    pub tool: String,
    /// Its variables, each with the source of its completions.
    pub variables: Vec<(String, Option<CompletionSource>)>,
}

impl Resolver<'_> {
    pub(super) fn guides(&mut self, manifest: &Manifest) -> Vec<Guide> {
        for name in manifest.guides.keys() {
            if !is_kebab_case(name) {
                let text = format!(
                    "`{}` is not a valid name for a guide (write it in kebab-case)",
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

    fn prompt(&mut self, name: &Located<String>, prompt: &model::Prompt) -> Prompt {
        if !is_kebab_case(name) {
            let text = format!(
                "`{}` is not a valid name for a prompt (write it in kebab-case)",
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
        let kinds: Vec<Option<CompletionSource>> = prompt
            .arguments
            .values()
            .map(|argument| argument.complete.as_ref().map(|kind| kind.value))
            .collect();
        for (argument, model) in prompt.arguments.iter() {
            let label = format!("{}.{}", name.value, argument.value);
            if !is_snake_case(argument) || TEMPLATE_VARIABLES.contains(&argument.as_str()) {
                let text = format!(
                    "{label}: `{}` is not a valid name for an argument (write it in snake_case, and use no name of a template variable)",
                    argument.value
                );
                self.problem(argument.line, text);
            }
            if let Some(default) = model.default.as_ref().filter(|_| model.required) {
                let text =
                    format!("{label}: it has a default, so it cannot be required (remove one)");
                self.problem(default.line, text);
            }
            self.check_path_completion(&label, model.complete.as_ref(), &kinds);
        }
        let arguments = prompt.arguments.iter().map(|(argument, model)| Argument {
            name: argument.value.clone(),
            doc: model.doc.value.clone(),
            required: model.required,
            default: model.default.as_ref().map(|default| default.value.clone()),
            complete: model.complete.as_ref().map(|kind| kind.value),
        });
        Prompt {
            name: name.value.clone(),
            title: prompt.title.value.clone(),
            description: prompt.description.value.clone(),
            template: prompt.template.value.clone(),
            arguments: arguments.collect(),
        }
    }

    /// Checks that a completion of paths has exactly one other argument that names their image.
    fn check_path_completion(
        &mut self,
        label: &str,
        kind: Option<&Located<CompletionSource>>,
        all: &[Option<CompletionSource>],
    ) {
        let images = all
            .iter()
            .filter(|kind| **kind == Some(CompletionSource::Image))
            .count();
        if let Some(kind) = kind
            && kind.value == CompletionSource::Path
            && images != 1
        {
            let text = format!(
                "{label}: `path` completes paths of an image, and {images} other arguments are `image` (exactly one must be)"
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
                    "`{}` is not a valid name for a resource (write it in snake_case)",
                    name.value
                );
                self.problem(name.line, text);
            }
            self.check_rust_name(name, "a resource");
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
        name: &Located<String>,
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
            let hint = suggestion(
                &resource.tool,
                manifest.tools.keys().map(|name| name.as_str()),
            );
            let text = format!("{label}: no tool `{}`{hint}", resource.tool.value);
            self.problem(resource.tool.line, text);
        }
        let kinds: Vec<_> = resource
            .complete
            .values()
            .map(|kind| Some(kind.value))
            .collect();
        for (variable, kind) in resource.complete.iter() {
            if !variables.contains(&variable.as_str()) {
                let hint = suggestion(variable, variables.iter().copied());
                let text = format!(
                    "{label}: `{}` has no variable `{}`{hint}",
                    uri.value, variable.value
                );
                self.problem(variable.line, text);
            }
            self.check_path_completion(label, Some(kind), &kinds);
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

/// The URI of a guide.
pub fn guide_uri(scheme: &str, name: &str) -> String {
    format!("{scheme}://guide/{name}")
}

/// The variables of a URI. Each is a whole segment between slashes.
fn variables<'a>(scheme: &str, uri: &'a str) -> Result<Vec<&'a str>, UriTemplateError> {
    let path = uri
        .strip_prefix(scheme)
        .and_then(|rest| rest.strip_prefix("://"))
        .ok_or_else(|| UriTemplateError::Scheme {
            uri: uri.to_owned(),
            scheme: scheme.to_owned(),
        })?;
    let mut variables = Vec::new();
    let mut known = BTreeSet::new();
    for part in path.split('/') {
        let variable = part
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        match variable {
            Some(name) if is_snake_case(name) && is_field_name(name) && known.insert(name) => {
                variables.push(name);
            }
            Some(name) => {
                return Err(UriTemplateError::Variable(name.to_owned()));
            }
            None if part.is_empty() || part.contains(['{', '}', '?', '#', '%']) => {
                return Err(UriTemplateError::Segment(part.to_owned()));
            }
            None => {}
        }
    }
    if variables.is_empty() {
        return Err(UriTemplateError::NoVariable(uri.to_owned()));
    }
    Ok(variables)
}
