//! The settings of a server's generated types.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use super::error::ServerTypesError;

/// The settings of a server's generated types: the choices that the document leaves open.
#[derive(Debug, Default)]
pub struct Settings {
    types: Vec<(String, String)>,
    refinements: Vec<(String, Value)>,
    flag: Option<String>,
    integer: Option<String>,
    /// The keys of `types` that were used.
    used: RefCell<BTreeSet<String>>,
}

impl Settings {
    /// Creates the default settings: integers with a lower bound of at least 0 are `u64`, others
    /// `i64`, and times are texts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the Rust type of a property or of a whole schema.
    ///
    /// A property is `Schema.property`, `*.property` or `OperationQuery.parameter`. A schema is
    /// `Schema`; its type is then not generated.
    #[must_use]
    pub fn with_type(mut self, of: &str, rust: &str) -> Self {
        self.types.push((of.to_owned(), rust.to_owned()));
        self
    }

    /// Sets the Rust type of query parameters that are flags. Its `Default` is off.
    ///
    /// A flag has the values empty, 0 and 1, or is a boolean that may be empty.
    #[must_use]
    pub fn with_flag(mut self, rust: &str) -> Self {
        self.flag = Some(rust.to_owned());
        self
    }

    /// Sets the Rust type of integers without a lower bound of at least 0; the default is `i64`.
    #[must_use]
    pub fn with_integer(mut self, rust: &str) -> Self {
        self.integer = Some(rust.to_owned());
        self
    }

    /// Sets a keyword of a schema, or removes it with `null`.
    ///
    /// `pointer` is a JSON pointer below `#/components/schemas`. The changed schema must exist, and
    /// so must a removed keyword.
    #[must_use]
    pub fn with_refinement(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        self.refinements.push((pointer.to_owned(), value.into()));
        self
    }

    pub(super) fn refine(&self, document: &mut Value) -> Result<(), ServerTypesError> {
        for (pointer, value) in &self.refinements {
            let missing = || ServerTypesError::Refinement(pointer.clone());
            let (parent, keyword) = pointer.rsplit_once('/').ok_or_else(missing)?;
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

    /// The type that is set for a property.
    pub(super) fn type_of_property(&self, schema: &str, property: &str) -> Option<&str> {
        self.type_of_schema(&format!("{schema}.{property}"))
            .or_else(|| self.type_of_schema(&format!("*.{property}")))
    }

    /// The type that is set for a schema.
    pub(super) fn type_of_schema(&self, of: &str) -> Option<&str> {
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

    /// Reports types for properties or schemas that the document does not have.
    pub(super) fn check(&self) -> Result<(), ServerTypesError> {
        let used = self.used.borrow();
        match self.types.iter().find(|(key, _)| !used.contains(key)) {
            Some((key, _)) => Err(ServerTypesError::UnusedType(key.clone())),
            None => Ok(()),
        }
    }
}
