//! Faults that a stub service can have.

use http::Method;

/// A kind of request to a [`StubServer`](super::StubServer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Route {
    /// Every request.
    Any,
    /// The start of a run.
    Spawn,
    /// The events of an operation.
    Events,
    /// The status of an operation.
    Status,
    /// The cancellation of an operation.
    Cancel,
    /// Lists of images, and the look-up of one.
    Images,
    /// The change of an image's tag.
    Tag,
    /// The content of a file in an image.
    Download,
    /// The look-up of an uploaded file.
    FindFile,
    /// The upload of a file.
    Upload,
}

impl Route {
    /// The kind of a request; none for a path that the stub does not know.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix("/v1/")?.trim_end_matches('/').split('/');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
        Some(match (method.as_str(), parts) {
            ("POST", [Some("instances"), None, ..]) => Self::Spawn,
            ("GET", [Some("operations"), Some(_), Some("events"), None]) => Self::Events,
            ("GET", [Some("operations"), Some(_), None, _]) => Self::Status,
            ("DELETE", [Some("operations"), Some(_), None, _]) => Self::Cancel,
            ("GET", [Some("images"), None, ..]) => Self::Images,
            ("PATCH" | "DELETE", [Some("images"), Some(_), Some("tag"), None]) => Self::Tag,
            ("GET", [Some("inspect"), _, None, _]) => Self::Images,
            ("GET", [Some("inspect"), Some(_), Some("download"), None]) => Self::Download,
            ("GET" | "HEAD", [Some("files"), Some(_), None, _]) => Self::FindFile,
            ("POST", [Some("files"), None, ..]) => Self::Upload,
            _ => return None,
        })
    }

    /// Whether a request of the kind `other` is of this kind.
    pub(super) fn includes(self, other: Self) -> bool {
        self == Self::Any || self == other
    }
}

/// A fault of a [`StubServer`](super::StubServer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Answers with a status, without acting on the request.
    Refuse {
        /// The HTTP status.
        status: u16,
        /// The seconds in `Retry-After`, if there is one.
        retry_after: Option<u64>,
    },
    /// Answers with a redirect to the same address, without acting on the request.
    Redirect {
        /// The HTTP status.
        status: u16,
    },
    /// Closes the connection, without acting on the request.
    Disconnect,
    /// Acts on the request, and closes the connection instead of answering.
    LoseAnswer,
    /// Never answers, without acting on the request.
    Silence,
    /// Answers with a body that never ends.
    EndlessBody,
    /// Answers with a status of an error, and a body that never ends.
    EndlessError {
        /// The HTTP status.
        status: u16,
    },
    /// Sends an event that never ends.
    EndlessEvent,
    /// Sends an event of endlessly many lines.
    EndlessLines,
    /// Sends the first events, and then breaks the connection.
    BreakAfter(usize),
    /// Sends the events so far again and again, also those that the client has.
    RepeatEvents,
    /// Sends errors in place of events.
    EventErrors,
    /// Sends comments without an end, and no events.
    KeepAlive,
    /// Always reports that the operation is running.
    NeverEnds,
}
