//! Merges the parts of `allOf`.

use serde_json::{Map, Value};

/// Merges `over` into `merged`: properties and required names are added, other keywords replaced.
pub(crate) fn overlay(merged: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (key.as_str(), merged.get_mut(&key), value) {
            ("properties", Some(Value::Object(fields)), Value::Object(more)) => fields.extend(more),
            ("required", Some(Value::Array(names)), Value::Array(more)) => names.extend(more),
            (_, _, value) => {
                merged.insert(key, value);
            }
        }
    }
}
