//! The types of `tools.yaml`. Editors show their doc comments through `tools.schema.json`.

use serde::Deserialize;
use serde_json::Value;

use super::problem::{Problem, Source};
use super::yaml::{self, At, Map};

/// The tools of an MCP server, and all texts about them.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Manifest {
    /// Template of the instructions, which a client receives when it connects.
    pub instructions: At<String>,
    /// Families of tools by name, each with a description. A family is one Rust trait and one file.
    pub toolsets: Map<String>,
    /// Tools by name.
    pub tools: Map<Tool>,
    /// Tools that serve every task. Required if a tool has `makes_task`.
    pub tasks: Option<At<Tasks>>,
    /// API operations that no tool uses, each with the reason.
    #[serde(default)]
    pub unexposed: Map<String>,
    /// Guides by name: longer texts that agents read on demand, at `contree://guide/NAME`.
    #[serde(default)]
    pub guides: Map<Guide>,
    /// Prompts by name: texts with which a person starts an agent.
    #[serde(default)]
    pub prompts: Map<Prompt>,
    /// Resource templates by name: content that clients read at a URI with variables.
    #[serde(default)]
    pub resources: Map<Resource>,
    /// Hosts that texts may link to.
    #[serde(default)]
    pub links: Vec<At<String>>,
    /// Generated pages by path: template of the page, or of the region between its `tools` markers.
    #[serde(default)]
    pub documents: Map<String>,
    /// Template of the web page for people, which the server renders.
    pub page: Option<At<String>>,
}

/// One tool.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tool {
    /// Name that clients show to people.
    pub title: At<String>,
    /// Family of the tool, one of `toolsets`.
    pub toolset: At<String>,
    /// API operation that the tool maps to. The build then generates the handler. Implies `uses`.
    pub operation: Option<At<String>>,
    /// `plain`: a tool with `operation` returns the API's answer and needs no result type.
    pub answer: Option<At<Plain>>,
    /// Former names of the tool. Calls may use them; no list shows them.
    #[serde(default)]
    pub aliases: Vec<At<String>>,
    /// API operations that the handler calls.
    #[serde(default)]
    pub uses: Vec<At<String>>,
    /// Operation that may outlive a call. A client that supports tasks receives a task for it.
    pub makes_task: Option<At<MakesTask>>,
    /// Access to files on the machine of the server.
    pub local: At<Local>,
    /// Hints on the behaviour of the tool, checked against `uses` and `local`.
    pub hints: At<Hints>,
    /// Description for models: a text, or the name of a template below `templates/`, in `.j2`.
    pub description: At<String>,
    /// Arguments by name, in the order in which clients see them.
    #[serde(default)]
    pub params: Map<Param>,
}

/// The operation that turns a call into a task.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MakesTask {
    /// API operation that starts what the task follows.
    pub operation: At<String>,
    /// Field of the result that holds the id of the started operation, if the call does not wait.
    pub id: At<String>,
    /// Boolean argument that makes a call wait, and so a task. Without this key, every call waits.
    pub waits: Option<At<String>>,
}

/// The tools that serve all tasks.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tasks {
    /// Tool that looks up the operation of a task.
    pub look_up: At<String>,
    /// Tool that cancels the operation of a task.
    pub cancel: At<String>,
}

/// A result that is the answer of the API.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Plain {
    /// The answer of the API, unchanged.
    Plain,
}

/// A guide.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Guide {
    /// Name that clients show to people.
    pub title: At<String>,
    /// Subject of the guide, in a few words.
    pub doc: At<String>,
    /// Template of the text.
    pub template: At<String>,
}

/// A prompt. Its template is rendered when a client asks for it.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Prompt {
    /// Name that clients show to people.
    pub title: At<String>,
    /// Task that the prompt gives to an agent.
    pub description: At<String>,
    /// Template of the text. Its variables are the arguments; one that is left out is undefined.
    pub template: At<String>,
    /// Arguments by name. All are strings.
    #[serde(default)]
    pub arguments: Map<Argument>,
}

/// One argument of a prompt.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Argument {
    /// Meaning of the argument.
    pub doc: At<String>,
    /// true: the argument must be given.
    #[serde(default)]
    pub required: bool,
    /// Value if the argument is left out.
    pub default: Option<At<String>>,
    /// Source of completions for the argument.
    pub complete: Option<At<Complete>>,
}

/// A source of completions for an argument.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Complete {
    /// Tags of images, written `tag:NAME`.
    Image,
    /// Paths in the image of another argument.
    Path,
    /// Ids of operations.
    Operation,
    /// Ids of runs.
    Instance,
    /// Ids of imports.
    Import,
    /// Names of guides.
    Guide,
}

/// A resource template.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Resource {
    /// URI with variables in braces. A variable at the end of the URI may contain slashes.
    pub uri: At<String>,
    /// Name that clients show to people.
    pub title: At<String>,
    /// Content of the resource.
    pub doc: At<String>,
    /// MIME type of the content, if it is text.
    pub mime: At<String>,
    /// Tool that the resource belongs to. A server offers both or neither.
    pub tool: At<String>,
    /// Source of completions for each variable.
    #[serde(default)]
    pub complete: Map<Complete>,
}

/// Access of a tool to files on the machine of the server.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Local {
    /// No access.
    None,
    /// The tool reads files.
    Read,
    /// The tool writes files.
    Write,
}

/// The hints of the Model Context Protocol.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hints {
    /// The tool changes nothing.
    pub read_only: bool,
    /// The tool may overwrite or remove something.
    pub destructive: bool,
    /// A second call with the same arguments changes nothing more.
    pub idempotent: bool,
    /// The tool may reach systems other than the backend.
    pub open_world: bool,
    /// Reason why the hints differ from what `uses` and `local` imply.
    pub why: Option<At<String>>,
}

/// One argument of a tool.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Param {
    /// Source in the API document of all that is not set: `Schema.field`, `operationId.parameter`.
    pub from: Option<At<String>>,
    /// `string`, `integer`, `number`, `boolean`, `array of …` or `map of …`.
    pub r#type: Option<At<String>>,
    /// Format: `uuid` or `date-time`.
    pub format: Option<At<String>>,
    /// Allowed values.
    pub r#enum: Option<At<Vec<Value>>>,
    /// Value if the argument is left out.
    pub default: Option<At<Value>>,
    /// Smallest allowed number.
    pub min: Option<At<f64>>,
    /// Largest allowed number.
    pub max: Option<At<f64>>,
    /// Smallest allowed number of characters.
    pub min_length: Option<At<u64>>,
    /// true: the argument must be given. Defaults to the API document, or to false without `from`.
    pub required: Option<At<bool>>,
    /// Former names of the argument. Calls may use them; no list shows them.
    #[serde(default)]
    pub aliases: Vec<At<String>>,
    /// true: values of the map may be null.
    #[serde(default)]
    pub null_values: bool,
    /// Reason why the argument differs from the API document.
    pub why: Option<At<String>>,
    /// Meaning of the argument for a model: unit, default, and what null or an empty value does.
    pub doc: At<String>,
}

/// Reads the manifest.
///
/// # Errors
/// Reports all unknown, repeated and missing keys and all wrong types together.
pub fn read(source: &Source) -> Result<Manifest, Vec<Problem>> {
    yaml::read(source)
}

/// The JSON Schema of the manifest.
#[cfg(feature = "schema")]
#[must_use]
pub fn json_schema() -> Value {
    schemars::schema_for!(Manifest).to_value()
}
