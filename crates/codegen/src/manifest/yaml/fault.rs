//! What goes wrong while a type is read.

use std::cell::RefCell;
use std::fmt;

use serde::de;

use super::super::names::nearest;

thread_local! {
    /// What the running `read` has found so far, by line; serde offers no place to carry it.
    static FAULTS: RefCell<Vec<(u64, String)>> = const { RefCell::new(Vec::new()) };
}

/// Notes a mistake; the reading goes on.
pub(super) fn record(line: u64, text: String) {
    FAULTS.with_borrow_mut(|faults| faults.push((line, text)));
}

/// What was noted since the last call.
pub(super) fn take() -> Vec<(u64, String)> {
    FAULTS.take()
}

/// Stops the reading of one value. `None` once its text is recorded, which happens as soon as the line is known.
#[derive(Debug)]
pub(super) struct Fault(Option<String>);

impl Fault {
    /// Notes the text, unless that is done.
    pub(super) fn at(self, line: u64) -> Self {
        if let Some(text) = self.0 {
            record(line, text);
        }
        Self(None)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or_default())
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
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
            "{found} cannot stand here (write {expected})"
        )))
    }

    fn missing_field(field: &'static str) -> Self {
        Self(Some(format!("the key `{field}` is missing (add it)")))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let meant = nearest(variant, expected.iter().copied());
        let meant = meant
            .map(|name| format!(" (did you mean `{name}`?)"))
            .unwrap_or_default();
        Self(Some(format!(
            "`{variant}` is not one of {}{meant}",
            expected.join(", ")
        )))
    }
}
