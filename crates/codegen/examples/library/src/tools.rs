//! The generated tools, and the names that they need.
//!
//! A program decides on the form of answers, of errors and of the context of a call. Here each of
//! these is as small as possible.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::client::Client;

pub use generated::dispatch;

/// The generated code.
#[allow(clippy::all, dead_code)]
mod generated {
    use super::*;

    include!(concat!(env!("OUT_DIR"), "/tools.rs"));

    // Both tools map to an operation, so their handlers are generated.
    impl DeskTools for Handlers {}
}

/// The arguments of a call.
pub type Arguments = Map<String, Value>;

/// The handlers of all tools.
pub struct Handlers;

/// The context of a call: everything that a handler can use.
pub struct Context(Client);

impl Context {
    /// A context with a client.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// The client.
    pub async fn client(&self) -> Result<&Client, ToolError> {
        Ok(&self.0)
    }
}

/// The answer to a call.
#[derive(Debug)]
pub struct ToolAnswer(pub Value);

impl ToolAnswer {
    fn of(result: results::ApiAnswer) -> Result<Self, ToolError> {
        Ok(Self(result.0))
    }
}

/// The error of a call.
#[derive(Debug)]
pub struct ToolError(String);

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ToolError {}

impl<E: fmt::Debug> From<progenitor_client::Error<E>> for ToolError {
    fn from(error: progenitor_client::Error<E>) -> Self {
        Self(error.to_string())
    }
}

fn unknown_tool(name: &str) -> ToolError {
    ToolError(format!("there is no tool {name}"))
}

/// The results of tools.
pub mod results {
    use super::{Serialize, ToolError, Value};

    /// The answer of the API, as it is.
    pub struct ApiAnswer(pub Value);

    impl ApiAnswer {
        /// Wraps the answer of the API.
        pub fn of(answer: impl Serialize) -> Result<Self, ToolError> {
            serde_json::to_value(answer)
                .map(Self)
                .map_err(|error| ToolError(error.to_string()))
        }
    }
}

type Schema = std::sync::LazyLock<Value>;

fn input_schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn output_schema<T>() -> Value {
    Value::from(std::any::type_name::<T>())
}

/// A tool, as clients see it.
#[allow(dead_code, reason = "the example calls tools without listing them")]
pub struct Tool {
    name: &'static str,
    aliases: &'static [&'static str],
    title: &'static str,
    description: &'static str,
    toolset: &'static str,
    hints: ToolHints,
    local: LocalFileUse,
    uses: &'static [&'static str],
    task: Option<TaskSource>,
    param_aliases: &'static [(&'static str, &'static str)],
    null_values: &'static [&'static str],
    keeps_empty: &'static [&'static str],
    input_schema: Schema,
    argument_schema: Schema,
    output_schema: Schema,
}

impl Tool {
    fn arguments<T: serde::de::DeserializeOwned>(&self, sent: Arguments) -> Result<T, ToolError> {
        serde_json::from_value(Value::Object(sent)).map_err(|error| ToolError(error.to_string()))
    }
}

/// The hints of a tool.
#[allow(dead_code, reason = "the example calls tools without listing them")]
pub struct ToolHints {
    read_only: bool,
    destructive: bool,
    idempotent: bool,
    open_world: bool,
}

/// The use of local files by a tool.
#[allow(dead_code, reason = "no tool of the example uses local files")]
pub enum LocalFileUse {
    /// Nothing.
    None,
    /// Reads them.
    Read,
    /// Writes them.
    Write,
}

/// The source of a task. The example has no tasks.
pub struct TaskSource;
/// The tools that serve tasks. The example has no tasks.
pub struct TaskTools;
/// A guide. The example has no guides.
pub struct Guide;
/// A prompt. The example has no prompts.
pub struct Prompt;
/// A resource. The example has no resources.
pub struct Resource;
