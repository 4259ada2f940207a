//! The manifest compiler: `tools.yaml`, the API document and `templates/` become the tools of the
//! MCP server.
//!
//! `compile` is a pure function from texts to texts, called by the build script and by tests. It
//! reports all mistakes together, each with its position and a fix. Only `files` reads and writes
//! files.

pub mod api;
pub mod check;
pub mod documents;
pub mod error;
pub mod extras;
pub mod files;
pub mod lint;
pub mod loops;
pub mod mentions;
pub mod model;
pub mod names;
pub mod problem;
pub mod resolve;
pub mod rust;
pub mod scan;
pub mod schema;
pub mod shape;
pub mod templates;
pub mod texts;
pub mod yaml;

pub use api::Api;
pub use problem::{Problem, SourceFile};

/// The inputs of the compiler.
pub struct Inputs<'a> {
    /// `tools.yaml`.
    pub manifest: &'a SourceFile,
    /// The API document, parsed once, since it is the same for every manifest.
    pub api: &'a Api,
    /// Every template, named by its path below `templates/`.
    pub templates: &'a [SourceFile],
    /// The version of the package that is built.
    pub version: &'a str,
    /// The scheme of the URIs of guides and resources.
    pub scheme: &'a str,
    /// The directory of the handlers, for messages.
    pub handlers: &'a str,
}

/// The output of the compiler.
#[derive(Debug)]
pub struct Output {
    /// The generated Rust: parameter structs, traits, dispatch and the tool table.
    pub rust: String,
    /// The instructions that a client receives when it connects.
    pub instructions: String,
    /// The name and the text of each guide.
    pub guides: Vec<(String, String)>,
    /// The surface of guides, prompts and resource templates.
    pub extras: serde_json::Value,
    /// The name and the surface of each tool.
    pub surface: Vec<(String, serde_json::Value)>,
    /// Generated pages and regions of pages, each with the path of the page in the repository.
    pub documents: Vec<(String, String)>,
}

/// Compiles the manifest.
///
/// # Errors
/// Every mistake, in the order of the files. Steps after a failed one are skipped, so that no
/// mistake is reported twice.
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
