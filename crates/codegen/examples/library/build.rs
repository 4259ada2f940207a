//! Generates the client from `openapi.yaml`, and the tools from `tools.yaml`.

use std::path::{Path, PathBuf};
use std::{env, error::Error, fs};

use contree_codegen::api::{self, Settings, transforms};
use contree_codegen::manifest::files;

const API: &str = "openapi.yaml";

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={API}");

    let settings = Settings::new(API, "library_example")
        // Every client has this state, and the crate's hooks read it.
        .with_state("crate::client::Token")
        // An existing type replaces a schema.
        .with_replacement("BookId", "::uuid::Uuid")
        // Small, named changes to the document. Tools with a body need the first three.
        .with_transforms(&[
            transforms::plain_strings,
            transforms::plain_numbers,
            transforms::drop_defaults,
            transforms::default_errors,
            transforms::drop_redirects,
        ])
        // Without this line, the build fails: `drop_redirects` removes the operation.
        .without_operation("listOldBooks");
    match api::generate(&fs::read_to_string(API)?, &settings) {
        Ok(output) => fs::write(out.join("client.rs"), output.client)?,
        Err(problem) => println!("cargo::error={problem}"),
    }

    let root = env::var("CARGO_MANIFEST_DIR")?;
    let version = env::var("CARGO_PKG_VERSION")?;
    let project = files::Project {
        root: Path::new(&root),
        manifest: "tools.yaml",
        templates: "templates",
        api: API,
        extensions: None,
        handlers: "src/tools",
        scheme: "library",
        version: &version,
    };
    files::generate(&project, &out)?;
    Ok(())
}
