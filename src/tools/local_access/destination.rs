//! Local files that a tool writes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::real_paths::{
    create_directories, link_chain, open_nonblocking, path_by_descriptor, permissions, remove_dots,
    resolve_existing_part, split_missing,
};
use super::{AccessRefusal, LocalAccess};
use crate::sync::real_path_of;
use crate::tools::ToolError;
use crate::tools::error_details::ErrorDetails;

/// A file to be written.
#[derive(Debug)]
pub(in super::super) struct WriteDestination {
    /// Path through the open directory, valid whatever happens to the directory's name.
    pub(in super::super) path: PathBuf,
    /// The same path for messages.
    pub(in super::super) shown: PathBuf,
    /// The permissions of the file that will be replaced, if there is one.
    pub(in super::super) replaced_mode: Option<u32>,
    _directory: File,
}

impl LocalAccess {
    /// Returns the program that would run or obey a file at this path by itself, unless an allowed
    /// path names it.
    fn program_that_runs(&self, path: &Path) -> Option<&'static str> {
        self.unnamed(path, &self.startup().containing(path))
    }

    /// Refuses to write a file that runs by itself, as spelled, through links or at its target.
    fn check_startup(&self, argument: &str, path: &Path, target: &Path) -> Result<(), ToolError> {
        let mut paths = link_chain(path);
        paths.push(remove_dots(path));
        paths.push(target.to_owned());
        let found = paths
            .iter()
            .find_map(|path| Some((path, self.program_that_runs(path)?)));
        let Some((path, program)) = found else {
            return Ok(());
        };
        Err(ToolError::refused(format!(
            "`{argument}`: {} takes effect by itself ({program}), so tools do not write it",
            path.display()
        ))
        .with_hint(
            "Choose another destination. If this one is intended, the user can start the server with --allow-path and \
             exactly this path.",
        ))
    }

    /// Why a file must not be written at a real path.
    pub(in super::super) fn write_refusal(&self, path: &Path) -> Option<String> {
        match self.check_path(path) {
            Err(AccessRefusal::Outside) => {
                return Some("it is outside of the paths that this server may access".to_owned());
            }
            Err(AccessRefusal::Secret) => {
                return Some("it holds credentials, which tools do not overwrite".to_owned());
            }
            Ok(()) => {}
        }
        let program = self.program_that_runs(path)?;
        Some(format!(
            "it takes effect by itself ({program}), so tools do not write it"
        ))
    }

    /// Returns the real path of a directory whose files are to be written.
    pub(in super::super) fn resolved_directory(
        &self,
        argument: &str,
        path: &Path,
    ) -> Result<PathBuf, ToolError> {
        let real = self.resolved(argument, path)?;
        self.check_startup(argument, path, &real)?;
        if real.is_dir() {
            return Ok(real);
        }
        Err(ToolError::unusable_file(format!(
            "`{argument}`: {} is not a directory; give the path of a directory",
            path.display()
        )))
    }

    /// Refuses a path for writing, before anything is learned about it.
    pub(in super::super) fn check_destination(
        &self,
        argument: &str,
        path: &Path,
    ) -> Result<(), ToolError> {
        let target = resolve_existing_part(remove_dots(path));
        self.check(argument, &target)?;
        self.check_spelling(argument, path)?;
        self.check_startup(argument, path, &target)
    }

    /// Returns the real path of a file or directory that another program will write. It need not
    /// exist yet.
    pub(in super::super) fn new_path(
        &self,
        argument: &str,
        path: &Path,
    ) -> Result<PathBuf, ToolError> {
        self.check_destination(argument, path)?;
        Ok(resolve_existing_part(remove_dots(path)))
    }

    /// Prepares a file for writing: opens its directory, which is created if missing.
    ///
    /// Nothing is created before the file's path is judged.
    pub(in super::super) fn destination(
        &self,
        argument: &str,
        path: &Path,
    ) -> Result<WriteDestination, ToolError> {
        let failed = |path: &Path, error: io::Error| {
            let context = format_args!("`{argument}`: {}", path.display());
            ToolError::LocalFile(ErrorDetails::new(format!("{context}: {error}")).because_of(error))
        };
        self.check_destination(argument, path)?;
        // A symbolic link is followed, and its target is replaced.
        let target = if path.is_symlink() {
            path.canonicalize().map_err(|_| {
                ToolError::unusable_file(format!(
                    "{} is a symbolic link to a missing file; give the path of a regular file, or a new path",
                    path.display()
                ))
            })?
        } else {
            resolve_existing_part(remove_dots(path))
        };
        self.check(argument, &target)?;
        self.check_startup(argument, path, &target)?;
        let found = std::fs::metadata(&target);
        if found.as_ref().is_ok_and(|found| !found.is_file()) {
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
        let (existing, missing) = split_missing(directory);
        let opened = open_nonblocking(&existing).map_err(|error| {
            if existing.is_symlink() && error.kind() == io::ErrorKind::NotFound {
                return ToolError::unusable_file(format!(
                    "`{argument}`: {} is a symbolic link to a missing directory; create its target, or choose another directory",
                    existing.display()
                ));
            }
            failed(&existing, error)
        })?;
        let metadata = opened
            .metadata()
            .map_err(|error| failed(&existing, error))?;
        if !metadata.is_dir() {
            return Err(ToolError::unusable_file(format!(
                "`{argument}`: {} is not a directory, so nothing can be saved below it; to replace it, give this path without a `/` at its end",
                existing.display()
            )));
        }
        let real_path = real_path_of(&opened, &existing, &metadata)
            .map_err(|error| failed(&existing, error))?;
        let real_directory: PathBuf = std::iter::once(real_path.as_os_str())
            .chain(missing.iter().map(|name| name.as_os_str()))
            .collect();
        // A link may have been exchanged since the first check. The opened directory stays.
        let real_target = real_directory.join(name);
        self.check(argument, &real_target)?;
        self.check_startup(argument, &real_target, &real_target)?;
        let opened = create_directories(opened, &real_path, &missing)
            .map_err(|error| failed(&real_directory, error))?;
        Ok(WriteDestination {
            path: path_by_descriptor(&opened, &real_directory).join(name),
            shown: real_target,
            replaced_mode: found.as_ref().ok().map(permissions),
            _directory: opened,
        })
    }
}
