//! Compiles the API document into the client and the manifest into the tools, with
//! `crates/codegen`.

use std::{env, fs, path::PathBuf};

use contree_codegen::api::{self, transforms};
use contree_codegen::extensions::merge_texts;

/// The API document.
const API: &str = "openapi/contree.yaml";

/// The extensions that the embedded engine adds to it.
const EXTENSIONS: &str = "openapi/extensions.yaml";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);

    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={API}");
    let settings = api::Settings::new(API, "contree")
        .with_state("crate::client::ClientState")
        .with_replacement("UuidSchema", "::uuid::Uuid")
        .with_replacement("ImageSource", "crate::ImageRef")
        .with_replacement("OperationStatus", "crate::OperationStatus")
        .with_replacement("OperationKind", "crate::OperationKind")
        .with_hidden("env")
        .with_hidden("password")
        .with_hidden("stdin")
        // They only redirect, and the HTTP client follows redirects.
        .without_operation("inspectRedirect")
        .without_operation("inspectImageRedirect")
        .with_transforms(transforms::CLIENT)
        .with_mock_transforms(transforms::MOCKS);
    println!("cargo::rerun-if-changed={EXTENSIONS}");
    match merge_texts(&fs::read_to_string(API)?, &fs::read_to_string(EXTENSIONS)?) {
        Ok(document) => match api::generate(&document, &settings) {
            Ok(output) => {
                fs::write(out.join("client.rs"), output.client)?;
                fs::write(out.join("mocks.rs"), output.mocks)?;
            }
            Err(problem) => println!("cargo::error={problem}"),
        },
        Err(problem) => println!("cargo::error={EXTENSIONS}: {problem}"),
    }
    #[cfg(feature = "mcp")]
    {
        use contree_codegen::manifest::files;
        let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
        let project = files::Project {
            root: &root,
            manifest: "tools.yaml",
            templates: "templates",
            api: API,
            extensions: Some(EXTENSIONS),
            handlers: "src/tools/handlers",
            scheme: "contree",
            version: &env::var("CARGO_PKG_VERSION")?,
        };
        files::generate(&project, &out)?;
    }

    Ok(())
}
