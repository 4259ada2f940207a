//! The contents of `tools.yaml`. Editors show the doc comments as hints (`tools.schema.json`).

use serde::Deserialize;
use serde_json::Value;

use super::problem::{Problem, SourceFile};
use super::yaml::{self, Located, LocatedMap};

/// The tools of the MCP server, with their texts, guides, prompts and resources.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Manifest {
    /// The template of the instructions that a client receives when it connects.
    pub instructions: Located<String>,
    /// Groups of tools, each with a one-line description. A toolset is one Rust trait and one file
    /// of handlers.
    pub toolsets: LocatedMap<String>,
    /// The tools by name.
    pub tools: LocatedMap<Tool>,
    /// The tools that serve every task. Required if a tool has `makes_task`.
    pub tasks: Option<Located<Tasks>>,
    /// Operations of the API that no tool uses, each with the reason.
    #[serde(default)]
    pub unexposed: LocatedMap<String>,
    /// Guides by name: longer texts that agents read on demand, as `contree://guide/NAME`.
    #[serde(default)]
    pub guides: LocatedMap<Guide>,
    /// Prompts by name: texts with which a person starts an agent.
    #[serde(default)]
    pub prompts: LocatedMap<Prompt>,
    /// Resource templates by name: contents that clients read under a URI with variables.
    #[serde(default)]
    pub resources: LocatedMap<Resource>,
    /// The hosts that texts may link to.
    #[serde(default)]
    pub links: Vec<Located<String>>,
    /// Generated pages by path: the template of the page, or of the region between its `tools`
    /// markers.
    #[serde(default)]
    pub documents: LocatedMap<String>,
    /// The template of the web page for people, which the server renders.
    pub page: Option<Located<String>>,
}

/// One tool.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tool {
    /// A name for people.
    pub title: Located<String>,
    /// The toolset that it belongs to.
    pub toolset: Located<String>,
    /// The operation that it maps to directly. Its handler is then generated, and `uses` is
    /// implied.
    pub operation: Option<Located<String>>,
    /// `plain` if a directly mapped tool returns the API's answer unchanged. It then needs no
    /// result type.
    pub answer: Option<Located<AnswerKind>>,
    /// Former names. A call by a former name reaches this tool; no list shows the name.
    #[serde(default)]
    pub aliases: Vec<Located<String>>,
    /// The operations that its handler calls.
    #[serde(default)]
    pub uses: Vec<Located<String>>,
    /// The operation that may outlive a call. A client that supports tasks receives a task for it.
    pub makes_task: Option<Located<MakesTask>>,
    /// Its effect on files of the server's machine.
    pub local: Located<LocalEffect>,
    /// The properties that a client may assume. They are checked against `uses` and `local`.
    pub hints: Located<Hints>,
    /// Its description: a text, or a template below `templates/` (its name ends in `.j2`).
    pub description: Located<String>,
    /// Its arguments by name, in the order of display.
    #[serde(default)]
    pub params: LocatedMap<Param>,
}

/// The task that a call makes.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MakesTask {
    /// The API operation that starts the work that the task follows.
    pub operation: Located<String>,
    /// The field of the result that contains the id of the started operation, if the call does not
    /// wait for its end.
    pub id: Located<String>,
    /// The argument that decides whether the call waits. Only a call that waits becomes a task.
    /// Without this key, every call waits.
    pub waits: Option<Located<String>>,
}

/// The tools that serve the tasks of all tools.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tasks {
    /// The tool that looks up the operation of a task.
    pub look_up: Located<String>,
    /// The tool that cancels the operation of a task.
    pub cancel: Located<String>,
}

/// The kind of answer of a directly mapped tool.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AnswerKind {
    /// The unchanged answer of the API.
    Plain,
}

/// A guide.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Guide {
    /// A name for people.
    pub title: Located<String>,
    /// Its topic, in a few words.
    pub doc: Located<String>,
    /// The template of its text.
    pub template: Located<String>,
}

/// A prompt. Its template is rendered when a client asks for it.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Prompt {
    /// A name for people.
    pub title: Located<String>,
    /// The work that it gives to an agent.
    pub description: Located<String>,
    /// The template of its text. Its variables are the arguments; an argument that was left out is
    /// undefined.
    pub template: Located<String>,
    /// Its arguments by name. All are of type string.
    #[serde(default)]
    pub arguments: LocatedMap<Argument>,
}

/// One argument of a prompt.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Argument {
    /// Its meaning.
    pub doc: Located<String>,
    /// Whether it is required.
    #[serde(default)]
    pub required: bool,
    /// The value if it is left out.
    pub default: Option<Located<String>>,
    /// The source of its completions.
    pub complete: Option<Located<CompletionSource>>,
}

/// The source of completions for an argument that is being typed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CompletionSource {
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
    /// Its URI with variables in braces. The last one may hold slashes if it ends the URI.
    pub uri: Located<String>,
    /// A name for people.
    pub title: Located<String>,
    /// A description of its contents.
    pub doc: Located<String>,
    /// The media type of its contents if they are text.
    pub mime: Located<String>,
    /// The tool that it belongs to. A server that does not offer the tool does not offer the
    /// resource.
    pub tool: Located<String>,
    /// The sources of completions for its variables.
    #[serde(default)]
    pub complete: LocatedMap<CompletionSource>,
}

/// The effect of a tool on files of the server's machine.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LocalEffect {
    /// No effect.
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
    /// The reason why the hints differ from those that `uses` and `local` imply.
    pub why: Option<Located<String>>,
}

/// One argument of a tool.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Param {
    /// Where type, bounds, choices and default come from: `Schema.field` or
    /// `operationId.parameter`.
    pub from: Option<Located<String>>,
    /// `string`, `integer`, `number`, `boolean`, `array of …` or `map of …`.
    pub r#type: Option<Located<String>>,
    /// A format: `uuid` or `date-time`.
    pub format: Option<Located<String>>,
    /// The allowed values.
    pub r#enum: Option<Located<Vec<Value>>>,
    /// The value if it is left out.
    pub default: Option<Located<Value>>,
    /// The smallest number.
    pub min: Option<Located<f64>>,
    /// The largest number.
    pub max: Option<Located<f64>>,
    /// The least length of a text.
    pub min_length: Option<Located<u64>>,
    /// Whether it is required. The default is that of the API document, and `false` without `from`.
    pub required: Option<Located<bool>>,
    /// Other accepted names, which are not shown.
    #[serde(default)]
    pub aliases: Vec<Located<String>>,
    /// Whether the values of a map may be null.
    #[serde(default)]
    pub null_values: bool,
    /// Whether an empty text has a meaning of its own. Otherwise an optional argument with an empty
    /// text counts as left out.
    #[serde(default)]
    pub keeps_empty: bool,
    /// The reason why it differs from the API document.
    pub why: Option<Located<String>>,
    /// Its meaning, in a few words for an agent.
    pub doc: Located<String>,
}

/// Reads the manifest.
///
/// # Errors
/// All unknown, repeated and missing keys and all wrong types together.
pub fn read(source: &SourceFile) -> Result<Manifest, Vec<Problem>> {
    yaml::read(source)
}

/// The JSON Schema of the manifest.
#[cfg(feature = "schema")]
#[must_use]
pub fn json_schema() -> Value {
    schemars::schema_for!(Manifest).to_value()
}
