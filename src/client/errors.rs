//! Conversion of errors of the generated client and the HTTP library into [`Error`].

use std::time::Duration;

use contree_error_codes::ErrorCode;
use http::{HeaderMap, StatusCode};
use progenitor_client::{Error as Generated, ResponseValue};

use super::answers::AnswerError;
use super::bodies::{UNCONFIRMED, excerpt, is_page, reason};
use super::redirects::why_not_followed;
use super::retry::retry_after;
use crate::{Error, error::Reason, types};

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

pub(super) fn api(
    status: StatusCode,
    message: impl Into<String>,
    retry_after: Option<Duration>,
) -> Error {
    Error::Api {
        status,
        code: code_of_status(status),
        message: message.into(),
        retry_after,
        unconfirmed: false,
    }
}

/// The code that fits a status, for answers of servers that give none.
fn code_of_status(status: StatusCode) -> ErrorCode {
    match status.as_u16() {
        300..=399 => ErrorCode::NotContreeApi,
        401 | 407 => ErrorCode::TokenRejected,
        403 | 451 => ErrorCode::NotPermitted,
        404 => ErrorCode::NotFound,
        405 | 501 => ErrorCode::UnsupportedByService,
        409 | 410 => ErrorCode::Conflict,
        413 => ErrorCode::RequestTooLarge,
        422 => ErrorCode::WrongFileKind,
        425 => ErrorCode::OperationNotStarted,
        429 => ErrorCode::TooBusy,
        400..=499 => ErrorCode::InvalidArgument,
        502..=504 => ErrorCode::ServiceUnavailable,
        507 => ErrorCode::LayerTooLarge,
        _ => ErrorCode::ServiceFailed,
    }
}

/// The error of a server that answers with web pages.
pub(super) fn not_contree(body: &[u8]) -> Error {
    let text = excerpt(&String::from_utf8_lossy(body));
    Error::NotContree(match text.as_str() {
        "" => "the answer is a web page".to_owned(),
        text => format!("the answer is a web page (`{text}`)"),
    })
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        match AnswerError::find(&error) {
            Some(
                found @ (AnswerError::TimedOut(_)
                | AnswerError::TooSlow(_)
                | AnswerError::Silent(_)),
            ) => {
                return Self::Timeout(Reason::new(found.to_string(), error));
            }
            Some(AnswerError::NoRuntime) => return Self::NoRuntime,
            Some(found @ AnswerError::TooLong(_)) => {
                return Self::Protocol(Reason::new(found.to_string(), error));
            }
            Some(AnswerError::Unconfirmed(lost)) => {
                let text = AnswerError::find(lost).map_or_else(|| chain(lost), ToString::to_string);
                return Self::Unconfirmed(Reason::new(text, error));
            }
            None => {}
        }
        let text = chain(&error);
        if error.is_timeout() {
            Self::Timeout(Reason::new(text, error))
        } else if error.is_builder() {
            Self::InvalidArgument(format!(
                "the request cannot be built, since a name or path in it is too long: {text}; shorten it"
            ))
        } else {
            Self::Connection(Reason::new(text, error))
        }
    }
}

/// The body of an error response; `()` if the API defines none for the request.
trait ErrorBody {
    fn message(&self, status: StatusCode) -> String;
    /// The code that the server gave, if it is a known one.
    fn code(&self) -> Option<ErrorCode>;
}

impl ErrorBody for types::Error {
    fn message(&self, _: StatusCode) -> String {
        types::Error::message(self)
    }

    fn code(&self) -> Option<ErrorCode> {
        self.x_code.as_deref()?.parse().ok()
    }
}

impl ErrorBody for () {
    fn message(&self, status: StatusCode) -> String {
        reason(status).to_owned()
    }

    fn code(&self) -> Option<ErrorCode> {
        None
    }
}

fn api_error<E: ErrorBody>(answer: &ResponseValue<E>) -> Error {
    let status = answer.status();
    Error::Api {
        status,
        code: answer.code().unwrap_or_else(|| code_of_status(status)),
        message: answer.message(status),
        retry_after: retry_after(answer.headers()),
        unconfirmed: answer.headers().contains_key(UNCONFIRMED),
    }
}

fn unexpected_status(status: StatusCode, url: &url::Url, headers: &HeaderMap) -> Error {
    let is_unconfirmed = headers.contains_key(UNCONFIRMED);
    if status.is_redirection() {
        return Error::Api {
            status,
            code: code_of_status(status),
            message: why_not_followed(url, headers),
            retry_after: None,
            unconfirmed: is_unconfirmed,
        };
    }
    if status.is_success() {
        let text = format!("the API has no answer `{status}` to this request");
        return if is_unconfirmed {
            Error::Unconfirmed(text.into())
        } else {
            Error::NotContree(text)
        };
    }
    api(status, reason(status), retry_after(headers))
}

fn from_generated<E: ErrorBody>(error: Generated<E>) -> Error {
    match error {
        Generated::ErrorResponse(answer) => api_error(&answer),
        Generated::CommunicationError(error)
        | Generated::ResponseBodyError(error)
        | Generated::InvalidUpgrade(error) => error.into(),
        Generated::UnexpectedResponse(answer) => {
            unexpected_status(answer.status(), answer.url(), answer.headers())
        }
        Generated::InvalidResponsePayload(body, _) if is_page(&body) => not_contree(&body),
        Generated::InvalidResponsePayload(body, error) if body.trim_ascii().is_empty() => {
            Error::Protocol(Reason::new("the body is empty", error))
        }
        Generated::InvalidResponsePayload(body, error) => {
            let excerpt = excerpt(&String::from_utf8_lossy(&body));
            Error::Protocol(Reason::new(format!("{error}, in `{excerpt}`"), error))
        }
        Generated::InvalidRequest(text) | Generated::Custom(text) => Error::InvalidArgument(text),
    }
}

impl From<Generated<types::Error>> for Error {
    fn from(error: Generated<types::Error>) -> Self {
        from_generated(error)
    }
}

impl From<Generated<()>> for Error {
    fn from(error: Generated<()>) -> Self {
        from_generated(error)
    }
}
