//! What is known of a tool before it is called.

use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::arguments::{Arguments, normalise};
use super::suggestion::{brief, nearest};
use super::{TOOLS, ToolError};

/// A schema that is made at its first use.
pub(super) type Schema = LazyLock<Value>;

/// One tool.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// Its former names. They are accepted and not shown.
    pub aliases: &'static [&'static str],
    /// Its name for people.
    pub title: &'static str,
    /// What it does, for an agent.
    pub description: &'static str,
    /// The family it belongs to.
    pub toolset: &'static str,
    /// What a client may assume about calls of it.
    pub hints: Hints,
    /// What it touches on this machine.
    pub local: Local,
    /// The operations of the API that it calls.
    pub uses: &'static [&'static str],
    /// What makes a call of it a task, for a client that takes tasks.
    pub task: Option<TaskSource>,
    /// Names of arguments that are accepted but not shown, each with the argument it stands for.
    pub param_aliases: &'static [(&'static str, &'static str)],
    /// Maps whose values may be null.
    pub null_values: &'static [&'static str],
    pub(super) input_schema: Schema,
    pub(super) output_schema: Schema,
}

/// What a client may assume about a tool, in the sense of the Model Context Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hints {
    /// It changes nothing.
    pub read_only: bool,
    /// It may overwrite or remove something.
    pub destructive: bool,
    /// Calling it twice is the same as calling it once.
    pub idempotent: bool,
    /// It may reach things beyond the backend.
    pub open_world: bool,
}

/// What makes a call a task: it starts an operation that may outlive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskSource {
    /// The operation of the API that starts it.
    pub operation: &'static str,
    /// The field of the result with the id of what was started, if the call did not wait for its end.
    pub id: &'static str,
    /// The argument that says whether the call waits. Only a call that waits becomes a task. `None` if every call waits.
    pub waits: Option<&'static str>,
}

/// The tools that serve every task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskTools {
    /// Looks up what a task follows.
    pub look_up: &'static str,
    /// Cancels it.
    pub cancel: &'static str,
}

/// What a tool touches on the machine it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Local {
    /// Nothing.
    None,
    /// It reads files.
    Read,
    /// It writes files.
    Write,
}

impl Tool {
    /// Whether `name` is its name or was one.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// The JSON Schema of its arguments: what is published is what is enforced.
    #[must_use]
    pub fn input_schema(&self) -> Value {
        self.input_schema.clone()
    }

    /// The JSON Schema of its structured result.
    #[must_use]
    pub fn output_schema(&self) -> Value {
        self.output_schema.clone()
    }

    /// The arguments under their published names, converted to their types, with defaults filled in.
    ///
    /// # Errors
    /// Says everything that is wrong with them, naming each argument.
    pub fn normalise(&self, sent: Arguments) -> Result<Arguments, ToolError> {
        normalise(
            self.name,
            &self.input_schema,
            self.param_aliases,
            self.null_values,
            sent,
        )
    }

    /// The arguments as the handler takes them.
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

/// The tool of this name, of today or before.
#[must_use]
pub fn find_tool(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.is_named(name))
}

/// The error for a tool that does not exist.
#[must_use]
pub fn unknown_tool(name: &str) -> ToolError {
    let message = format!("there is no tool `{}`", brief(name));
    match nearest(name, TOOLS.iter().map(|tool| tool.name)) {
        Some(meant) => ToolError::not_found(format!("{message}; did you mean `{meant}`?")),
        None => {
            let known: Vec<_> = TOOLS.iter().map(|tool| tool.name).collect();
            ToolError::not_found(message).with_hint(format!("There are: {}.", known.join(", ")))
        }
    }
}

/// Reads a schema that the build has written.
pub(super) fn input_schema(text: &str) -> Value {
    #[expect(clippy::expect_used, reason = "the build serialised it")]
    serde_json::from_str(text).expect("the build writes schemas as JSON")
}

/// The schema of a result, complete in itself. Results leave out what is null, so nothing in it is nullable.
pub(super) fn output_schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    if let Some(root) = schema.as_object_mut() {
        root.remove("title");
        root.remove("description");
    }
    portable(&mut schema);
    schema
}

/// Takes out what clients do not know: null among the types, and formats of numbers that JSON Schema has not.
fn portable(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let format = fields.get("format").and_then(Value::as_str);
            if format.is_some_and(|format| format.starts_with("uint")) {
                fields.remove("format");
            }
            if let Some(Value::Array(types)) = fields.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    fields.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(branches)) = fields.get_mut("anyOf") {
                branches.retain(|branch| branch["type"] != "null");
                if let [Value::Object(only)] = branches.as_slice() {
                    let only = only.clone();
                    fields.remove("anyOf");
                    for (key, value) in only {
                        fields.entry(key).or_insert(value);
                    }
                }
            }
            fields.values_mut().for_each(portable);
        }
        Value::Array(items) => items.iter_mut().for_each(portable),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_answers_to_its_former_names() {
        let tool = Tool {
            name: "rename",
            aliases: &["retitle"],
            title: "",
            description: "",
            toolset: "",
            hints: TOOLS[0].hints,
            local: Local::None,
            uses: &[],
            task: None,
            param_aliases: &[],
            null_values: &[],
            input_schema: Schema::new(|| Value::Null),
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
    fn what_makes_tasks_answers_an_id_when_it_does_not_wait() {
        for tool in &TOOLS {
            let Some(task) = &tool.task else { continue };
            let id = &tool.output_schema["properties"][task.id];
            assert_eq!(id["type"], "string", "{} answers no {}", tool.name, task.id);
            let required = tool.output_schema["required"].as_array();
            let always = required.is_some_and(|names| names.iter().any(|name| name == task.id));
            assert!(!always, "{} always answers {}", tool.name, task.id);
        }
    }
}
