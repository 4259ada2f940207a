//! The manifest compiler: small manifests with their expected results, and the shipped manifest.
//!
//! `cargo run -q -p contree-xtask -- generate` writes the files that these tests expect.

#![allow(clippy::unwrap_used, reason = "a test")]

mod compiled;
mod generated;
mod handlers;
mod shipped;
mod yaml_only;

use std::path::Path;

/// The repository.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
