//! Options for opening a store.

use std::path::PathBuf;

/// Options for opening a store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoreOptions {
    /// The program to start as init; it must link this crate. The default is the running program.
    /// Set it if this crate is in a shared library, such as an interpreter's extension module.
    pub init_program: Option<PathBuf>,
    /// The caller's own name for [`StoreOptions::init_program`], which errors mention.
    pub init_program_setting: Option<String>,
    /// The setting with which the caller's users choose the store's directory, such as an
    /// environment variable. Errors mention it.
    pub directory_setting: Option<String>,
    /// Names of directories to make in the store for the caller's own files. Their files can be
    /// copied into a sandbox ([`FileCopy`](crate::FileCopy)).
    pub directories: Vec<String>,
    /// The directory of [side files](crate::SideFile) inside sandboxes: a name below `/dev`. The
    /// default is [`StoreOptions::SIDE_DIRECTORY`].
    pub side_directory: String,
    /// The file in which all stores of this machine's root record their ids, so that no two new
    /// stores have the same. Ordinary users have no such file. The default is
    /// [`StoreOptions::ID_RECORD`].
    pub id_record: PathBuf,
    /// Mounts overlays with mount(2), as on kernels before 6.7. For tests.
    #[doc(hidden)]
    pub old_mount: bool,
}

impl StoreOptions {
    /// The default name below `/dev` of the directory of side files.
    pub const SIDE_DIRECTORY: &str = "side-files";
    /// The default of [`StoreOptions::id_record`].
    pub const ID_RECORD: &str = "/var/lib/contree-sandbox/ids.json";

    /// The start of an instruction to choose another directory for the store: an imperative without
    /// its object.
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
            id_record: Self::ID_RECORD.into(),
            old_mount: false,
        }
    }
}
