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
    /// The instruction or its files are wrong. The caller adds the line of the instruction.
    #[error(transparent)]
    Instruction(#[from] InstructionError),
}

/// An instruction that cannot be performed, because of its text, its files, its image or its
/// command.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstructionError {
    #[error("`{0}` matches no file; check the path, which begins at the directory of the build")]
    NoFile(String),
    #[error("`{0}` is excluded by .dockerignore; add `!{0}` there, or copy another file")]
    Excluded(String),
    #[error("`{0}` leads out of the directory of the build; copy the file into it first")]
    Outside(String),
    #[error("`{0}` is neither a file nor a directory; exclude it in .dockerignore")]
    NotAFile(String),
    #[error("`{0}` is not in the image of --from; check the path")]
    NotInImage(String),
    #[error("the name of {} is not UTF-8; rename the file", .0.display())]
    NotUtf8(PathBuf),
    #[error("the image has no user `{0}` in /etc/passwd; make it in a RUN, or give its number")]
    UnknownUser(String),
    #[error("the image has no group `{0}` in /etc/group; make it in a RUN, or give its number")]
    UnknownGroup(String),
    #[error("this service places no symbolic links, such as `{0}`; make it in a RUN with ln -s")]
    SymlinkRefused(String),
    #[error("a service has no image without files; begin with FROM IMAGE instead of scratch")]
    Scratch,
    /// Another mistake in the text of the instruction.
    #[error("{0}")]
    Invalid(String),
    /// The command of the step failed.
    #[error("{0}")]
    Command(String),
    #[error("its stage was not built; report this as a bug")]
    StageNotBuilt,
}

impl InstructionError {
    /// The code of the error.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::NoFile(_)
            | Self::Excluded(_)
            | Self::Outside(_)
            | Self::NotAFile(_)
            | Self::NotInImage(_)
            | Self::NotUtf8(_)
            | Self::UnknownUser(_)
            | Self::UnknownGroup(_)
            | Self::Invalid(_) => ErrorCode::DockerfileInvalid,
            Self::SymlinkRefused(_) | Self::Scratch => ErrorCode::UnsupportedByService,
            Self::Command(_) => ErrorCode::CommandFailed,
            Self::StageNotBuilt => ErrorCode::ProgramError,
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
