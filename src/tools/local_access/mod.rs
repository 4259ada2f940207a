//! Rules for access of tools to local files.
//!
//! A path is judged by its target, not by its spelling: the file is opened first, then its real
//! path is checked. Exchanging a link meanwhile thus gives no access.
//!
//! Credential paths are protected by target and by spelling, since many users keep credentials
//! elsewhere and link to them.

mod credential_paths;
mod real_paths;

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use credential_paths::{CredentialFiles, is_environment, secrets};
use real_paths::{both, handle, has_other_links, links, normal, number, real};
pub(super) use real_paths::{open_nonblocking, real_path_of};

use super::ToolError;
use super::error_details::ErrorDetails;
use super::paths::expand_home;

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
    /// Credential paths, real and as spelled. They are forbidden unless an allowed path names them.
    secrets: Vec<PathBuf>,
    /// The credential paths that are searched for links.
    searched: Vec<PathBuf>,
    /// The files found by that search, filled at first use.
    credential_files: Arc<OnceLock<CredentialFiles>>,
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
        let secrets = secrets();
        Self {
            only: None,
            named: Vec::new(),
            searched: secrets.clone(),
            secrets,
            credential_files: Arc::default(),
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
            let text = path.to_string_lossy();
            let expanded = expand_home(&text).unwrap_or_else(|| path.to_owned());
            let real = expanded.canonicalize().map_err(|source| AllowedPathError {
                path: path.to_owned(),
                source,
            })?;
            named.extend(std::path::absolute(&expanded).map(|absolute| normal(&absolute)));
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
        for path in more {
            let path = std::path::absolute(&path).unwrap_or(path);
            self.searched.extend(both(path.clone()));
            self.secrets.extend(both(path));
        }
        self.credential_files = Arc::default();
        self
    }

    /// Forbids directories of this program. They are not searched for links, since they may be
    /// large.
    #[must_use]
    pub fn with_own_directories(mut self, more: impl IntoIterator<Item = PathBuf>) -> Self {
        for path in more {
            let path = std::path::absolute(&path).unwrap_or(path);
            self.secrets.extend(both(path));
        }
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
            && number(metadata)
                .is_some_and(|number| self.credential_files().files.contains(&number));
        // Paths below a credential path were judged by their path already.
        let is_judged = || {
            let mut equal = self.named.iter().filter(|named| *named == path);
            equal.next().is_some() || self.secrets.iter().any(|secret| path.starts_with(secret))
        };
        if is_known && !is_judged() {
            return Err(AccessRefusal::Secret);
        }
        Ok(())
    }

    /// Reports whether a path is a credential path that no allowed path names.
    fn is_secret(&self, path: &Path) -> bool {
        let mut secrets = self.secrets.iter().map(PathBuf::as_path);
        let secret = secrets
            .find(|secret| path.starts_with(secret))
            .or_else(|| is_environment(path).then_some(path))
            .or_else(|| {
                self.credential_files()
                    .targets
                    .get(path)
                    .map(PathBuf::as_path)
            });
        let named = |secret: &Path| {
            let mut named = self.named.iter();
            named.any(|named| named.starts_with(secret) && path.starts_with(named))
        };
        secret.is_some_and(|secret| !named(secret))
    }

    fn credential_files(&self) -> &CredentialFiles {
        self.credential_files
            .get_or_init(|| CredentialFiles::of(&self.searched))
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
        let mut spellings = links(path);
        spellings.push(normal(path));
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
                self.check(argument, &real(normal(path)))?;
                Err(failed(error))
            }
        }
    }

    /// Prepares a file for writing: opens its directory, which is created if missing.
    pub(super) fn destination(
        &self,
        argument: &str,
        path: &Path,
    ) -> Result<WriteDestination, ToolError> {
        let failed = |path: &Path, error: io::Error| {
            let context = format_args!("`{argument}`: {}", path.display());
            ToolError::LocalFile(ErrorDetails::new(format!("{context}: {error}")).because_of(error))
        };
        // A symbolic link is followed, and its target is replaced.
        let target = if path.is_symlink() {
            path.canonicalize().map_err(|_| {
                ToolError::unusable_file(format!(
                    "{} is a symbolic link to a missing file; give the path of a regular file, or a new path",
                    path.display()
                ))
            })?
        } else {
            normal(path)
        };
        let target = real(target);
        self.check(argument, &target)?;
        self.check_spelling(argument, path)?;
        if let Ok(found) = std::fs::metadata(&target)
            && !found.is_file()
        {
            return Err(ToolError::unusable_file(format!(
                "{} is not a regular file; give the path of a regular file, or a new path",
                target.display()
            )));
        }
        let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(ToolError::invalid(format!(
                "`{argument}` names no file; give the path of a file"
            )));
        };
        std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
        let opened = File::open(directory).map_err(|error| failed(directory, error))?;
        let metadata = opened
            .metadata()
            .map_err(|error| failed(directory, error))?;
        let real_directory = real_path_of(&opened, directory, &metadata)
            .map_err(|error| failed(directory, error))?;
        self.check(argument, &real_directory.join(name))?;
        Ok(WriteDestination {
            path: handle(&opened, &real_directory).join(name),
            shown: real_directory.join(name),
            _directory: opened,
        })
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

/// A file to be written.
#[derive(Debug)]
pub(super) struct WriteDestination {
    /// Path through the open directory, valid whatever happens to the directory's name.
    pub(super) path: PathBuf,
    /// The same path for messages.
    pub(super) shown: PathBuf,
    _directory: File,
}

#[cfg(all(test, unix))]
mod tests;
