//! Details of a tool's error: message, hint and cause.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use contree_error_codes::ErrorCode;

use super::invisible::visible;

/// Maximum number of bytes that are shown of a message or hint.
const MAX_BYTES: usize = 4_000;
/// How many of these bytes come from the end of a longer text.
const TAIL_BYTES: usize = 1_000;

/// Details of an error: the message, a hint that says what to do, and the cause.
#[derive(Clone, Debug)]
pub struct ErrorDetails {
    message: String,
    hint: Option<String>,
    /// The code, unless the kind of the error tells it.
    code: Option<ErrorCode>,
    /// Whether the message is exempt from shortening.
    whole: bool,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl ErrorDetails {
    /// Creates details without a cause.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            code: None,
            whole: false,
            source: None,
        }
    }

    /// Creates details with the message of `source`, which is the cause.
    pub(super) fn of(source: impl Error + Send + Sync + 'static) -> Self {
        Self::new(source.to_string()).because_of(source)
    }

    /// Sets the cause.
    pub(super) fn because_of(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..self
        }
    }

    /// Replaces the code.
    pub(super) fn set_code(&mut self, code: ErrorCode) {
        self.code = Some(code);
    }

    /// Returns the code, unless the kind of the error tells it.
    pub(super) fn code(&self) -> Option<ErrorCode> {
        self.code
    }

    /// Replaces the hint.
    pub(super) fn set_hint(&mut self, hint: String) {
        self.hint = Some(hint);
    }

    /// Adds a line to the hint.
    pub(super) fn add_hint(&mut self, more: &dyn fmt::Display) {
        self.hint = Some(match &self.hint {
            Some(hint) => format!("{hint}\n{more}"),
            None => more.to_string(),
        });
    }

    /// Exempts the message from shortening, because the caller has bounded its length.
    pub(super) fn show_whole(&mut self) {
        self.whole = true;
    }

    /// Replaces a text in the message.
    pub(super) fn replace(&mut self, from: &str, to: &str) {
        self.message = self.message.replace(from, to);
    }

    /// Removes "the backend answered" and the status from the message.
    pub(super) fn remove_status(&mut self) {
        let answer = self.message.strip_prefix("the backend answered ");
        if let Some((_status, message)) = answer.and_then(|answer| answer.split_once(": ")) {
            self.message = message.to_owned();
        }
    }

    /// Returns what failed.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns what to do.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for ErrorDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages repeat names and answers of others.
        if self.whole {
            f.write_str(&visible(&self.message))?;
        } else {
            f.write_str(&visible(&bounded(&self.message)))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n{}", visible(&bounded(hint))),
            None => Ok(()),
        }
    }
}

impl Error for ErrorDetails {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

/// Cuts the middle out of a long text. Most errors repeat the request, which may be long.
fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_BYTES {
        return Cow::Borrowed(text);
    }
    let head = character_start(text, MAX_BYTES - TAIL_BYTES);
    let tail = character_start(text, text.len() - TAIL_BYTES);
    Cow::Owned(format!("{} … {}", &text[..head], &text[tail..]))
}

/// The start of the character that contains the byte at `at`.
fn character_start(text: &str, at: usize) -> usize {
    let starts = (0..=at).rev().find(|at| text.is_char_boundary(*at));
    starts.unwrap_or_default()
}

/// Reports whether a message itself says what to do, after a semicolon.
///
/// Errors of a machine that cannot run sandboxes are such messages.
pub(super) fn names_remedy(message: &str) -> bool {
    message.contains("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_loses_its_middle_unless_exempt() {
        let long = format!("begin {} end", "ä".repeat(5_000));
        let mut details = ErrorDetails::new(long.clone());
        let shown = details.to_string();
        assert!(shown.len() < 4_100, "{}", shown.len());
        assert!(shown.starts_with("begin ") && shown.ends_with(" end"));
        details.show_whole();
        assert_eq!(details.to_string(), long);
    }

    #[test]
    fn hidden_characters_of_a_message_are_escaped() {
        let mut details = ErrorDetails::new("no file /a\u{1b}[2J\u{202e}b");
        details.add_hint(&"look at /a\u{200b}b");
        let expected = r"no file /a\u{1b}[2J\u{202e}b";
        assert_eq!(
            details.to_string(),
            format!("{expected}\n{}", r"look at /a\u{200b}b")
        );
    }

    #[test]
    fn each_hint_is_a_line() {
        let mut details = ErrorDetails::new("it failed");
        details.add_hint(&"try again");
        details.add_hint(&"or do not");
        assert_eq!(details.to_string(), "it failed\ntry again\nor do not");
    }

    #[test]
    fn the_status_is_removed_and_the_message_stays() {
        let mut details = ErrorDetails::new("the backend answered 404 Not Found: no image: x");
        details.remove_status();
        assert_eq!(details.message(), "no image: x");
        details.remove_status();
        assert_eq!(details.message(), "no image: x");
    }
}
