//! What a tool says when it fails: words that an agent can act upon.

use std::borrow::Cow;
use std::fmt;

use crate::Error;
use contree_registry::RegistryError;

/// How much of a message or a hint is shown, in bytes, and how much of that is its end.
const MOST_BYTES: usize = 4_000;
const TAIL: usize = 1_000;

/// A failed call: what failed, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolError {
    message: String,
    hint: Option<String>,
    /// The message has a bound of its own.
    whole: bool,
    /// The backend did not answer.
    unreachable: bool,
    /// What was asked for does not exist.
    missing: bool,
    /// The backend failed.
    failed: bool,
    /// A page, and a sentence about it, that the client is to show before it calls again.
    page: Option<(String, String)>,
}

impl ToolError {
    /// An error that says by itself what to do.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            whole: false,
            unreachable: false,
            missing: false,
            failed: false,
            page: None,
        }
    }

    /// Not an error: the client is to show the user a page, and then to call again.
    #[must_use]
    pub fn page(message: &str, url: &str) -> Self {
        Self {
            page: Some((message.to_owned(), url.to_owned())),
            ..Self::new(format!("{message} {url}"))
        }
    }

    /// The sentence and the address of the page that the client is to show, if it is.
    #[must_use]
    pub fn wanted_page(&self) -> Option<(&str, &str)> {
        let (message, url) = self.page.as_ref()?;
        Some((message, url))
    }

    /// An error for something that does not exist.
    pub(super) fn missing(message: impl Into<String>) -> Self {
        Self {
            missing: true,
            ..Self::new(message)
        }
    }

    /// The same with another name for a file.
    pub(super) fn renamed(self, from: &std::path::Path, to: &std::path::Path) -> Self {
        let (from, to) = (from.display().to_string(), to.display().to_string());
        Self {
            message: self.message.replace(&from, &to),
            ..self
        }
    }

    /// Whether the fault is with the backend or the way to it rather than with what was asked for.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.failed || self.unreachable
    }

    /// Whether what was asked for does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.missing
    }

    /// Adds what to do, as a sentence of its own.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Adds a line to what there is to do.
    pub(super) fn and_hint(self, more: impl fmt::Display) -> Self {
        let hint = match &self.hint {
            Some(hint) => format!("{hint}\n{more}"),
            None => more.to_string(),
        };
        self.with_hint(hint)
    }

    /// Says that the message is to be shown whole, for what bounds its length is the caller's wish.
    pub(super) fn whole(self) -> Self {
        Self {
            whole: true,
            ..self
        }
    }

    /// Whether the backend did not answer at all.
    pub(super) fn is_unreachable(&self) -> bool {
        self.unreachable
    }

    /// The message without "the backend answered" and its status, which mean nothing to a user whose backend is this process.
    pub(super) fn in_own_words(self) -> Self {
        let own = self.message.strip_prefix("the backend answered ");
        match own.and_then(|answer| answer.split_once(": ")) {
            Some((_status, message)) => Self {
                message: message.to_owned(),
                ..self
            },
            None => self,
        }
    }

    /// What failed.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.whole {
            f.write_str(&self.message)?;
        } else {
            f.write_str(&bounded(&self.message))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n{}", bounded(hint)),
            None => Ok(()),
        }
    }
}

/// A text without its middle if it is long: most errors repeat what was sent, however much that was.
fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= MOST_BYTES {
        return Cow::Borrowed(text);
    }
    let head = text.floor_char_boundary(MOST_BYTES - TAIL);
    let tail = text.floor_char_boundary(text.len() - TAIL);
    Cow::Owned(format!("{} … {}", &text[..head], &text[tail..]))
}

impl std::error::Error for ToolError {}

/// Whether a message says by itself what to do: so do those of a machine that cannot run sandboxes, in one sentence that
/// ends with the remedy after a semicolon.
pub(super) fn names_remedy(message: &str) -> bool {
    message.contains("; ")
}

impl From<Error> for ToolError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let hint = match error.status().map(|status| status.as_u16()) {
            _ if names_remedy(&message) => None,
            Some(401) => {
                Some("The backend did not accept the credentials: ask the user to check them.")
            }
            Some(403) => {
                Some("The credentials do not allow this; `whoami()` lists what they allow.")
            }
            Some(404) => Some(
                "Check the id or path: `list_images()` and `list_operations()` show what there is, `list_files()` looks \
                 into an image.",
            ),
            Some(429) => {
                Some("Too much at once: wait for running operations before starting more.")
            }
            Some(502..=504) => Some("The service is out of reach for the moment: try again later."),
            _ => None,
        };
        let mut failed = Self::new(message);
        failed.unreachable = matches!(error, Error::Connection(_) | Error::Timeout(_));
        failed.failed = error
            .status()
            .is_some_and(|status| status.is_server_error());
        failed.missing = error.status().is_some_and(|status| status == 404);
        match hint {
            Some(hint) => failed.with_hint(hint),
            None => failed,
        }
    }
}

impl From<RegistryError> for ToolError {
    fn from(error: RegistryError) -> Self {
        Self::new(error.to_string())
    }
}

impl<E> From<progenitor_client::Error<E>> for ToolError
where
    Error: From<progenitor_client::Error<E>>,
{
    fn from(error: progenitor_client::Error<E>) -> Self {
        Error::from(error).into()
    }
}
