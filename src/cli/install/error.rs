//! Errors of `install` and `skill`.

use std::io;
use std::path::{Path, PathBuf};

use contree_error_codes::ErrorCode;

/// An error in the text of a configuration.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum EditError {
    #[error("it is not valid JSON: {0}; correct it first")]
    Json(#[source] jsonc_parser::errors::ParseError),
    #[error("it is not valid TOML: {0}correct it first")]
    Toml(#[source] toml_edit::TomlError),
    #[error("its {0} is not an object; correct it first")]
    NotAnObject(String),
    #[error(
        "it has {0} twice, and programs do not agree on which counts; remove one of them first"
    )]
    Twice(String),
    #[error(
        "its entry {0} starts no program of this machine, so it is not replaced; remove or rename that entry first"
    )]
    OtherKind(String),
    #[error("the change would alter other entries, so nothing was written; add the entry by hand")]
    Unsafe,
}

/// An error of `install` or `skill`.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum InstallError {
    #[error("{}: {source}", path.display())]
    Edit { path: PathBuf, source: EditError },
    #[error("there is no home directory to find configurations in: set HOME")]
    NoHome,
    #[error("{0} has no configuration of its own for a project: leave out --project")]
    NoProject(&'static str),
    #[error("{0} reads no skills from a directory: use its own settings, or name another client")]
    NoSkills(&'static str),
    #[error("no client was found here: name one, such as `claude-code`")]
    NothingFound,
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} is not UTF-8 text, so it is left alone", .0.display())]
    NotText(PathBuf),
    #[error("{} is not an ordinary file, so it is left alone", .0.display())]
    NotAFile(PathBuf),
    #[error("{} is read-only: make it writable first, for instance with `chmod u+w`", .0.display())]
    ReadOnly(PathBuf),
    #[error(
        "{} has {links} names (hard links), which a safe write would separate: edit it by hand, or replace the links by symbolic ones",
        path.display()
    )]
    HardLinks { path: PathBuf, links: u64 },
    #[error(
        "{} is a symbolic link to something that does not exist: create its target, or remove the link",
        .0.display()
    )]
    DanglingLink(PathBuf),
    #[error(
        "{} leads out of the project to {}: edit that file itself, or remove the link",
        path.display(), target.display()
    )]
    OutsideProject { path: PathBuf, target: PathBuf },
    #[error("another program changed {} meanwhile, so nothing was written: run this again", .0.display())]
    Changed(PathBuf),
    #[error(
        "{} was edited, so it is left alone: remove it yourself if you do not need it", .0.display()
    )]
    EditedSkill(PathBuf),
    #[error("the path of this program is not UTF-8 text, which no configuration can hold")]
    ProgramPath,
    #[error("cannot find the path of this program: {0}")]
    Program(#[source] io::Error),
}

impl InstallError {
    /// The code of the error.
    pub(in crate::cli) fn code(&self) -> ErrorCode {
        match self {
            Self::Edit { .. }
            | Self::NotText(_)
            | Self::NotAFile(_)
            | Self::ReadOnly(_)
            | Self::HardLinks { .. }
            | Self::DanglingLink(_)
            | Self::OutsideProject { .. }
            | Self::EditedSkill(_) => ErrorCode::ConfigurationNotEdited,
            Self::Changed(_) => ErrorCode::FileChanged,
            Self::NoHome => ErrorCode::NoHomeDirectory,
            Self::NoProject(_) | Self::NoSkills(_) | Self::NothingFound => {
                ErrorCode::ClientNotFound
            }
            Self::File { source, .. } => {
                ErrorCode::of_io(source).unwrap_or(ErrorCode::LocalFileUnusable)
            }
            Self::ProgramPath | Self::Program(_) => ErrorCode::ProgramError,
        }
    }

    pub(super) fn file(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            what,
            path: path.to_owned(),
            source,
        }
    }
}
