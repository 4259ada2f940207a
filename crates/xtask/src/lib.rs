//! Tasks of the repository.
//!
//! [`generate`] writes or checks every file that is made from `tools.yaml`, `templates/`, the API
//! document and the codes of errors. The tests of the manifest compiler call the same code.
//! [`sbom`] lists the components of the program.

#![forbid(unsafe_code)]

pub mod error;
pub mod error_page;
pub mod fixture;
pub mod generated;
pub mod mistakes;
pub mod sbom;
pub mod sync;
pub mod yaml_only;

pub use error::TaskError;
pub use sync::{GeneratedFile, StaleFile, SyncMode};

use std::path::Path;

/// The command that writes the generated files.
pub const GENERATE_COMMAND: &str = "cargo run -q -p contree-xtask -- generate";

/// Writes or checks the generated files of the repository at `root`. Returns those that are out of
/// date.
///
/// # Errors
/// Fails if a source does not compile, or if a file cannot be read or written.
pub fn generate(root: &Path, mode: SyncMode) -> Result<Vec<StaleFile>, TaskError> {
    let mut files = generated::shipped(root)?;
    files.extend(generated::fixtures(root)?);
    files.push(error_page::page());
    let mut stale = sync::sync(root, &files, mode)?;
    stale.extend(sync::remove_stale(root, generated::SURFACE, &files, mode)?);
    Ok(stale)
}
