//! The error of a step.

use std::path::{Path, PathBuf};

use contree_error_codes::ErrorCode;

use crate::Error;
use crate::cli::verbs::error::VerbError;

/// A step cannot be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Verb(#[from] VerbError),
    /// The instruction or its files are wrong. The line of the instruction is named with it.
    #[error(transparent)]
    Mistake(#[from] Mistake),
}

/// A mistake in an instruction that only its files or its image show.
#[derive(Debug, thiserror::Error)]
pub(super) enum Mistake {
    #[error("`{0}` matches no file; check the path, which begins at the directory of the build")]
    NoFile(String),
    #[error("`{0}` is excluded by .dockerignore; add `!{0}` there, or copy another file")]
    Excluded(String),
    #[error("`{0}` leads out of the directory of the build; copy the file into it first")]
    Outside(String),
    #[error("`{0}` is neither a file nor a directory")]
    NotAFile(String),
    #[error("`{0}` is not in the image from which it is to be copied")]
    NotInImage(String),
    #[error("the name of {} is not UTF-8; rename the file", .0.display())]
    Name(PathBuf),
    #[error("the image has no user `{0}` in /etc/passwd; make it in a RUN, or give its number")]
    User(String),
    #[error("the image has no group `{0}` in /etc/group; make it in a RUN, or give its number")]
    Group(String),
    #[error("this service takes no symbolic links, such as `{0}`; make it in a RUN with ln -s")]
    Link(String),
    #[error("a service has no image without files; begin with FROM IMAGE instead of scratch")]
    Scratch,
    #[error("{0}")]
    Command(String),
}

impl Mistake {
    /// The code of the error.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::NoFile(_)
            | Self::Excluded(_)
            | Self::Outside(_)
            | Self::NotAFile(_)
            | Self::NotInImage(_)
            | Self::Name(_)
            | Self::User(_)
            | Self::Group(_) => ErrorCode::DockerfileInvalid,
            Self::Link(_) | Self::Scratch => ErrorCode::UnsupportedByService,
            Self::Command(_) => ErrorCode::CommandFailed,
        }
    }
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        Self::Verb(error.into())
    }
}

/// The error of a local file.
pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> StepError {
    let error = VerbError::file(path);
    move |source| StepError::Verb(error(source))
}
