//! Compiles the API document into the client, and the manifest into the tools; the work is in `build/`.

use std::{env, fs, path::PathBuf};

#[path = "build/client/mod.rs"]
mod client;

#[cfg(feature = "mcp")]
#[allow(unreachable_pub, dead_code, reason = "tests include the same files")]
#[path = "build/manifest/mod.rs"]
mod manifest;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);

    println!("cargo::rerun-if-changed=build/client");
    println!("cargo::rerun-if-changed=openapi/contree.yaml");
    match client::generate(&fs::read_to_string("openapi/contree.yaml")?) {
        Ok(output) => {
            fs::write(out.join("client.rs"), output.client)?;
            fs::write(out.join("mocks.rs"), output.mocks)?;
        }
        Err(problem) => println!("cargo::error={problem}"),
    }
    #[cfg(feature = "mcp")]
    manifest::files::generate(&PathBuf::from(env::var("CARGO_MANIFEST_DIR")?), &out)?;

    Ok(())
}
