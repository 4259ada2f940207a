//! The generated files of the repository.

use std::fs;
use std::path::Path;

use contree_codegen::manifest::{Output, documents, files, model};
use serde_json::{Map, Value};

use crate::error::TaskError;
use crate::fixture::{FIXTURE_DIRECTORY, Fixture};
use crate::mistakes;
use crate::sync::GeneratedFile;
use crate::yaml_only;

/// The directory of the snapshots of what clients see: one file per tool.
pub const SURFACE: &str = "tests/surface";

/// Compiles the repository's own manifest.
///
/// # Errors
/// Returns the mistakes in it, or fails if one of its files cannot be read.
pub fn compile_shipped(root: &Path) -> Result<Output, TaskError> {
    let project = files::Project {
        root,
        manifest: "tools.yaml",
        templates: "templates",
        api: "openapi/contree.yaml",
        extensions: Some("openapi/extensions.yaml"),
        handlers: "src/tools/handlers",
        scheme: "contree",
        version: env!("CARGO_PKG_VERSION"),
    };
    let output = files::compile_files(&project).map_err(TaskError::Source)??;
    Ok(output)
}

/// Generates the files from the repository's own manifest: the surface, the pages, and the
/// manifest's JSON Schema.
///
/// # Errors
/// Fails if the manifest does not compile, or if a page has no region for generated text.
pub fn shipped(root: &Path) -> Result<Vec<GeneratedFile>, TaskError> {
    let output = compile_shipped(root)?;
    let extras = ("_extras".to_owned(), output.extras);
    let surface = output.surface.into_iter().chain([extras]);
    let mut generated: Vec<GeneratedFile> = surface
        .map(|(name, mut snapshot)| {
            snapshot.sort_all_objects();
            GeneratedFile::new(format!("{SURFACE}/{name}.json"), format!("{snapshot:#}\n"))
        })
        .collect();
    for (path, text) in &output.documents {
        let page = fs::read_to_string(root.join(path)).unwrap_or_default();
        let page = documents::update(&page, text)
            .ok_or_else(|| TaskError::NoRegion { page: path.clone() })?;
        generated.push(GeneratedFile::new(path, page));
    }
    generated.push(GeneratedFile::new(
        "tools.schema.json",
        format!("{:#}\n", model::json_schema()),
    ));
    Ok(generated)
}

/// Generates the files that the manifest compiler's tests compare with.
///
/// # Errors
/// Fails if a valid manifest does not compile, or if one with a mistake does.
pub fn fixtures(root: &Path) -> Result<Vec<GeneratedFile>, TaskError> {
    let fixture = Fixture::read(root)?;
    let output = fixture.compile()?;
    let mut surface: Map<String, Value> = output.surface.into_iter().collect();
    surface.insert("extras".to_owned(), output.extras);
    let mut generated = vec![
        GeneratedFile::new(format!("{FIXTURE_DIRECTORY}/tools.rs"), output.rust),
        GeneratedFile::new(
            format!("{FIXTURE_DIRECTORY}/surface.json"),
            format!("{:#}\n", Value::Object(surface)),
        ),
    ];
    let pages = output.documents.into_iter();
    generated.extend(
        pages.map(|(path, page)| GeneratedFile::new(format!("{FIXTURE_DIRECTORY}/{path}"), page)),
    );
    generated.push(GeneratedFile::new(
        "tests/manifest/problems.txt",
        mistakes::report(&fixture, mistakes::MANIFEST_MISTAKES)?,
    ));
    generated.push(GeneratedFile::new(
        "tests/manifest/templates.txt",
        mistakes::report(&fixture, mistakes::TEMPLATE_MISTAKES)?,
    ));
    generated.push(GeneratedFile::new(
        "tests/manifest/yaml_only/tools.rs",
        yaml_only::compile_alone(root)?.rust,
    ));
    Ok(generated)
}
