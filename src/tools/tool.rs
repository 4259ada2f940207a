//! Definition of a tool: name, texts, hints and schemas.

use contree_error_codes::ErrorCode;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::arguments::{ArgumentRules, Arguments, normalise};
use super::schema::Schema;
use super::suggestion::{brief, nearest};
use super::{TOOLS, ToolError};

/// A tool.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tool {
    /// Unique name.
    pub name: &'static str,
    /// Former names. They are accepted but not shown.
    pub aliases: &'static [&'static str],
    /// Title for people.
    pub title: &'static str,
    /// Description for agents.
    pub description: &'static str,
    /// Toolset that it belongs to.
    pub toolset: &'static str,
    /// Hints for clients.
    pub hints: ToolHints,
    /// Use of local files.
    pub local: LocalFileUse,
    /// `operationId` of each API request that it sends, such as `getFile`.
    pub uses: &'static [&'static str],
    /// How a call becomes a task, for clients that support tasks.
    pub task: Option<TaskSource>,
    /// Names of arguments that are accepted but not shown, each with the name of the real argument.
    pub param_aliases: &'static [(&'static str, &'static str)],
    /// Arguments that are maps whose values may be null.
    pub null_values: &'static [&'static str],
    /// Optional arguments for which an empty text has a meaning of its own.
    pub keeps_empty: &'static [&'static str],
    pub(super) input_schema: Schema,
    pub(super) argument_schema: Schema,
    pub(super) output_schema: Schema,
}

/// Hints about a tool, as the Model Context Protocol defines them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolHints {
    /// The tool changes nothing.
    pub read_only: bool,
    /// The tool may overwrite or delete something.
    pub destructive: bool,
    /// A repeated call with equal arguments has no further effect.
    pub idempotent: bool,
    /// The tool may reach systems beyond the backend.
    pub open_world: bool,
}

/// How a call becomes a task: the call starts an operation that may outlive the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskSource {
    /// `operationId` of the API request that starts the task's operation, such as `spawnInstance`.
    pub operation: &'static str,
    /// Field of the result with the started operation's id, if the call did not wait.
    pub id: &'static str,
    /// Argument that says whether the call waits; `None` if every call waits. Only a waiting call
    /// becomes a task.
    pub waits: Option<&'static str>,
}

/// Tools that correspond to requests about tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskTools {
    /// Tool that looks up a task's operation.
    pub look_up: &'static str,
    /// Tool that cancels a task's operation.
    pub cancel: &'static str,
}

/// How a tool uses local files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocalFileUse {
    /// Not at all.
    None,
    /// Reads files.
    Read,
    /// Writes files.
    Write,
}

impl Tool {
    /// Reports whether `name` is the current or a former name.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// Returns the JSON Schema of its arguments that clients receive.
    ///
    /// The same schema is enforced, with the formats that some clients refuse: see
    /// [`Self::argument_schema`].
    #[must_use]
    pub fn input_schema(&self) -> Value {
        self.input_schema.clone()
    }

    /// Returns the JSON Schema that its arguments are checked with. Beside the published schema it
    /// has formats, such as `uuid` and `password`.
    #[must_use]
    pub fn argument_schema(&self) -> Value {
        self.argument_schema.clone()
    }

    /// Returns the JSON Schema of its structured result.
    #[must_use]
    pub fn output_schema(&self) -> Value {
        self.output_schema.clone()
    }

    /// Converts arguments to the published names and types, and fills in defaults.
    ///
    /// # Errors
    /// Lists every problem with the name of its argument.
    pub fn normalise(&self, sent: Arguments) -> Result<Arguments, ToolError> {
        normalise(
            self.name,
            &self.argument_schema,
            ArgumentRules {
                aliases: self.param_aliases,
                null_values: self.null_values,
                keeps_empty: self.keeps_empty,
            },
            sent,
        )
    }

    /// Converts arguments to the parameter type of the handler.
    pub(super) fn arguments<T: DeserializeOwned>(&self, sent: Arguments) -> Result<T, ToolError> {
        let arguments = self.normalise(sent)?;
        serde_json::from_value(Value::Object(arguments)).map_err(|error| {
            ToolError::invalid_because(
                format_args!("`{}` cannot take these arguments", self.name),
                error,
            )
        })
    }
}

/// Finds a tool by its current or a former name.
#[must_use]
pub fn find_tool(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.is_named(name))
}

/// Builds the error for an unknown tool.
#[must_use]
pub fn unknown_tool(name: &str) -> ToolError {
    let message = format!("there is no tool `{}`", brief(name));
    match nearest(name, TOOLS.iter().map(|tool| tool.name)) {
        Some(meant) => ToolError::not_found(format!("{message}; did you mean `{meant}`?")),
        None => {
            let known: Vec<_> = TOOLS.iter().map(|tool| tool.name).collect();
            ToolError::not_found(message).with_hint(format!("The tools are: {}.", known.join(", ")))
        }
    }
    .with_code(ErrorCode::UnknownTool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::required_names;

    /// Older versions of the TypeScript SDK refuse a schema with a format such as `int64`.
    #[test]
    fn schemas_of_results_have_no_format() {
        for tool in &TOOLS {
            let schema = tool.output_schema().to_string();
            assert!(!schema.contains(r#""format":""#), "{}: {schema}", tool.name);
        }
    }

    #[test]
    fn a_tool_is_found_by_its_former_names() {
        let tool = Tool {
            name: "rename",
            aliases: &["retitle"],
            title: "",
            description: "",
            toolset: "",
            hints: TOOLS[0].hints,
            local: LocalFileUse::None,
            uses: &[],
            task: None,
            param_aliases: &[],
            null_values: &[],
            keeps_empty: &[],
            input_schema: Schema::new(|| Value::Null),
            argument_schema: Schema::new(|| Value::Null),
            output_schema: Schema::new(|| Value::Null),
        };
        assert!(tool.is_named("rename") && tool.is_named("retitle"));
        assert!(!tool.is_named("tool"));
        for tool in &TOOLS {
            for name in tool.aliases.iter().chain([&tool.name]) {
                assert_eq!(find_tool(name).map(|found| found.name), Some(tool.name));
            }
        }
        assert!(find_tool("no_such_tool").is_none());
    }

    #[test]
    fn a_tool_with_tasks_returns_an_id_only_if_it_does_not_wait() {
        for tool in &TOOLS {
            let Some(task) = &tool.task else { continue };
            let id = &tool.output_schema["properties"][task.id];
            assert_eq!(
                id["type"], "string",
                "{} never returns {}",
                tool.name, task.id
            );
            let always = required_names(&tool.output_schema).contains(&task.id);
            assert!(!always, "{} always returns {}", tool.name, task.id);
        }
    }
}
