//! The files of this machine that a run gets, and the record of them for later verbs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::context::VerbContext;
use super::error::VerbError;
use crate::cli::output::print_message;
use crate::store::states::StateFile;
use crate::tools::{PlacedFiles, SilentWatcher, gone_since_placed, remember_placed};
use crate::{Changes, Command, Content, Tree};

/// The extension of a backend that places and removes more than files.
pub(super) const FILES_EXTENSION: &str = "files";
/// The most paths that a message names.
const MAX_NAMED: usize = 3;

/// The files of the directories that a run places.
#[derive(Debug, Default)]
pub(super) struct SentFiles {
    /// Each directory of this machine, and its path in the sandbox.
    directories: Vec<(PathBuf, String)>,
    /// The paths in the sandbox of single files.
    files: Vec<String>,
    placed: PlacedFiles,
}

impl SentFiles {
    /// Adds a directory.
    #[cfg(unix)]
    pub(super) fn add(&mut self, source: &Path, destination: &str, tree: &Tree) {
        use crate::local_copy::SentKind;
        let source = source.canonicalize().unwrap_or_else(|_| source.to_owned());
        let root = destination.trim_end_matches('/').to_owned();
        for entry in tree.entries() {
            let (sha256, target) = match &entry.kind {
                SentKind::File { sha256, upload } => {
                    let upload = upload.map(|upload| (sha256.clone(), upload));
                    self.placed.uploads.extend(upload);
                    (sha256.clone(), None)
                }
                SentKind::Directory => (String::new(), None),
                SentKind::Symlink { target } => (String::new(), Some(target.clone())),
            };
            self.placed.files.push(StateFile {
                path: format!("{root}/{}", entry.path),
                sha256,
                executable: entry.mode & 0o111 != 0,
                mode: target.is_none().then_some(entry.mode),
                is_directory: matches!(entry.kind, SentKind::Directory),
                target,
                source: source.join(&entry.path).to_string_lossy().into_owned(),
            });
        }
        self.directories.push((source, root));
    }

    #[cfg(not(unix))]
    pub(super) fn add(&mut self, _: &Path, _: &str, _: &Tree) {}

    /// Adds a single file, by its path in the sandbox.
    pub(super) fn add_file(&mut self, destination: &str) {
        self.files.push(destination.to_owned());
    }

    /// Removes from the sandbox what an earlier run placed there from the same directories, and
    /// what is gone from them since. `is_said` states whether a message names it.
    ///
    /// # Errors
    /// If the backend or the store fails.
    pub(super) async fn remove_gone<C: Changes>(
        &mut self,
        cx: &VerbContext,
        image: Uuid,
        mut command: Command<C>,
        is_said: bool,
    ) -> Result<Command<C>, VerbError> {
        let context = cx.call(Arc::new(SilentWatcher));
        for (source, root) in &self.directories {
            let placed = &self.placed.files;
            let mut gone = gone_since_placed(&context, image, source, root, placed).await?;
            gone.retain(|path| !self.files.contains(path));
            if gone.is_empty() {
                continue;
            }
            let names = named(&gone);
            let shown = source.display();
            if !cx.client.has_extension(FILES_EXTENSION).await? {
                print_message(format_args!(
                    "{names} stays in the image although it is gone from {shown}, since this service removes nothing; use `rm` in a run"
                ));
                continue;
            }
            if is_said {
                print_message(format_args!("removed {names}, gone from {shown}"));
            }
            for path in gone {
                command = command.file(&path, Content::absent());
                self.placed.removed.push(path);
            }
        }
        Ok(command)
    }

    /// Remembers the files as those that an operation placed, for later runs and `contree apply`.
    pub(super) async fn remember(&self, cx: &VerbContext, operation: Uuid) {
        if self.directories.is_empty() {
            return;
        }
        let (source, destination) = match &self.directories[..] {
            [(source, root)] => (source.to_string_lossy().into_owned(), Some(root.clone())),
            _ => (String::new(), None),
        };
        let (backend, placed) = (cx.backend(), self.placed.clone());
        let remembered =
            remember_placed(&cx.tools, backend, operation, source, destination, placed).await;
        if let Err(error) = remembered {
            tracing::warn!("`contree apply` will need --base for this run: {error}");
        }
    }
}

/// The first paths, and the number of the others.
fn named(paths: &[String]) -> String {
    let first = paths.iter().take(MAX_NAMED).map(String::as_str);
    let first = first.collect::<Vec<_>>().join(", ");
    match paths.len().saturating_sub(MAX_NAMED) {
        0 => first,
        others => format!("{first} and {others} more"),
    }
}
