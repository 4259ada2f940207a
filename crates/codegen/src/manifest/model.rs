//! What stands in `tools.yaml`. The doc comments become the hints an editor shows (`tools.schema.json`).

use serde::Deserialize;
use serde_json::Value;

use super::problem::{Problem, Source};
use super::yaml::{self, At, Map};

/// The tools of the MCP server and all that is said about them.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Manifest {
    /// The template of the instructions that a client receives when it connects.
    pub instructions: At<String>,
    /// Families of tools with one line on each. A family is one Rust trait and one file of handlers.
    pub toolsets: Map<String>,
    /// The tools by name.
    pub tools: Map<Tool>,
    /// The tools that serve every task. Mandatory if a tool has `makes_task`.
    pub tasks: Option<At<Tasks>>,
    /// Operations of the API that no tool uses, each with the reason.
    #[serde(default)]
    pub unexposed: Map<String>,
    /// Guides by name: longer texts that agents read on demand, as `contree://guide/NAME`.
    #[serde(default)]
    pub guides: Map<Guide>,
    /// Prompts by name: what a person starts an agent with.
    #[serde(default)]
    pub prompts: Map<Prompt>,
    /// Resource templates by name: what can be read under a URI with variables.
    #[serde(default)]
    pub resources: Map<Resource>,
    /// The hosts that texts may link to.
    #[serde(default)]
    pub links: Vec<At<String>>,
    /// Generated pages by path: the template of the page, or of the region between its `tools` markers.
    #[serde(default)]
    pub documents: Map<String>,
    /// The template of the page for people, which the server renders.
    pub page: Option<At<String>>,
}

/// One tool.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tool {
    /// A name for people.
    pub title: At<String>,
    /// The family it belongs to.
    pub toolset: At<String>,
    /// The operation it maps to directly; its handler is then generated. Implies `uses`.
    pub operation: Option<At<String>>,
    /// `plain` if a directly mapped tool answers what the API does: then no result type is needed.
    pub answer: Option<At<Plain>>,
    /// Former names. A call by one reaches this tool; no list shows them.
    #[serde(default)]
    pub aliases: Vec<At<String>>,
    /// The operations that its handler calls.
    #[serde(default)]
    pub uses: Vec<At<String>>,
    /// The operation that may outlive a call; a client that takes tasks receives a task for it.
    pub makes_task: Option<At<MakesTask>>,
    /// What it touches on the machine of the server.
    pub local: At<Local>,
    /// What a client may assume. Checked against `uses` and `local`.
    pub hints: At<Hints>,
    /// What it does: a text, or a template below `templates/` (its name ends in `.j2`).
    pub description: At<String>,
    /// Its arguments by name, in the order in which they are shown.
    #[serde(default)]
    pub params: Map<Param>,
}

/// What makes a call a task.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MakesTask {
    /// The operation of the API that starts what the task follows.
    pub operation: At<String>,
    /// The field of the result with the id of what was started, if the call does not wait for its end.
    pub id: At<String>,
    /// The argument that says whether the call waits. Only a call that waits becomes a task. Without it, every call waits.
    pub waits: Option<At<String>>,
}

/// The tools that serve every task, whichever tool made it.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tasks {
    /// The tool that looks up what a task follows.
    pub look_up: At<String>,
    /// The tool that cancels it.
    pub cancel: At<String>,
}

/// The answer of the API as it is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Plain {
    /// As it is.
    Plain,
}

/// A guide.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Guide {
    /// A name for people.
    pub title: At<String>,
    /// What it is about, in a few words.
    pub doc: At<String>,
    /// The template of its text.
    pub template: At<String>,
}

/// A prompt. Its template is rendered when a client asks for it.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Prompt {
    /// A name for people.
    pub title: At<String>,
    /// What it makes an agent do.
    pub description: At<String>,
    /// The template of its text. Its variables are the arguments; one that may be left out is undefined then.
    pub template: At<String>,
    /// Its arguments by name. All are texts.
    #[serde(default)]
    pub arguments: Map<Argument>,
}

/// One argument of a prompt.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Argument {
    /// What it means.
    pub doc: At<String>,
    /// Whether it must be given.
    #[serde(default)]
    pub required: bool,
    /// The value it has when left out.
    pub default: Option<At<String>>,
    /// What completes it.
    pub complete: Option<At<Complete>>,
}

/// What can complete a half-typed argument.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Complete {
    /// Tags of images, written `tag:NAME`.
    Image,
    /// Paths in the image that another argument names.
    Path,
    /// Ids of operations.
    Operation,
    /// Ids of operations that ran commands.
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
    /// Its URI with variables in braces. The last one may hold slashes if it ends the URI.
    pub uri: At<String>,
    /// A name for people.
    pub title: At<String>,
    /// What is read there.
    pub doc: At<String>,
    /// The type of its contents, where they are text.
    pub mime: At<String>,
    /// The tool that it goes with: a server without that tool does not have it.
    pub tool: At<String>,
    /// What completes its variables.
    #[serde(default)]
    pub complete: Map<Complete>,
}

/// What a tool touches on the machine of the server.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Local {
    /// Nothing.
    None,
    /// It reads files.
    Read,
    /// It writes files.
    Write,
}

/// The hints of the Model Context Protocol.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hints {
    /// It changes nothing.
    pub read_only: bool,
    /// It may overwrite or remove something.
    pub destructive: bool,
    /// Calling it twice is the same as calling it once.
    pub idempotent: bool,
    /// It may reach things beyond the backend.
    pub open_world: bool,
    /// Why the hints say something else than `uses` and `local` do.
    pub why: Option<At<String>>,
}

/// One argument of a tool.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Param {
    /// Where type, bounds, choices and default come from: `Schema.field` or `operationId.parameter`.
    pub from: Option<At<String>>,
    /// `string`, `integer`, `number`, `boolean`, `array of …` or `map of …`.
    pub r#type: Option<At<String>>,
    /// A format: `uuid` or `date-time`.
    pub format: Option<At<String>>,
    /// The allowed values.
    pub r#enum: Option<At<Vec<Value>>>,
    /// The value it has when left out.
    pub default: Option<At<Value>>,
    /// The smallest number.
    pub min: Option<At<f64>>,
    /// The largest number.
    pub max: Option<At<f64>>,
    /// The least length of a text.
    pub min_length: Option<At<u64>>,
    /// Whether it must be given. Unless said, the API document decides, and `false` without `from`.
    pub required: Option<At<bool>>,
    /// Other names that are accepted but not shown.
    #[serde(default)]
    pub aliases: Vec<At<String>>,
    /// Whether the values of a map may be null.
    #[serde(default)]
    pub null_values: bool,
    /// Why it differs from the API document.
    pub why: Option<At<String>>,
    /// What it means, in a few words for an agent.
    pub doc: At<String>,
}

/// Reads the manifest.
///
/// # Errors
/// Returns unknown, repeated and missing keys and wrong types, all together.
pub fn read(source: &Source) -> Result<Manifest, Vec<Problem>> {
    yaml::read(source)
}

/// The JSON Schema of the manifest.
#[cfg(feature = "schema")]
#[must_use]
pub fn json_schema() -> Value {
    schemars::schema_for!(Manifest).to_value()
}
