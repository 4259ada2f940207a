//! The manifest compiler: `tools.yaml`, the API document and `templates/` become the tools of the MCP server.
//!
//! `compile` is a pure function from texts to texts. It reports every mistake at once, each with its place and its
//! remedy. The build script calls it, and so do the tests, so only `files` reads and writes files.

pub mod api;
pub mod check;
pub mod documents;
pub mod extras;
pub mod files;
pub mod lint;
pub mod loops;
pub mod model;
pub mod names;
pub mod problem;
pub mod prose;
pub mod resolve;
pub mod rust;
pub mod scan;
pub mod schema;
pub mod shape;
pub mod templates;
pub mod texts;
pub mod yaml;

pub use api::Api;
pub use problem::{Problem, Source};

/// What the compiler reads.
pub struct Inputs<'a> {
    /// `tools.yaml`.
    pub manifest: &'a Source,
    /// The API document, already read: it is the same for every manifest.
    pub api: &'a Api,
    /// Every file under `templates/`, named by its path below that folder.
    pub templates: &'a [Source],
    /// The version of what is being built.
    pub version: &'a str,
    /// The scheme of the URIs of guides and resources.
    pub scheme: &'a str,
    /// The folder with the handlers, which messages name.
    pub handlers: &'a str,
}

/// What the compiler makes.
#[derive(Debug)]
pub struct Output {
    /// The generated Rust: parameter structs, traits, dispatch and the tool table.
    pub rust: String,
    /// What a client is told when it connects.
    pub instructions: String,
    /// The guides with their texts, by name.
    pub guides: Vec<(String, String)>,
    /// What clients see of prompts and resource templates.
    pub extras: serde_json::Value,
    /// What clients see of each tool, by name.
    pub surface: Vec<(String, serde_json::Value)>,
    /// Generated pages and regions of pages, by the path of the page in the repository.
    pub documents: Vec<(String, String)>,
}

/// Compiles the manifest.
///
/// # Errors
/// Returns every mistake found, in the order of the files. Later steps are left out where an earlier one failed, so
/// that one mistake is not reported twice.
pub fn compile(inputs: &Inputs<'_>) -> Result<Output, Vec<Problem>> {
    let manifest = model::read(inputs.manifest)?;
    let resolved = resolve::resolve(inputs, &manifest)?;
    let mut problems = check::check(inputs.manifest, &manifest, &resolved, inputs.api);
    problems.extend(lint::lint(inputs, &manifest));
    let texts = texts::render(inputs, &manifest, &resolved, &mut problems);
    if !problems.is_empty() {
        problems.sort();
        problems.dedup();
        return Err(problems);
    }
    Ok(Output {
        surface: schema::surface(&resolved, &texts),
        extras: extras::surface(&resolved),
        instructions: texts.instructions.clone(),
        guides: texts.guides.clone(),
        documents: texts.documents.clone(),
        rust: rust::generate(inputs, &resolved, &texts),
    })
}
