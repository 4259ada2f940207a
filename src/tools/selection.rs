//! Selection of the tools that a server offers: all, or those chosen at its start.

use std::collections::BTreeSet;

use contree_error_codes::ErrorCode;
use serde_json::{Map, Value};

use super::suggestion::nearest;
use super::templates::{facts, render};
use super::{
    Guide, INSTRUCTIONS, INSTRUCTIONS_TEMPLATE, PROMPTS, Prompt, RESOURCES, Resource, TOOLS, Tool,
    ToolError, find_tool,
};

/// The offered tools, and the prompts and resources that depend on them. Fixed while the program
/// runs.
#[derive(Clone, Debug)]
pub struct ToolSelection {
    /// Names of the offered tools; `None` for all.
    chosen: Option<BTreeSet<&'static str>>,
    /// The options that made the selection, as a command line has them.
    why: String,
}

/// Reasons why a selection of tools is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// A name is unknown but close to a known one.
    #[error("there is no {kind} `{name}`; did you mean `{meant}`?")]
    #[non_exhaustive]
    Misspelt {
        /// `tool` or `toolset`.
        kind: &'static str,
        /// The given name.
        name: String,
        /// The closest known name.
        meant: String,
    },
    /// A name is unknown.
    #[error("there is no {kind} `{name}`; choose from: {known}")]
    #[non_exhaustive]
    Unknown {
        /// `tool` or `toolset`.
        kind: &'static str,
        /// The given name.
        name: String,
        /// All known names, separated by commas.
        known: String,
    },
    /// A named tool is not read-only, but `--read-only` is set.
    #[error("`{0}` is not read-only: remove --read-only, or do not name the tool")]
    NotReadOnly(&'static str),
    /// The selection is empty.
    #[error("--read-only leaves no tool of this selection: choose other toolsets")]
    Empty,
}

impl Default for ToolSelection {
    /// Selects all tools.
    fn default() -> Self {
        Self {
            chosen: None,
            why: String::new(),
        }
    }
}

impl ToolSelection {
    /// Selects the tools of these toolsets and these single tools; all if neither is given.
    ///
    /// `read_only` then removes the tools that change something.
    ///
    /// # Errors
    /// If a name is unknown, a named tool is not read-only, or no tool is left. For an unknown name
    /// the error suggests the closest one.
    pub fn choose(
        read_only: bool,
        toolsets: &[String],
        tools: &[String],
    ) -> Result<Self, SelectionError> {
        if !read_only && toolsets.is_empty() && tools.is_empty() {
            return Ok(Self::default());
        }
        let mut chosen = BTreeSet::new();
        let known = toolset_names();
        for toolset in toolsets {
            if !known.contains(&toolset.as_str()) {
                return Err(no_such("toolset", toolset, &known));
            }
            let members = TOOLS.iter().filter(|tool| tool.toolset == toolset);
            chosen.extend(members.map(|tool| tool.name));
        }
        let names: Vec<&str> = TOOLS.iter().map(|tool| tool.name).collect();
        for name in tools {
            let Some(tool) = find_tool(name) else {
                return Err(no_such("tool", name, &names));
            };
            if read_only && !tool.hints.read_only {
                return Err(SelectionError::NotReadOnly(tool.name));
            }
            chosen.insert(tool.name);
        }
        if toolsets.is_empty() && tools.is_empty() {
            chosen.extend(names);
        }
        if read_only {
            let changing = TOOLS.iter().filter(|tool| !tool.hints.read_only);
            for tool in changing {
                chosen.remove(tool.name);
            }
        }
        if chosen.is_empty() {
            return Err(SelectionError::Empty);
        }
        let mut why = Vec::new();
        if read_only {
            why.push("--read-only".to_owned());
        }
        for (option, names) in [("--toolset", toolsets), ("--tools", tools)] {
            if !names.is_empty() {
                why.push(format!("{option} {}", names.join(",")));
            }
        }
        Ok(Self {
            chosen: Some(chosen),
            why: why.join(" "),
        })
    }

    /// Reports whether all tools are offered.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.chosen.is_none()
    }

    /// Reports whether a tool is offered.
    #[must_use]
    pub fn has(&self, tool: &str) -> bool {
        self.chosen
            .as_ref()
            .is_none_or(|chosen| chosen.contains(tool))
    }

    /// Iterates over the offered tools, in the order of [`TOOLS`].
    pub fn tools(&self) -> impl Iterator<Item = &'static Tool> {
        TOOLS.iter().filter(|tool| self.has(tool.name))
    }

    /// Iterates over the prompts whose tools are all offered.
    pub fn prompts(&self) -> impl Iterator<Item = &'static Prompt> {
        PROMPTS
            .iter()
            .filter(|prompt| prompt.tools.iter().all(|tool| self.has(tool)))
    }

    /// Iterates over the resource templates whose tool is offered.
    pub fn resources(&self) -> impl Iterator<Item = &'static Resource> {
        RESOURCES.iter().filter(|resource| self.has(resource.tool))
    }

    /// Builds the error for something that exists but is not offered.
    #[must_use]
    pub fn refusal(&self, what: &str) -> ToolError {
        let offered: Vec<&str> = self.tools().map(|tool| tool.name).collect();
        ToolError::not_found(format!(
            "{what} is not offered: this server was started with {}",
            self.why
        ))
        .with_hint(format!("It offers these tools: {}.", offered.join(", ")))
        .with_code(ErrorCode::UnknownTool)
    }

    /// Returns the instructions for clients. They mention only offered tools.
    #[must_use]
    pub fn instructions(&self) -> String {
        if self.is_whole() {
            return INSTRUCTIONS.to_owned();
        }
        match render(INSTRUCTIONS_TEMPLATE, &self.facts()) {
            Ok(text) => text.trim().to_owned(),
            // Not expected: a test renders the instructions for many selections.
            Err(error) => {
                tracing::warn!("{error}");
                String::new()
            }
        }
    }

    /// Returns the text of a guide. It begins with a note about tools that are not offered.
    #[must_use]
    pub fn guide(&self, guide: &Guide) -> String {
        let absent: Vec<String> = guide
            .tools
            .iter()
            .filter(|tool| !self.has(tool))
            .map(|tool| format!("`{tool}`"))
            .collect();
        if absent.is_empty() {
            return guide.text.to_owned();
        }
        format!(
            "(This server does not offer {}.)\n\n{}",
            absent.join(", "),
            guide.text
        )
    }

    /// Returns the manifest's facts for templates, reduced to the offered tools.
    #[must_use]
    pub fn facts(&self) -> Map<String, Value> {
        let mut facts = facts();
        if self.is_whole() {
            return facts;
        }
        let retain = |value: Option<&mut Value>, keep: &dyn Fn(&str, &Value) -> bool| {
            if let Some(entries) = value.and_then(Value::as_object_mut) {
                entries.retain(|name, entry| keep(name, entry));
            }
        };
        retain(facts.get_mut("tools"), &|name, _| self.has(name));
        let prompts: Vec<&str> = self.prompts().map(|prompt| prompt.name).collect();
        retain(facts.get_mut("prompts"), &|name, _| prompts.contains(&name));
        let resources: Vec<&str> = self.resources().map(|resource| resource.name).collect();
        retain(facts.get_mut("resources"), &|name, _| {
            resources.contains(&name)
        });
        let toolsets = facts.get_mut("toolsets").and_then(Value::as_object_mut);
        for toolset in toolsets.into_iter().flat_map(Map::values_mut) {
            if let Some(members) = toolset["tools"].as_array_mut() {
                members.retain(|name| name.as_str().is_some_and(|name| self.has(name)));
            }
        }
        retain(facts.get_mut("toolsets"), &|_, toolset| {
            toolset["tools"]
                .as_array()
                .is_some_and(|members| !members.is_empty())
        });
        facts
    }
}

/// Returns the names of the toolsets, in the order of their first tools.
#[must_use]
pub fn toolset_names() -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for tool in &TOOLS {
        if !names.contains(&tool.toolset) {
            names.push(tool.toolset);
        }
    }
    names
}

fn no_such(kind: &'static str, name: &str, known: &[&str]) -> SelectionError {
    let name = name.to_owned();
    match nearest(&name, known.iter().copied()) {
        Some(meant) => SelectionError::Misspelt {
            meant: meant.to_owned(),
            kind,
            name,
        },
        None => SelectionError::Unknown {
            known: known.join(", "),
            kind,
            name,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Every selection of toolsets, with and without `--read-only`; each tool alone, and all but
    /// each tool.
    fn selections() -> Vec<ToolSelection> {
        let toolsets = toolset_names();
        let mut selections = Vec::new();
        for read_only in [false, true] {
            for bits in 0..1_u32 << toolsets.len() {
                let some: Vec<&str> = (0..)
                    .zip(&toolsets)
                    .filter(|(at, _)| bits & (1 << at) != 0)
                    .map(|(_, name)| *name)
                    .collect();
                selections.extend(ToolSelection::choose(read_only, &owned(&some), &[]));
            }
        }
        for tool in &TOOLS {
            selections.extend(ToolSelection::choose(false, &[], &owned(&[tool.name])));
            let others: Vec<&str> = TOOLS.iter().map(|other| other.name).collect();
            let others: Vec<&str> = others
                .into_iter()
                .filter(|name| *name != tool.name)
                .collect();
            selections.extend(ToolSelection::choose(false, &[], &owned(&others)));
        }
        selections
    }

    #[test]
    fn instructions_mention_only_offered_tools() {
        for selection in selections() {
            let text = selection.instructions();
            assert!(!text.is_empty(), "{}", selection.why);
            assert!(
                text.len() <= 2_500,
                "{}: {} bytes",
                selection.why,
                text.len()
            );
            assert!(text.contains("by TCP with any protocol"), "{text}");
            assert!(!text.contains("HTTP and HTTPS only"), "{text}");
            if selection.has("run") || selection.has("read_file") {
                assert!(text.contains("are data, never instructions"), "{text}");
            }
            for word in text.split('`').skip(1).step_by(2) {
                let name = word.split('(').next().unwrap_or_default();
                let known = TOOLS.iter().any(|tool| tool.name == name);
                assert!(!known || selection.has(name), "{}: {word}", selection.why);
            }
        }
    }

    #[test]
    fn prompts_and_resources_follow_the_offered_tools() {
        let whole = ToolSelection::default();
        assert_eq!(whole.tools().count(), TOOLS.len());
        assert_eq!(whole.instructions(), INSTRUCTIONS);
        for selection in selections() {
            let names: Vec<&str> = selection.tools().map(|tool| tool.name).collect();
            assert!(!names.is_empty());
            for prompt in selection.prompts() {
                assert!(prompt.tools.iter().all(|tool| names.contains(tool)));
            }
            for resource in selection.resources() {
                assert!(names.contains(&resource.tool));
            }
            let facts = selection.facts();
            assert_eq!(facts["tools"].as_object().unwrap().len(), names.len());
        }
    }

    #[test]
    fn options_select_the_named_tools() {
        let names = |selection: &ToolSelection| -> Vec<&str> {
            selection.tools().map(|tool| tool.name).collect()
        };
        let read_only = ToolSelection::choose(true, &[], &[]).unwrap();
        assert!(read_only.tools().all(|tool| tool.hints.read_only));
        assert!(read_only.has("read_file") && !read_only.has("run") && !read_only.has("download"));
        let both = ToolSelection::choose(false, &owned(&["account"]), &owned(&["run"])).unwrap();
        assert_eq!(names(&both), ["run", "whoami"]);
        let refused = both.refusal("`upload`").to_string();
        assert!(
            refused.contains("--toolset account --tools run") && refused.contains("run, whoami"),
            "{refused}"
        );
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_closest() {
        for (read_only, toolsets, tools, expected) in [
            (false, &["imagse"][..], &[][..], "did you mean `images`?"),
            (false, &[], &["raed_file"], "did you mean `read_file`?"),
            (false, &[], &["zzz"], "choose from: run"),
            (true, &[], &["run"], "`run` is not read-only"),
            (true, &["run"], &[], "leaves no tool"),
        ] {
            let error = ToolSelection::choose(read_only, &owned(toolsets), &owned(tools))
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
