// Minimal definitions of the names that generated code needs, with the real client and plain
// answers. A module includes this file.

pub type Arguments = serde_json::Map<String, Value>;

#[derive(Debug)]
pub struct ToolAnswer(pub Value);

impl ToolAnswer {
    fn of(result: results::ApiAnswer) -> Result<Self, ToolError> {
        Ok(Self(result.0))
    }
}

#[derive(Debug)]
pub struct ToolError(pub String);

impl<E: std::fmt::Debug> From<progenitor_client::Error<E>> for ToolError {
    fn from(error: progenitor_client::Error<E>) -> Self {
        Self(format!("{error:?}"))
    }
}

fn unknown_tool(name: &str) -> ToolError {
    ToolError(format!("no {name}"))
}

pub struct Handlers;

pub struct Context {
    client: Client,
}

impl Context {
    pub async fn client(&self) -> Result<&Client, ToolError> {
        Ok(&self.client)
    }
}

pub enum LocalFileUse {
    None,
    Read,
    Write,
}

pub struct ToolHints {
    pub read_only: bool,
    pub destructive: bool,
    pub idempotent: bool,
    pub open_world: bool,
}

type Schema = std::sync::LazyLock<Value>;

fn input_schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn output_schema<T>() -> Value {
    Value::from(std::any::type_name::<T>())
}

pub struct Tool {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub title: &'static str,
    pub description: &'static str,
    pub toolset: &'static str,
    pub hints: ToolHints,
    pub local: LocalFileUse,
    pub uses: &'static [&'static str],
    pub task: Option<TaskSource>,
    pub param_aliases: &'static [(&'static str, &'static str)],
    pub null_values: &'static [&'static str],
    pub keeps_empty: &'static [&'static str],
    pub input_schema: Schema,
    pub argument_schema: Schema,
    pub output_schema: Schema,
}

pub struct TaskSource {
    pub operation: &'static str,
    pub id: &'static str,
    pub waits: Option<&'static str>,
}

pub struct TaskTools {
    pub look_up: &'static str,
    pub cancel: &'static str,
}

impl Tool {
    fn arguments<T: serde::de::DeserializeOwned>(&self, sent: Arguments) -> Result<T, ToolError> {
        serde_json::from_value(Value::Object(sent)).map_err(|error| ToolError(error.to_string()))
    }
}

pub struct Guide;
pub struct Prompt;
pub struct Resource;

pub mod results {
    use super::{ToolError, Value};

    pub struct ApiAnswer(pub Value);

    impl ApiAnswer {
        pub fn of(answer: impl serde::Serialize) -> Result<Self, ToolError> {
            serde_json::to_value(answer).map(Self).map_err(|error| ToolError(error.to_string()))
        }
    }
}
