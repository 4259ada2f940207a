//! Every generated file of the repository.

use std::fs;
use std::path::Path;

use contree_codegen::manifest::{Output, documents, files, model};
use serde_json::{Map, Value};

use crate::fixture::{FOLDER, Fixture, lines};
use crate::mistakes;
use crate::sync::Generated;
use crate::yaml_only;

/// The folder with what clients see of each tool.
pub const SURFACE: &str = "tests/surface";

/// Compiles the manifest that is shipped.
///
/// # Errors
/// Returns the mistakes in it, one a line.
pub fn compile_shipped(root: &Path) -> Result<Output, String> {
    let project = files::Project {
        root,
        manifest: "tools.yaml",
        templates: "templates",
        api: "openapi/contree.yaml",
        handlers: "src/tools/handlers",
        scheme: "contree",
        version: env!("CARGO_PKG_VERSION"),
    };
    files::compile_files(&project)
        .map_err(|error| error.to_string())?
        .map_err(|problems| lines(&problems))
}

/// What is made from the manifest that is shipped: the surface, pages, and the schema of the manifest.
///
/// # Errors
/// Fails if the manifest does not compile, and if a page has no region for what is generated.
pub fn shipped(root: &Path) -> Result<Vec<Generated>, String> {
    let output = compile_shipped(root)?;
    let extras = ("_extras".to_owned(), output.extras);
    let surface = output.surface.into_iter().chain([extras]);
    let mut generated: Vec<Generated> = surface
        .map(|(name, mut seen)| {
            seen.sort_all_objects();
            Generated::new(format!("{SURFACE}/{name}.json"), format!("{seen:#}\n"))
        })
        .collect();
    for (path, text) in &output.documents {
        let page = fs::read_to_string(root.join(path)).unwrap_or_default();
        let page = documents::update(&page, text).ok_or_else(|| {
            let markers = [documents::BEGIN, documents::END].join("\n");
            format!("{path} needs these lines for its region:\n{markers}")
        })?;
        generated.push(Generated::new(path, page));
    }
    generated.push(Generated::new(
        "tools.schema.json",
        format!("{:#}\n", model::json_schema()),
    ));
    Ok(generated)
}

/// What the tests of the compiler compare with.
///
/// # Errors
/// Fails if a good manifest does not compile, or one with a mistake does.
pub fn fixtures(root: &Path) -> Result<Vec<Generated>, String> {
    let fixture = Fixture::read(root)?;
    let output = fixture.compile().map_err(|problems| lines(&problems))?;
    let mut surface: Map<String, Value> = output.surface.into_iter().collect();
    surface.insert("extras".to_owned(), output.extras);
    let mut generated = vec![
        Generated::new(format!("{FOLDER}/tools.rs"), output.rust),
        Generated::new(
            format!("{FOLDER}/surface.json"),
            format!("{:#}\n", Value::Object(surface)),
        ),
    ];
    let pages = output.documents.into_iter();
    generated.extend(pages.map(|(path, page)| Generated::new(format!("{FOLDER}/{path}"), page)));
    generated.push(Generated::new(
        "tests/manifest/problems.txt",
        mistakes::refusals(&fixture, mistakes::MANIFEST)?,
    ));
    generated.push(Generated::new(
        "tests/manifest/templates.txt",
        mistakes::refusals(&fixture, mistakes::TEMPLATES)?,
    ));
    generated.push(Generated::new(
        "tests/manifest/yaml_only/tools.rs",
        yaml_only::compile_alone(root)?.rust,
    ));
    Ok(generated)
}
