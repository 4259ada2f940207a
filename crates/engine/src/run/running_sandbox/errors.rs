//! The answers to requests that a running sandbox refuses.

use axum::http::StatusCode;
use contree_error_codes::ErrorCode;

use crate::error::ApiError;
use crate::run::hints;

/// 409: the sandbox is closed.
pub(crate) fn main_process_ended() -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        ErrorCode::OperationOver,
        "the main process has ended, and the sandbox with it",
    )
}

/// 404: no such process runs.
pub(super) fn no_process(spid: u64) -> ApiError {
    ApiError::missing(
        ErrorCode::ProcessNotFound,
        format!("no process {spid} runs in this sandbox: it was never started, or has ended"),
    )
}

/// The answer to an error of the sandbox: 400, 404 or 409 if the request caused it.
pub(in crate::run) fn sandbox_error(error: contree_sandbox::Error) -> ApiError {
    use contree_sandbox::Error;
    match &error {
        Error::Exec {
            step, error: cause, ..
        } => ApiError::bad(match hints::of_start(*step, cause) {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        })
        .with_code(ErrorCode::CommandNotStarted),
        Error::Invalid(_) => ApiError::bad(error.to_string()),
        Error::NoProcess(_) => ApiError::missing(ErrorCode::ProcessNotFound, error.to_string()),
        Error::Gone => main_process_ended(),
        Error::NotStill(_) | Error::Abandoned => ApiError::new(
            StatusCode::CONFLICT,
            ErrorCode::SnapshotNotPossible,
            error.to_string(),
        ),
        Error::TimedOut(_) => ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            ErrorCode::SandboxSilent,
            error.to_string(),
        ),
        _ => error.into(),
    }
}
