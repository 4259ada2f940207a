//! How to open a store.

use std::path::PathBuf;

/// How to open a store.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct StoreOptions {
    /// The program to start as init. By default the running one; needed where this crate sits in a shared library, as in an
    /// extension module of an interpreter. It must link this crate.
    pub init_program: Option<PathBuf>,
    /// Mounts overlays the way that kernels before 6.7 need, for tests.
    #[doc(hidden)]
    pub old_mount: bool,
}
