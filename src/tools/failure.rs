//! What every error of a tool has: words that an agent can act upon.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// How much of a message or a hint is shown, in bytes, and how much of that is its end.
const MOST_BYTES: usize = 4_000;
const TAIL: usize = 1_000;

/// What failed, what to do about it, and the error that it began with.
#[derive(Clone, Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    /// The message has a bound of its own.
    whole: bool,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure that no other error is behind.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            whole: false,
            source: None,
        }
    }

    /// A failure that says what `source` says.
    pub(super) fn of(source: impl Error + Send + Sync + 'static) -> Self {
        Self::new(source.to_string()).because_of(source)
    }

    /// The same with the error that is behind it.
    pub(super) fn because_of(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..self
        }
    }

    /// Replaces what there is to do.
    pub(super) fn set_hint(&mut self, hint: String) {
        self.hint = Some(hint);
    }

    /// Adds a line to what there is to do.
    pub(super) fn add_hint(&mut self, more: &dyn fmt::Display) {
        self.hint = Some(match &self.hint {
            Some(hint) => format!("{hint}\n{more}"),
            None => more.to_string(),
        });
    }

    /// Says that the message is to be shown whole, for what bounds its length is the caller's wish.
    pub(super) fn show_whole(&mut self) {
        self.whole = true;
    }

    /// Replaces a text in the message.
    pub(super) fn replace(&mut self, from: &str, to: &str) {
        self.message = self.message.replace(from, to);
    }

    /// Removes "the backend answered" and its status.
    pub(super) fn remove_status(&mut self) {
        let own = self.message.strip_prefix("the backend answered ");
        if let Some((_status, message)) = own.and_then(|answer| answer.split_once(": ")) {
            self.message = message.to_owned();
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

impl fmt::Display for Failure {
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

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
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

/// Whether a message says by itself what to do: so do those of a machine that cannot run sandboxes, in one sentence that
/// ends with the remedy after a semicolon.
pub(super) fn names_remedy(message: &str) -> bool {
    message.contains("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_loses_its_middle_unless_it_is_to_be_whole() {
        let long = format!("begin {} end", "ä".repeat(5_000));
        let mut failure = Failure::new(long.clone());
        let shown = failure.to_string();
        assert!(shown.len() < 4_100, "{}", shown.len());
        assert!(shown.starts_with("begin ") && shown.ends_with(" end"));
        failure.show_whole();
        assert_eq!(failure.to_string(), long);
    }

    #[test]
    fn hints_are_lines_of_their_own() {
        let mut failure = Failure::new("it failed");
        failure.add_hint(&"try again");
        failure.add_hint(&"or do not");
        assert_eq!(failure.to_string(), "it failed\ntry again\nor do not");
    }

    #[test]
    fn the_status_of_the_backend_goes_and_its_words_stay() {
        let mut failure = Failure::new("the backend answered 404 Not Found: no image: x");
        failure.remove_status();
        assert_eq!(failure.message(), "no image: x");
        failure.remove_status();
        assert_eq!(failure.message(), "no image: x");
    }
}
