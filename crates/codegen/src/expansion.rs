//! Writes referenced schemas in place of their references, and finds those that would never end.

use serde_json::Value;

use crate::references::{chain_text, parts};

/// The schemas with references that are being written in place of those references, the outermost
/// first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expansion(Vec<Value>);

impl Expansion {
    /// Enters a schema, whose parts are then written in its place.
    ///
    /// # Errors
    /// The chain of references, if the schema is within itself. It would be written without end.
    pub(crate) fn enter(&self, schema: &Value) -> Result<Self, String> {
        let mut schemas = self.0.clone();
        if parts(schema).is_empty() {
            return Ok(Self(schemas));
        }
        let first = schemas.iter().position(|outer| outer == schema);
        schemas.push(schema.clone());
        let Some(first) = first else {
            return Ok(Self(schemas));
        };
        let names = schemas[first..].iter().flat_map(parts);
        Err(chain_text(&names.collect::<Vec<_>>()))
    }
}
