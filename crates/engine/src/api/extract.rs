//! Extractors that answer invalid requests with the API's error format instead of plain text.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use contree_error_codes::ErrorCode;
use serde::de::DeserializeOwned;

use crate::api::time;
use crate::error::ApiError;

/// The parameters of the path.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|error: PathRejection| ApiError::malformed(error.body_text()))
    }
}

/// The parameters of the query.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        axum::extract::Query::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|error: QueryRejection| ApiError::malformed(error.body_text()))
    }
}

/// A JSON body. Its content type is ignored.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = axum::body::Bytes::from_request(request, state)
            .await
            .map_err(|error| {
                ApiError::new(
                    error.status(),
                    ErrorCode::RequestTooLarge,
                    error.body_text(),
                )
            })?;
        axum::Json::from_bytes(&body)
            .map(|axum::Json(value)| Self(value))
            .map_err(|error: JsonRejection| ApiError::malformed(json_error(&error.body_text())))
    }
}

/// The name and version of the program that sent a request, as its header `User-Agent` says.
pub(super) struct ClientName(pub(super) Option<String>);

/// The longest recorded name of a client, in bytes.
const MAX_CLIENT_NAME: usize = 200;

impl<S: Send + Sync> FromRequestParts<S> for ClientName {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let value = parts.headers.get(axum::http::header::USER_AGENT);
        // A header value that is text has only printable ASCII.
        let name = value
            .and_then(|value| value.to_str().ok())
            .map(|name| name.chars().take(MAX_CLIENT_NAME).collect());
        Ok(Self(name))
    }
}

/// The message of a JSON error, without Rust's types and the position in the text.
fn json_error(text: &str) -> String {
    let text = text
        .strip_prefix("Failed to deserialize the JSON body into the target type: ")
        .unwrap_or(text);
    match text.rsplit_once(" at line ") {
        Some((message, _)) => message.to_owned(),
        None => text.to_owned(),
    }
}

/// Parses an optional time of a query.
pub(super) fn time(name: &str, text: Option<&str>) -> Result<Option<DateTime<Utc>>, ApiError> {
    text.map(|text| time::parse(text, Utc::now()))
        .transpose()
        .map_err(|error| ApiError::bad(format!("`{name}`: {error}")))
}

/// Checks `limit`: 1 to 1000.
pub(super) fn limit(limit: u32) -> Result<u32, ApiError> {
    match limit {
        limit @ 1..=1000 => Ok(limit),
        other => Err(ApiError::bad(format!(
            "`limit` must be from 1 to 1000, not {other}"
        ))),
    }
}

/// Checks `offset`: the database takes at most `i64::MAX`.
pub(super) fn offset(offset: u64) -> Result<u64, ApiError> {
    match offset {
        offset if i64::try_from(offset).is_ok() => Ok(offset),
        other => Err(ApiError::bad(format!("`offset` is too large: {other}"))),
    }
}
