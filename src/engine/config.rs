//! Where the engine keeps its data, and how it may be told otherwise.

use std::path::{Path, PathBuf};

use super::EngineError;

/// Settings of the embedded engine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LocalConfig {
    /// Images, layers, files and records. Made with mode 0700 if missing.
    pub data_dir: PathBuf,
    /// Holds the engine's socket, in a directory of its own with mode 0700. `None`: `$XDG_RUNTIME_DIR`, else the
    /// system's directory for temporary files.
    pub runtime_dir: Option<PathBuf>,
    /// A program that links this crate, to be started as a sandbox's first process. Only needed where the crate is part
    /// of a shared library, such as an extension module of an interpreter; any other program is its own.
    pub init_program: Option<PathBuf>,
    /// How many sandboxes may run at once; further ones wait as PENDING.
    pub max_concurrency: usize,
    /// How many images may be imported at once; further imports wait as PENDING.
    pub max_imports: usize,
    /// Whether images may be imported from paths of this machine (`oci-layout:`, `docker-archive:`, `rootfs:`), which are read with
    /// this process's rights. Not for an engine that others can reach.
    pub local_imports: bool,
    /// Most bytes of an imported image's files, unpacked.
    pub import_bytes: u64,
    /// Most entries of an imported layer.
    pub import_entries: u64,
}

impl LocalConfig {
    /// Settings with this data directory and defaults for the rest.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            data_dir: data_dir.into(),
            runtime_dir: None,
            init_program: None,
            max_concurrency: (cores * 4).max(8),
            max_imports: 5,
            local_imports: true,
            import_bytes: 64 << 30,
            import_entries: 2_000_000,
        }
    }

    /// Settings with the data directory of the environment: `CONTREE_DATA_DIR`, else `contree` in `XDG_DATA_HOME`, else
    /// `~/.local/share/contree`.
    ///
    /// # Errors
    /// [`EngineError::NoDataDirectory`] if none of these variables is set.
    pub fn from_env() -> Result<Self, EngineError> {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        set("CONTREE_DATA_DIR")
            .or_else(|| set("XDG_DATA_HOME").map(|base| base.join("contree")))
            .or_else(|| set("HOME").map(|home| home.join(".local/share/contree")))
            .map(Self::new)
            .ok_or(EngineError::NoDataDirectory)
    }

    /// Where the socket's directory is made.
    pub(super) fn socket_parent(&self) -> PathBuf {
        let usable = |path: &Path| path.is_absolute() && path.is_dir();
        self.runtime_dir
            .clone()
            .or_else(|| {
                std::env::var_os("XDG_RUNTIME_DIR")
                    .map(PathBuf::from)
                    .filter(|path| usable(path))
            })
            .unwrap_or_else(std::env::temp_dir)
    }

    /// The options of the layer store.
    pub(super) fn store_options(&self) -> contree_sandbox::StoreOptions {
        let mut options = contree_sandbox::StoreOptions::default();
        options.init_program.clone_from(&self.init_program);
        options
    }
}
