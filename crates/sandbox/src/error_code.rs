//! The codes of the errors of this crate.

use contree_error_codes::ErrorCode;

use crate::error::Error;
use crate::host_root::HostError;
use crate::launch::error::LaunchError;
use crate::launch::unavailable::Unavailable;
use crate::os::error::OsError;
use crate::protocol::wire::WireError;
use crate::store::error::StoreError;
use crate::view::ViewError;

impl Error {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unavailable(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Launch(error) => error.code(),
            Self::Wire(error) => error.code(),
            Self::Host(error) => error.code(),
            Self::Setup { error, .. } => {
                ErrorCode::of_io(error).unwrap_or(ErrorCode::SandboxSetupFailed)
            }
            Self::Exec { .. } => ErrorCode::CommandNotStarted,
            Self::Invalid(_) => ErrorCode::InvalidArgument,
            Self::Placement { .. } => ErrorCode::PlacementFailed,
            Self::Archive(_) => ErrorCode::ArchiveInvalid,
            Self::Connect { .. } => ErrorCode::ConnectionFailed,
            Self::NoProcess(_) => ErrorCode::ProcessNotFound,
            Self::LayerTooLarge { .. }
            | Self::LayerTooManyFiles { .. }
            | Self::LayerNotMeasurable { .. } => ErrorCode::LayerTooLarge,
            Self::DiskNearlyFull { .. } => ErrorCode::DiskNearlyFull,
            Self::DiskFull { .. } => ErrorCode::DiskFull,
            Self::Gone => ErrorCode::SandboxGone,
            Self::NotStill(_) | Self::Abandoned => ErrorCode::SnapshotNotPossible,
            Self::TimedOut(_) => ErrorCode::SandboxSilent,
            Self::Os(error) => error.code(),
        }
    }
}

impl Unavailable {
    /// The code of the reason.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NamespacesForbidden { .. } => ErrorCode::UserNamespacesForbidden,
            Self::AppArmor => ErrorCode::ApparmorRestriction,
            Self::ProcMasked => ErrorCode::ProcMasked,
            Self::DataDirectory { .. } => ErrorCode::DataDirectoryUnsuitable,
            Self::MemfdNoexec => ErrorCode::MemfdNoexec,
            Self::NoProc => ErrorCode::ProcMissing,
            Self::Kernel { .. } => ErrorCode::KernelTooOld,
            Self::IdMap { .. } => ErrorCode::IdsNotMappable,
        }
    }
}

impl StoreError {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Foreign { .. } => ErrorCode::DataDirectoryForeign,
            Self::Damaged { .. } => ErrorCode::RecordsDamaged,
            Self::Raced { .. } | Self::Busy(_) => ErrorCode::Conflict,
            Self::Name(_) => ErrorCode::InvalidArgument,
            Self::LayerExists(_) => ErrorCode::EngineFailed,
            Self::Os(error) => error.code(),
        }
    }
}

impl LaunchError {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::SharedLibrary { .. } | Self::NotInit { .. } => ErrorCode::InitProgramUnusable,
            Self::Map(_) => ErrorCode::IdsNotMappable,
            Self::Os(error) => error.code(),
        }
    }
}

impl WireError {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Closed => ErrorCode::SandboxGone,
            Self::TimedOut => ErrorCode::SandboxSilent,
            Self::Truncated | Self::Files { .. } | Self::Malformed(_) => ErrorCode::EngineFailed,
            Self::Os(error) => ErrorCode::of_io(error).unwrap_or(ErrorCode::EngineFailed),
        }
    }
}

impl HostError {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotEmpty { .. } => ErrorCode::EngineFailed,
            Self::NoShell { .. } | Self::Changed { .. } => ErrorCode::HostProgramsUnusable,
            Self::Io { source, .. } => {
                ErrorCode::of_io(source).unwrap_or(ErrorCode::HostProgramsUnusable)
            }
        }
    }
}

impl ViewError {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::PathNotFound,
            Self::NotADirectory | Self::NotAFile | Self::TooManyLinks => ErrorCode::WrongFileKind,
            Self::TooMany => ErrorCode::TooManyEntries,
            Self::Io(error) => ErrorCode::of_io(error).unwrap_or(ErrorCode::EngineFailed),
            Self::Sandbox(error) => error.code(),
        }
    }
}

impl OsError {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        ErrorCode::of_io(self.io()).unwrap_or(ErrorCode::EngineFailed)
    }
}
