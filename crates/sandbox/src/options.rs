//! How to open a store.

use std::path::PathBuf;

/// How to open a store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoreOptions {
    /// The program to start as init. By default the running one; needed where this crate sits in a shared library, as in an
    /// extension module of an interpreter. It must link this crate.
    pub init_program: Option<PathBuf>,
    /// The caller's own name for [`StoreOptions::init_program`]. Errors name it.
    pub init_program_setting: Option<String>,
    /// The setting by which the caller's users choose the directory of the store, as an environment
    /// variable. Errors name it.
    pub directory_setting: Option<String>,
    /// Directories to make in the store for the caller's own files: plain names. Their files can be
    /// copied into a sandbox ([`Place`](crate::Place)).
    pub directories: Vec<String>,
    /// The directory of [side files](crate::SideFile) inside sandboxes: a name below `/dev`. By
    /// default [`StoreOptions::SIDE_DIRECTORY`].
    pub side_directory: String,
    /// Mounts overlays the way that kernels before 6.7 need, for tests.
    #[doc(hidden)]
    pub old_mount: bool,
}

impl StoreOptions {
    /// The name below `/dev` of the directory of side files, unless another is given.
    pub const SIDE_DIRECTORY: &str = "side-files";

    /// How a user chooses another directory for the store: an imperative without its object.
    pub(crate) fn choose_directory(&self) -> String {
        match &self.directory_setting {
            Some(setting) => format!("set {setting} to"),
            None => "use".into(),
        }
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            init_program: None,
            init_program_setting: None,
            directory_setting: None,
            directories: Vec::new(),
            side_directory: Self::SIDE_DIRECTORY.into(),
            old_mount: false,
        }
    }
}
