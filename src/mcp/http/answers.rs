//! Answers of the web page's API: JSON, and errors with their reason.

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::activity::ActivityMonitor;
use crate::tools::ToolError;

/// The answer of a route. The error is the answer to a refused request.
pub(super) type RouteAnswer = Result<Response, Response>;

/// Builds the answer to a refused request.
pub(super) fn refused(status: StatusCode, why: impl Into<String>) -> Response {
    (status, Json(json!({"error": why.into()}))).into_response()
}

/// Builds the answer to a request that the backend answered.
pub(super) fn answer<T: Serialize>(
    activity: &ActivityMonitor,
    found: Result<T, ToolError>,
) -> Response {
    match found {
        Ok(found) => ([(header::CACHE_CONTROL, "no-store")], Json(found)).into_response(),
        Err(error) => {
            let status = if error.is_backend_fault() {
                StatusCode::BAD_GATEWAY
            } else if error.is_missing() {
                StatusCode::NOT_FOUND
            } else {
                StatusCode::BAD_REQUEST
            };
            refused(status, activity.explain(error))
        }
    }
}

/// Returns the parsed query.
///
/// # Errors
/// The answer to an invalid query.
#[expect(clippy::result_large_err, reason = "the error is the answer")]
pub(super) fn checked<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Response> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(problem) => Err(refused(StatusCode::BAD_REQUEST, problem.body_text())),
    }
}

/// Parses the UUID in a path. `kind` is what it identifies.
///
/// # Errors
/// The answer to a path without a UUID.
#[expect(clippy::result_large_err, reason = "the error is the answer")]
pub(super) fn identifier(text: &str, kind: &str) -> Result<Uuid, Response> {
    text.parse().map_err(|_| {
        refused(
            StatusCode::BAD_REQUEST,
            format!("the path needs the UUID of an {kind}"),
        )
    })
}
