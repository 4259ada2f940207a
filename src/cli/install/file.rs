//! Reading one file of a user, and replacing it safely.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::error::InstallError;

/// A text file, which need not exist yet.
#[derive(Debug)]
pub(super) struct TextFile {
    /// The path that the user knows.
    pub(super) path: PathBuf,
    /// The path after symbolic links, where the file itself is.
    pub(super) target: PathBuf,
    pub(super) text: Option<String>,
    metadata: Option<fs::Metadata>,
}

impl TextFile {
    /// Reads the file. With a project, the file must be inside of it.
    ///
    /// # Errors
    /// If the path leads to anything but an ordinary text file, or cannot be read.
    pub(super) fn read(path: &Path, project: Option<&Path>) -> Result<Self, InstallError> {
        let target = resolve(path)?;
        if let Some(project) = project {
            let root = fs::canonicalize(project)
                .map_err(|source| InstallError::file("find", project, source))?;
            let nearest = target.ancestors().find(|ancestor| ancestor.exists());
            let real = nearest.and_then(|nearest| fs::canonicalize(nearest).ok());
            if !real.is_some_and(|real| real.starts_with(&root)) {
                return Err(InstallError::OutsideProject {
                    path: path.to_owned(),
                    target,
                });
            }
        }
        let (text, metadata) = match fs::metadata(&target) {
            Err(error) if error.kind() == ErrorKind::NotFound => (None, None),
            Err(error) => return Err(InstallError::file("read", path, error)),
            Ok(metadata) if !metadata.is_file() => {
                return Err(InstallError::NotAFile(path.to_owned()));
            }
            Ok(metadata) => (Some(read_text(path, &target)?), Some(metadata)),
        };
        Ok(Self {
            path: path.to_owned(),
            target,
            text,
            metadata,
        })
    }

    /// Replaces the file in one step. It keeps its mode and owner.
    ///
    /// # Errors
    /// If the file was changed since it was read, or cannot be written.
    pub(super) fn replace(&self, text: &str, shared: bool) -> Result<(), InstallError> {
        let directory = self.target.parent().unwrap_or(Path::new("/"));
        let failed = |source| InstallError::file("write", &self.path, source);
        let mut builder = tempfile::Builder::new();
        builder.prefix(".contree-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // The process's mask applies to a new file of a project.
            let mode = if shared { 0o666 } else { 0o600 };
            builder.permissions(fs::Permissions::from_mode(mode));
        }
        #[cfg(not(unix))]
        let _ = shared;
        let mut file = builder.tempfile_in(directory).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        if let Some(metadata) = &self.metadata {
            keep_owner(file.as_file(), metadata).map_err(failed)?;
            fs::set_permissions(file.path(), metadata.permissions()).map_err(failed)?;
        }
        file.as_file().sync_all().map_err(failed)?;
        self.check_unchanged()?;
        file.persist(&self.target)
            .map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Removes the file.
    ///
    /// # Errors
    /// If it was changed since it was read, or cannot be removed.
    pub(super) fn delete(&self) -> Result<(), InstallError> {
        self.check_unchanged()?;
        fs::remove_file(&self.target)
            .map_err(|source| InstallError::file("remove", &self.path, source))
    }

    /// Makes missing directories, and returns them, outermost first.
    ///
    /// # Errors
    /// If the file is read-only or has further names, or a directory cannot be made.
    pub(super) fn prepare(&self) -> Result<Vec<PathBuf>, InstallError> {
        if let Some(metadata) = &self.metadata {
            if metadata.permissions().readonly() {
                return Err(InstallError::ReadOnly(self.path.clone()));
            }
            #[cfg(unix)]
            {
                use std::os::unix::fs::MetadataExt as _;
                if metadata.nlink() > 1 {
                    return Err(InstallError::HardLinks {
                        path: self.path.clone(),
                        links: metadata.nlink(),
                    });
                }
            }
        }
        let directory = self.target.parent().unwrap_or(Path::new("/"));
        let mut made: Vec<PathBuf> = directory
            .ancestors()
            .take_while(|ancestor| !ancestor.exists())
            .map(Path::to_owned)
            .collect();
        made.reverse();
        fs::create_dir_all(directory)
            .map_err(|source| InstallError::file("make the directory", directory, source))?;
        Ok(made)
    }

    fn check_unchanged(&self) -> Result<(), InstallError> {
        let now = match fs::read(&self.target) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(InstallError::file("read", &self.path, error)),
        };
        if now.as_deref() == self.text.as_deref().map(str::as_bytes) {
            Ok(())
        } else {
            Err(InstallError::Changed(self.path.clone()))
        }
    }
}

/// The path after symbolic links.
fn resolve(path: &Path) -> Result<PathBuf, InstallError> {
    match fs::canonicalize(path) {
        Ok(target) => Ok(target),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return Err(InstallError::DanglingLink(path.to_owned()));
            }
            Ok(path.to_owned())
        }
        Err(error) => Err(InstallError::file("read", path, error)),
    }
}

fn read_text(path: &Path, target: &Path) -> Result<String, InstallError> {
    let bytes = fs::read(target).map_err(|source| InstallError::file("read", path, source))?;
    String::from_utf8(bytes).map_err(|_| InstallError::NotText(path.to_owned()))
}

/// Gives a new file the owner of the one that it replaces.
#[cfg(unix)]
fn keep_owner(file: &File, metadata: &fs::Metadata) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let new = file.metadata()?;
    if (new.uid(), new.gid()) == (metadata.uid(), metadata.gid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(metadata.uid()), Some(metadata.gid()))
}

#[cfg(not(unix))]
fn keep_owner(_file: &File, _metadata: &fs::Metadata) -> std::io::Result<()> {
    Ok(())
}
