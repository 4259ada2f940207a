//! Which files of this machine tools may touch.
//!
//! Paths are judged by where they lead, not by how they are spelled: a file is opened first and then asked where it is, so
//! that a link put in its place meanwhile gains nothing. Places of credentials are protected by both: many people keep them
//! elsewhere, and links to them where programs look.

mod credential_paths;
mod real_paths;

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use credential_paths::{CredentialFiles, is_environment, secrets};
use real_paths::{both, handle, is_named_again, links, normal, number, real};
pub(super) use real_paths::{open_quietly, place_of};

use super::ToolError;
use super::failure::Failure;
use super::paths::expand_home;

/// Why a path cannot be allowed: it is not there, or cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("--allow-path {}: {source}", path.display())]
#[non_exhaustive]
pub struct AllowedPathError {
    /// The path.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// What of this machine may be read and written.
#[derive(Clone, Debug)]
pub struct LocalAccess {
    /// The real paths; none: everything.
    only: Option<Vec<PathBuf>>,
    /// The same paths, real and as they were spelled.
    named: Vec<PathBuf>,
    /// What is left out unless it is named, by real paths and as they are spelled.
    secrets: Vec<PathBuf>,
    /// Those of them that are looked into.
    searched: Vec<PathBuf>,
    /// What is in those places, once it was needed.
    inside: Arc<OnceLock<CredentialFiles>>,
}

impl Default for LocalAccess {
    fn default() -> Self {
        Self::everything()
    }
}

impl LocalAccess {
    /// Everything but credentials.
    #[must_use]
    pub fn everything() -> Self {
        let secrets = secrets();
        Self {
            only: None,
            named: Vec::new(),
            searched: secrets.clone(),
            secrets,
            inside: Arc::default(),
        }
    }

    /// What is at or below these paths; with none of them, nothing. Credentials are left out unless a path is one of their
    /// places or leads into one.
    ///
    /// # Errors
    /// For a path that is not there, since it could become anything later.
    pub fn only<P: AsRef<Path>>(
        paths: impl IntoIterator<Item = P>,
    ) -> Result<Self, AllowedPathError> {
        let (mut only, mut named) = (Vec::new(), Vec::new());
        for path in paths {
            let path = path.as_ref();
            let text = path.to_string_lossy();
            let whole = expand_home(&text).unwrap_or_else(|| path.to_owned());
            let real = whole.canonicalize().map_err(|source| AllowedPathError {
                path: path.to_owned(),
                source,
            })?;
            named.extend(std::path::absolute(&whole).map(|whole| normal(&whole)));
            named.push(real.clone());
            only.push(real);
        }
        Ok(Self {
            only: Some(only),
            named,
            ..Self::everything()
        })
    }

    /// Adds places that hold credentials.
    #[must_use]
    pub fn with_secrets(mut self, more: impl IntoIterator<Item = PathBuf>) -> Self {
        for place in more {
            let place = std::path::absolute(&place).unwrap_or(place);
            self.searched.extend(both(place.clone()));
            self.secrets.extend(both(place));
        }
        self.inside = Arc::default();
        self
    }

    /// Adds directories that are ours, in which there may be very much.
    #[must_use]
    pub fn with_own(mut self, more: impl IntoIterator<Item = PathBuf>) -> Self {
        for place in more {
            let place = std::path::absolute(&place).unwrap_or(place);
            self.secrets.extend(both(place));
        }
        self
    }

    /// Whether nothing at all may be touched.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.only.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether a place may be touched, given by its real path; else why not.
    pub(super) fn judge(&self, path: &Path) -> Result<(), AccessRefusal> {
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

    /// The same for a file that is there, which may be a further name of one that may not be touched.
    pub(super) fn judge_file(&self, path: &Path, about: &Metadata) -> Result<(), AccessRefusal> {
        self.judge(path)?;
        let is_known = is_named_again(about)
            && number(about).is_some_and(|number| self.inside().files.contains(&number));
        // Below a place of credentials it was judged by its path.
        let is_judged = || {
            let mut places = self.named.iter().filter(|named| *named == path);
            places.next().is_some() || self.secrets.iter().any(|place| path.starts_with(place))
        };
        if is_known && !is_judged() {
            return Err(AccessRefusal::Secret);
        }
        Ok(())
    }

    /// Whether a place is one of credentials that is not named.
    fn is_secret(&self, path: &Path) -> bool {
        let mut secrets = self.secrets.iter().map(PathBuf::as_path);
        let secret = secrets
            .find(|secret| path.starts_with(secret))
            .or_else(|| is_environment(path).then_some(path))
            .or_else(|| self.inside().targets.get(path).map(PathBuf::as_path));
        let named = |secret: &Path| {
            let mut named = self.named.iter();
            named.any(|named| named.starts_with(secret) && path.starts_with(named))
        };
        secret.is_some_and(|secret| !named(secret))
    }

    fn inside(&self) -> &CredentialFiles {
        self.inside
            .get_or_init(|| CredentialFiles::of(&self.searched))
    }

    fn check(&self, argument: &str, path: &Path) -> Result<(), ToolError> {
        match self.judge(path) {
            Ok(()) => Ok(()),
            Err(refusal) => Err(self.refused(argument, path, refusal)),
        }
    }

    /// Refuses a path that is spelled as a place of credentials or leads over one, wherever it leads in the end.
    fn check_spelling(&self, argument: &str, path: &Path) -> Result<(), ToolError> {
        let mut places = links(path);
        places.push(normal(path));
        match places.iter().find(|place| self.is_secret(place)) {
            Some(place) => Err(self.refused(argument, place, AccessRefusal::Secret)),
            None => Ok(()),
        }
    }

    fn refused(&self, argument: &str, path: &Path, refusal: AccessRefusal) -> ToolError {
        let shown = path.display();
        match refusal {
            AccessRefusal::Secret => ToolError::refused(format!(
                "`{argument}`: {shown} is a place of credentials, which tools neither send nor overwrite"
            ))
            .with_hint(
                "If it is meant, the user can start the server with --allow-path and exactly this place.",
            ),
            AccessRefusal::Outside if self.is_nothing() => ToolError::refused(format!(
                "`{argument}`: this server may touch no files of its machine"
            ))
            .with_hint(
                "The user can start it with --allow-path DIR. Until then, give content by `upload(content=…)` and read it \
                 with `read_file`.",
            ),
            AccessRefusal::Outside => ToolError::refused(format!(
                "`{argument}`: {shown} is outside of what this server may touch"
            ))
            .with_hint(format!(
                "It may touch {}. The user can add more with --allow-path DIR.",
                self.only
                    .iter()
                    .flatten()
                    .map(|dir| dir.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
        }
    }

    /// Opens a file for reading, and tells where it really is.
    pub(super) fn open(&self, argument: &str, path: &Path) -> Result<OpenedFile, ToolError> {
        // Before anything is told about what may not be touched, such as whether it is there.
        let resolved = self.resolved(argument, path)?;
        let failed = |error| ToolError::local_file(path, error);
        let file = open_quietly(&resolved).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        let place = place_of(&file, &resolved, &about).map_err(failed)?;
        self.check_file(argument, &place, &about)?;
        Ok(OpenedFile { file, about })
    }

    /// Refuses a file, at the place where it really is, that may not be touched under any of its names.
    pub(super) fn check_file(
        &self,
        argument: &str,
        place: &Path,
        about: &Metadata,
    ) -> Result<(), ToolError> {
        self.judge_file(place, about)
            .map_err(|refusal| self.refused(argument, place, refusal))
    }

    /// Where an existing path leads, if it may be touched.
    pub(super) fn resolved(&self, argument: &str, path: &Path) -> Result<PathBuf, ToolError> {
        let failed = |error| ToolError::local_file(path, error);
        match path.canonicalize() {
            Ok(place) => {
                self.check(argument, &place)?;
                self.check_spelling(argument, path)?;
                Ok(place)
            }
            Err(error) => {
                self.check(argument, &real(normal(path)))?;
                Err(failed(error))
            }
        }
    }

    /// Where a file is to be written: the directory, opened and made if it is missing, and the name in it.
    pub(super) fn destination(
        &self,
        argument: &str,
        path: &Path,
    ) -> Result<WriteDestination, ToolError> {
        let failed = |path: &Path, error: io::Error| {
            let context = format_args!("`{argument}`: {}", path.display());
            ToolError::LocalFile(Failure::new(format!("{context}: {error}")).because_of(error))
        };
        // A link is followed: what it leads to is replaced.
        let whole = if path.is_symlink() {
            path.canonicalize().map_err(|_| {
                ToolError::unusable_file(format!(
                    "{} is a symbolic link that leads nowhere; give the path of a regular file, or a new one",
                    path.display()
                ))
            })?
        } else {
            normal(path)
        };
        let place = real(whole);
        self.check(argument, &place)?;
        self.check_spelling(argument, path)?;
        if let Ok(found) = std::fs::metadata(&place)
            && !found.is_file()
        {
            return Err(ToolError::unusable_file(format!(
                "{} is no regular file; give the path of one, or a new one",
                place.display()
            )));
        }
        let (Some(directory), Some(name)) = (place.parent(), place.file_name()) else {
            return Err(ToolError::invalid(format!("`{argument}` names no file")));
        };
        std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
        let opened = File::open(directory).map_err(|error| failed(directory, error))?;
        let about = opened
            .metadata()
            .map_err(|error| failed(directory, error))?;
        let really =
            place_of(&opened, directory, &about).map_err(|error| failed(directory, error))?;
        self.check(argument, &really.join(name))?;
        Ok(WriteDestination {
            path: handle(&opened, &really).join(name),
            shown: really.join(name),
            _directory: opened,
        })
    }
}

/// Why a place may not be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessRefusal {
    Outside,
    Secret,
}

/// A file that was opened and may be read.
#[derive(Debug)]
pub(super) struct OpenedFile {
    pub(super) file: File,
    pub(super) about: Metadata,
}

/// A file that is to be written.
#[derive(Debug)]
pub(super) struct WriteDestination {
    /// A path that leads through the opened directory, whatever becomes of its name.
    pub(super) path: PathBuf,
    /// The same for people.
    pub(super) shown: PathBuf,
    _directory: File,
}

#[cfg(all(test, unix))]
mod tests;
