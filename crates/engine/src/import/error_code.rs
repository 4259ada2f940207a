//! The codes of the errors of imports.

use contree_error_codes::ErrorCode;
use contree_sandbox::tar::TarError;

use super::archive_size::SizeError;
use super::docker_archive::ArchiveError;
use super::error::{FetchError, ImportError, UnpackError};
use super::local_file::FileError;
use super::oci_layout::LayoutError;
use super::plan::PlanError;
use super::verify::VerifyError;

impl ImportError {
    /// The code of the error.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Scratch { source, .. } => {
                ErrorCode::of_io(source).unwrap_or(ErrorCode::DataDirectoryUnusable)
            }
            Self::Source { source, .. } => source.code(),
            Self::Engine(error) => error.code(),
            Self::TimedOut(_) => ErrorCode::TransferTimedOut,
        }
    }
}

impl FetchError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Registry(error) => error.code(),
            Self::Layout(error) => error.code(),
            Self::Archive(error) => error.code(),
            Self::File(error) => error.code(),
            Self::Plan(error) => error.code(),
            Self::TooLarge { .. } => ErrorCode::ImageTooLarge,
            Self::DiskNearlyFull { .. } => ErrorCode::DiskNearlyFull,
            Self::Engine(error) => error.code(),
            Self::Layer { source, .. } => source.code(),
            Self::Stopped => ErrorCode::Cancelled,
            Self::Task(_) => ErrorCode::EngineFailed,
        }
    }
}

impl UnpackError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Archive(error) => error.code(),
            Self::Sandbox(error) => error.code(),
            Self::Records(error) => error.code(),
            Self::WrongDigest { .. } => ErrorCode::ImageIncomplete,
            Self::Stopped => ErrorCode::Cancelled,
            Self::Task(_) => ErrorCode::EngineFailed,
        }
    }
}

impl LayoutError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoIndex { .. } => ErrorCode::ArchiveInvalid,
            Self::Blob(error) => error.code(),
            Self::WrongBlob(_) => ErrorCode::ImageIncomplete,
            Self::Manifest(error) => error.code(),
            Self::NoImage { .. } | Self::Ambiguous { .. } => ErrorCode::ImportNameUnknown,
            Self::Empty | Self::Nested => ErrorCode::ArchiveInvalid,
            Self::Plan(error) => error.code(),
        }
    }
}

impl ArchiveError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::File(error) => error.code(),
            Self::Tar(error) => of_tar(error),
            Self::Decompress { source, .. } => {
                ErrorCode::of_io(source).unwrap_or(ErrorCode::ArchiveInvalid)
            }
            Self::Size(error) => error.code(),
            Self::NoMember(_) => ErrorCode::ImageIncomplete,
            Self::Stopped => ErrorCode::Cancelled,
            Self::TooManyMembers
            | Self::NoList
            | Self::LargeMember(_)
            | Self::List(_)
            | Self::Empty
            | Self::TooManyLayers(_) => ErrorCode::ArchiveInvalid,
            Self::NoImage { .. } | Self::Ambiguous { .. } => ErrorCode::ImportNameUnknown,
            Self::Configuration(error) => error.code(),
            Self::Plan(error) => error.code(),
        }
    }
}

impl FileError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Read { source, .. } => {
                ErrorCode::of_io(source).unwrap_or(ErrorCode::LocalFileUnusable)
            }
            Self::Write { source, .. } => {
                ErrorCode::of_io(source).unwrap_or(ErrorCode::DataDirectoryUnusable)
            }
            Self::NotRegular(_) | Self::TooLarge(_) => ErrorCode::LocalFileUnusable,
        }
    }
}

impl PlanError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::LayerCount { .. } | Self::NoLayers => ErrorCode::ImageUnusable,
        }
    }
}

impl SizeError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge(_) | Self::DecompressionBomb { .. } => ErrorCode::ImageTooLarge,
        }
    }
}

impl VerifyError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotDownloaded => ErrorCode::EngineFailed,
            Self::File(error) => error.code(),
            Self::EndsEarly | Self::WrongDigest => ErrorCode::ImageIncomplete,
            Self::Unpack(error) => ErrorCode::of_io(error).unwrap_or(ErrorCode::ArchiveInvalid),
            Self::Size(error) => error.code(),
            Self::Write(error) => ErrorCode::of_io(error).unwrap_or(ErrorCode::EngineFailed),
            Self::HelperEnded => ErrorCode::EngineFailed,
        }
    }
}

/// The code of an archive that cannot be read.
fn of_tar(error: &TarError) -> ErrorCode {
    match error {
        TarError::Io(error) => ErrorCode::of_io(error).unwrap_or(ErrorCode::ArchiveInvalid),
        _ => ErrorCode::ArchiveInvalid,
    }
}
