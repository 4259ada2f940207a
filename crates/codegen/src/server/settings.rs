//! What a server decides where the document leaves it open.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

/// What a server decides where the document leaves it open.
#[derive(Debug, Default)]
pub struct Settings {
    types: Vec<(String, String)>,
    refinements: Vec<(String, Value)>,
    flag: Option<String>,
    integer: Option<String>,
    /// The entries of `types` that were asked for and found.
    used: RefCell<BTreeSet<String>>,
}

impl Settings {
    /// No decisions: integers with a lower bound of 0 or more are `u64`, others `i64`, and times are texts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The Rust type of a property (`Schema.property`, `*.property`, `OperationQuery.parameter`) or of a whole schema (`Schema`),
    /// which then is not generated.
    #[must_use]
    pub fn with_type(mut self, of: &str, rust: &str) -> Self {
        self.types.push((of.to_owned(), rust.to_owned()));
        self
    }

    /// The Rust type of query parameters that are flags: those whose values are nothing, 0 and 1, and booleans that may
    /// have no value. Its default is off.
    #[must_use]
    pub fn with_flag(mut self, rust: &str) -> Self {
        self.flag = Some(rust.to_owned());
        self
    }

    /// The Rust type of integers without a lower bound; `i64` if it is not set.
    #[must_use]
    pub fn with_integer(mut self, rust: &str) -> Self {
        self.integer = Some(rust.to_owned());
        self
    }

    /// Sets a keyword of a schema that the document does not have, or takes one away with `null`. `at` is a JSON pointer below
    /// `#/components/schemas`; what it changes has to be there.
    #[must_use]
    pub fn refined(mut self, at: &str, value: impl Into<Value>) -> Self {
        self.refinements.push((at.to_owned(), value.into()));
        self
    }

    pub(super) fn refine(&self, document: &mut Value) -> Result<(), String> {
        for (at, value) in &self.refinements {
            let missing = || format!("a refinement changes {at}, which the document does not have");
            let (parent, keyword) = at.rsplit_once('/').ok_or_else(missing)?;
            let parent = document
                .pointer_mut(&format!("/components/schemas{parent}"))
                .and_then(Value::as_object_mut)
                .ok_or_else(missing)?;
            if value.is_null() {
                parent.shift_remove(keyword).ok_or_else(missing)?;
            } else {
                parent.insert(keyword.to_owned(), value.clone());
            }
        }
        Ok(())
    }

    /// The type of a property, if it was set.
    pub(super) fn type_of(&self, schema: &str, property: &str) -> Option<&str> {
        self.named(&format!("{schema}.{property}"))
            .or_else(|| self.named(&format!("*.{property}")))
    }

    /// The type that stands for a schema, if it was set.
    pub(super) fn named(&self, of: &str) -> Option<&str> {
        let (key, rust) = self.types.iter().find(|(key, _)| key == of)?;
        self.used.borrow_mut().insert(key.clone());
        Some(rust)
    }

    pub(super) fn flag(&self) -> Option<&str> {
        self.flag.as_deref()
    }

    pub(super) fn integer(&self) -> &str {
        self.integer.as_deref().unwrap_or("i64")
    }

    /// Refuses types for what the document does not have.
    pub(super) fn check(&self) -> Result<(), String> {
        let used = self.used.borrow();
        match self.types.iter().find(|(key, _)| !used.contains(key)) {
            Some((key, _)) => Err(format!(
                "a type is set for {key}, which the document does not have"
            )),
            None => Ok(()),
        }
    }
}
