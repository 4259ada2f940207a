//! Compiles the API document into the client, and the manifest into the tools; the work is in `crates/codegen`.

use std::{env, fs, path::PathBuf};

use contree_codegen::api;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);

    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=openapi/contree.yaml");
    match api::generate(&fs::read_to_string("openapi/contree.yaml")?) {
        Ok(output) => {
            fs::write(out.join("client.rs"), output.client)?;
            fs::write(out.join("mocks.rs"), output.mocks)?;
        }
        Err(problem) => println!("cargo::error={problem}"),
    }
    #[cfg(feature = "mcp")]
    contree_codegen::manifest::files::generate(
        &PathBuf::from(env::var("CARGO_MANIFEST_DIR")?),
        &out,
        &env::var("CARGO_PKG_VERSION")?,
    )?;

    Ok(())
}
