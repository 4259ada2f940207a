//! Errors of reading a type, which are recorded so that reading can continue.

use std::cell::RefCell;
use std::fmt;

use serde::de;

use super::super::names::nearest;

thread_local! {
    /// The mistakes of the running `read`, with their lines. A static holds them, since serde
    /// passes no state along.
    static MISTAKES: RefCell<Vec<(u64, String)>> = const { RefCell::new(Vec::new()) };
}

/// Records a mistake, so that reading can continue.
pub(super) fn record(line: u64, text: String) {
    MISTAKES.with_borrow_mut(|mistakes| mistakes.push((line, text)));
}

/// Returns the mistakes recorded since the last call.
pub(super) fn take() -> Vec<(u64, String)> {
    MISTAKES.take()
}

/// The error of one value. It holds a text until the text is recorded with its line.
#[derive(Debug)]
pub(super) struct ReadError(Option<String>);

impl ReadError {
    /// Records the text with its line, unless it is already recorded.
    pub(super) fn record_at(self, line: u64) -> Self {
        if let Some(text) = self.0 {
            record(line, text);
        }
        Self(None)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or_default())
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(Some(text.to_string()))
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            de::Unexpected::Seq => "a list".to_owned(),
            de::Unexpected::Map => "a map".to_owned(),
            de::Unexpected::Unit => "nothing".to_owned(),
            other => other.to_string(),
        };
        Self(Some(format!(
            "{found} is not allowed here (write {expected})"
        )))
    }

    fn missing_field(field: &'static str) -> Self {
        Self(Some(format!("the key `{field}` is missing (add it)")))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let suggested = nearest(variant, expected.iter().copied());
        let hint = suggested
            .map(|name| format!(" (did you mean `{name}`?)"))
            .unwrap_or_default();
        Self(Some(format!(
            "`{variant}` is not one of {}{hint}",
            expected.join(", ")
        )))
    }
}
