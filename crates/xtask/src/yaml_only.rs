//! Tools for the repository's API that consist of a YAML entry alone, without a handler in Rust.

use std::path::Path;

use contree_codegen::manifest::{Api, Inputs, Output, SourceFile, compile, files};

use crate::error::TaskError;

/// The entries of two tools: one sends a query, the other a body.
pub const TOOLS: &str = "
  list_uploads:
    title: List uploads
    toolset: files
    operation: listFiles
    answer: plain
    local: none
    hints: {read_only: true, destructive: false, idempotent: true, open_world: false}
    description: List what was uploaded.
    params:
      limit: {from: listFiles.limit, doc: Files at most}

  name_image:
    title: Name an image
    toolset: files
    operation: updateImageTag
    answer: plain
    local: none
    hints: {read_only: false, destructive: false, idempotent: true, open_world: false}
    description: Name an image.
    params:
      image: {from: updateImageTag.imageUUID, doc: Image}
      name: {from: ImageTagRequest.tag, doc: Its name}
";

/// Compiles a manifest with these tools alone.
///
/// # Errors
/// Returns the mistakes in it, or fails if one of its files cannot be read.
pub fn compile_alone(root: &Path) -> Result<Output, TaskError> {
    let api = api(root)?;
    let others = api.operations.keys();
    let others = others.filter(|id| !["listFiles", "updateImageTag"].contains(&id.as_str()));
    let unexposed: String = others.map(|id| format!("  {id}: not here\n")).collect();
    let manifest = SourceFile {
        name: "tools.yaml".into(),
        text: format!(
            "instructions: Uploads.\ntoolsets:\n  files: Files\ntools:{TOOLS}unexposed:\n{unexposed}"
        ),
    };
    compile_sources(&manifest, &api, &[])
}

/// Compiles the repository's own manifest with these tools added.
///
/// # Errors
/// Returns the mistakes in it, or fails if one of its files cannot be read.
pub fn compile_added(root: &Path) -> Result<Output, TaskError> {
    let mut shipped = files::read(root, "tools.yaml").map_err(TaskError::Source)?;
    let templates = files::read_templates(&root.join("templates")).map_err(TaskError::Source)?;
    let tools = "\ntools:\n";
    let (before, after) = shipped
        .text
        .split_once(tools)
        .ok_or_else(|| TaskError::Text {
            file: shipped.name.clone(),
            text: tools.to_owned(),
        })?;
    // The added tool uses `listFiles`, so it is no longer unexposed.
    let after: String = after
        .lines()
        .filter(|line| !line.starts_with("  listFiles:"))
        .map(|line| format!("{line}\n"))
        .collect();
    shipped.text = format!("{before}\ntools:{TOOLS}\n{after}");
    compile_sources(&shipped, &api(root)?, &templates)
}

fn api(root: &Path) -> Result<Api, TaskError> {
    let document = files::read(root, "openapi/contree.yaml").map_err(TaskError::Source)?;
    let extensions = files::read(root, "openapi/extensions.yaml").map_err(TaskError::Source)?;
    Ok(Api::load_all(&document, Some(&extensions))?)
}

fn compile_sources(
    manifest: &SourceFile,
    api: &Api,
    templates: &[SourceFile],
) -> Result<Output, TaskError> {
    let inputs = Inputs {
        manifest,
        api,
        templates,
        version: "1.2.3",
        scheme: "contree",
        handlers: "src/tools",
    };
    Ok(compile(&inputs)?)
}
