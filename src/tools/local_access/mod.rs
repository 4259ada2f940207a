//! Rules for access of tools to local files.
//!
//! A path is judged by its target, not by its spelling: the file is opened first, then its real
//! path is checked. Exchanging a link meanwhile thus gives no access.
//!
//! Credential paths are protected by target and by spelling, since many users keep credentials
//! elsewhere and link to them. So are files that run by themselves, but only from being written.
//! docs/local-files.md has the rules and the protected paths.

mod credential_table;
mod destination;
mod homes;
mod linked_files;
mod protected_files;
mod protected_paths;
mod real_paths;
mod startup_table;

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use linked_files::is_volatile_credential;
use protected_files::ProtectedFiles;
pub(super) use real_paths::open_nonblocking;
use real_paths::{
    device_and_inode, has_other_links, link_chain, remove_dots, resolve_existing_part,
};

use super::ToolError;
use crate::sync::real_path_of;

/// A path of `--allow-path` does not exist or cannot be resolved.
#[derive(Debug, thiserror::Error)]
#[error("--allow-path {}: {source}", path.display())]
#[non_exhaustive]
pub struct AllowedPathError {
    /// The path.
    pub path: PathBuf,
    /// The error of the system.
    pub source: io::Error,
}

/// Rules for reading and writing local files.
#[derive(Clone, Debug)]
pub struct LocalAccess {
    /// Allowed real paths; `None` allows everything.
    only: Option<Vec<PathBuf>>,
    /// The allowed paths, real and as spelled.
    named: Vec<PathBuf>,
    /// Further credential paths.
    secrets: Vec<PathBuf>,
    /// Directories of this program.
    own_directories: Vec<PathBuf>,
    /// Home directories, if they are not those of this machine's users.
    homes: Option<Vec<PathBuf>>,
    /// Credentials, found at first use.
    credentials: Arc<OnceLock<ProtectedFiles>>,
    /// Files that run by themselves, found at first use.
    startup: Arc<OnceLock<ProtectedFiles>>,
}

impl Default for LocalAccess {
    fn default() -> Self {
        Self::everything()
    }
}

impl LocalAccess {
    /// Allows everything but credentials.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            only: None,
            named: Vec::new(),
            secrets: Vec::new(),
            own_directories: Vec::new(),
            homes: None,
            credentials: Arc::default(),
            startup: Arc::default(),
        }
    }

    /// Allows these paths and everything below them; without paths, nothing.
    ///
    /// Credentials stay forbidden unless a path is a credential path or lies within one.
    ///
    /// # Errors
    /// If a path does not exist, since it could become anything later.
    pub fn only<P: AsRef<Path>>(
        paths: impl IntoIterator<Item = P>,
    ) -> Result<Self, AllowedPathError> {
        let (mut only, mut named) = (Vec::new(), Vec::new());
        for path in paths {
            let path = path.as_ref();
            let real = path.canonicalize().map_err(|source| AllowedPathError {
                path: path.to_owned(),
                source,
            })?;
            named.extend(std::path::absolute(path).map(|absolute| remove_dots(&absolute)));
            named.push(real.clone());
            only.push(real);
        }
        Ok(Self {
            only: Some(only),
            named,
            ..Self::everything()
        })
    }

    /// Forbids further credential paths.
    #[must_use]
    pub fn with_secrets(mut self, more: impl IntoIterator<Item = PathBuf>) -> Self {
        let more = more.into_iter();
        self.secrets
            .extend(more.map(|path| std::path::absolute(&path).unwrap_or(path)));
        self.credentials = Arc::default();
        self
    }

    /// Forbids directories of this program. They are not searched for links, since they may be
    /// large.
    #[must_use]
    pub fn with_own_directories(mut self, more: impl IntoIterator<Item = PathBuf>) -> Self {
        let more = more.into_iter();
        self.own_directories
            .extend(more.map(|path| std::path::absolute(&path).unwrap_or(path)));
        self.credentials = Arc::default();
        self
    }

    /// Sets the home directories, the user's own first.
    #[cfg(all(test, unix))]
    fn with_homes(mut self, homes: impl IntoIterator<Item = PathBuf>) -> Self {
        self.homes = Some(homes.into_iter().collect());
        self.credentials = Arc::default();
        self.startup = Arc::default();
        self
    }

    /// Reports whether no file may be accessed at all.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.only.as_ref().is_some_and(Vec::is_empty)
    }

    /// Checks a real path.
    pub(super) fn check_path(&self, path: &Path) -> Result<(), AccessRefusal> {
        let allowed = self.only.as_deref();
        let within = allowed.is_none_or(|allowed| allowed.iter().any(|dir| path.starts_with(dir)));
        if !within {
            return Err(AccessRefusal::Outside);
        }
        if self.is_secret(path) {
            return Err(AccessRefusal::Secret);
        }
        Ok(())
    }

    /// Checks an existing file, which may be a hard link to a forbidden one.
    pub(super) fn check_metadata(
        &self,
        path: &Path,
        metadata: &Metadata,
    ) -> Result<(), AccessRefusal> {
        self.check_path(path)?;
        let is_known = has_other_links(metadata)
            && device_and_inode(metadata)
                .is_some_and(|inode| self.credentials().linked.files.contains(&inode));
        // Paths below a credential path were judged by their path already.
        let is_judged = || {
            let is_named = self.named.iter().any(|named| named == path);
            is_named || !self.credentials().paths.containing(path).is_empty()
        };
        if is_known && !is_judged() {
            return Err(AccessRefusal::Secret);
        }
        Ok(())
    }

    /// Reports whether a path is a credential path that no allowed path names.
    fn is_secret(&self, path: &Path) -> bool {
        let mut protected = self.credentials().containing(path);
        if is_volatile_credential(path) {
            protected.push((path, "processes"));
        }
        self.unnamed(path, &protected).is_some()
    }

    /// Returns the program of the first protected path around `path` that no allowed path names.
    ///
    /// An allowed path names a protected path if it is this path, or lies in it. It also names the
    /// protected paths below itself, if it is protected.
    fn unnamed(&self, path: &Path, protected: &[(&Path, &'static str)]) -> Option<&'static str> {
        let is_protected = |named: &Path| protected.iter().any(|(known, _)| *known == named);
        let names = |known: &Path| {
            let mut named = self.named.iter().filter(|named| path.starts_with(named));
            named.any(|named| {
                named.starts_with(known) || (known.starts_with(named) && is_protected(named))
            })
        };
        let mut protected = protected.iter();
        protected
            .find(|(known, _)| !names(known))
            .map(|(_, program)| *program)
    }

    fn credentials(&self) -> &ProtectedFiles {
        self.credentials.get_or_init(|| {
            ProtectedFiles::of_credentials(&self.homes(), &self.secrets, &self.own_directories)
        })
    }

    fn startup(&self) -> &ProtectedFiles {
        self.startup
            .get_or_init(|| ProtectedFiles::of_startup(&self.homes()))
    }

    fn homes(&self) -> Vec<PathBuf> {
        self.homes.clone().unwrap_or_else(homes::homes)
    }

    fn check(&self, argument: &str, path: &Path) -> Result<(), ToolError> {
        match self.check_path(path) {
            Ok(()) => Ok(()),
            Err(refusal) => Err(self.refused(argument, path, refusal)),
        }
    }

    /// Refuses a path that is spelled as a credential path or leads through one, whatever its
    /// target.
    fn check_spelling(&self, argument: &str, path: &Path) -> Result<(), ToolError> {
        let mut spellings = link_chain(path);
        spellings.push(remove_dots(path));
        match spellings.iter().find(|spelling| self.is_secret(spelling)) {
            Some(spelling) => Err(self.refused(argument, spelling, AccessRefusal::Secret)),
            None => Ok(()),
        }
    }

    fn refused(&self, argument: &str, path: &Path, refusal: AccessRefusal) -> ToolError {
        let shown = path.display();
        match refusal {
            AccessRefusal::Secret => ToolError::refused(format!(
                "`{argument}`: {shown} holds credentials, which tools neither send nor overwrite"
            ))
            .with_hint(
                "If this is intended, the user can start the server with --allow-path and exactly this path.",
            ),
            AccessRefusal::Outside if self.is_nothing() => ToolError::refused(format!(
                "`{argument}`: this server may not access any files of its machine"
            ))
            .with_hint(
                "The user can start it with --allow-path DIR. Until then, send content with `upload(content=…)` and read \
                 files with `read_file`.",
            ),
            AccessRefusal::Outside => ToolError::refused(format!(
                "`{argument}`: {shown} is outside of the paths that this server may access"
            ))
            .with_hint(format!(
                "It may access {}. The user can allow more with --allow-path DIR.",
                self.only
                    .iter()
                    .flatten()
                    .map(|dir| dir.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
        }
    }

    /// Opens a file for reading, after checks before and after opening.
    pub(super) fn open(&self, argument: &str, path: &Path) -> Result<OpenedFile, ToolError> {
        // Checked first, so that errors reveal nothing about forbidden files, such as whether they
        // exist.
        let resolved = self.resolved(argument, path)?;
        let failed = |error| ToolError::local_file(path, error);
        let file = open_nonblocking(&resolved).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let real_path = real_path_of(&file, &resolved, &metadata).map_err(failed)?;
        self.check_file(argument, &real_path, &metadata)?;
        Ok(OpenedFile { file, metadata })
    }

    /// Refuses a file, given by its real path, that is forbidden under any of its names.
    pub(super) fn check_file(
        &self,
        argument: &str,
        real_path: &Path,
        metadata: &Metadata,
    ) -> Result<(), ToolError> {
        self.check_metadata(real_path, metadata)
            .map_err(|refusal| self.refused(argument, real_path, refusal))
    }

    /// Returns the real path of an existing path, if access is allowed.
    pub(super) fn resolved(&self, argument: &str, path: &Path) -> Result<PathBuf, ToolError> {
        let failed = |error| ToolError::local_file(path, error);
        match path.canonicalize() {
            Ok(real_path) => {
                self.check(argument, &real_path)?;
                self.check_spelling(argument, path)?;
                Ok(real_path)
            }
            Err(error) => {
                self.check(argument, &resolve_existing_part(remove_dots(path)))?;
                Err(failed(error))
            }
        }
    }
}

/// Reasons why access is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessRefusal {
    /// The path is outside of the allowed paths.
    Outside,
    /// The path is a credential path.
    Secret,
}

/// An opened file that may be read.
#[derive(Debug)]
pub(super) struct OpenedFile {
    pub(super) file: File,
    pub(super) metadata: Metadata,
}

#[cfg(all(test, unix))]
mod tests;
