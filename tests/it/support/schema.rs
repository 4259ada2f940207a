//! A minimal JSON Schema validator, to check results against published schemas.

use serde_json::Value;

/// Returns every violation of `schema` in `value`.
pub fn problems(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(kind) = schema["type"].as_str()
        && !is(kind, value)
    {
        return vec![format!("{path}: {value} is not of type {kind}")];
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.get(name.as_str().unwrap()).is_none() {
            found.push(format!("{path}: lacks {name}"));
        }
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) => found.push(format!("{path}: not in the schema")),
            (Value::Null, other @ Value::Object(_)) => found.extend(problems(other, field, &path)),
            (Value::Null, allowed) if *allowed == true => {}
            (Value::Null, _) => found.push(format!("{path}: not allowed")),
            (known, _) => found.extend(problems(known, field, &path)),
        }
        let empty = match field {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        };
        let required = schema["required"]
            .as_array()
            .is_some_and(|names| names.iter().any(|known| known == name));
        // The entries of a map are data, not fields, so they may be empty.
        let known = schema["properties"].get(name).is_some();
        if empty && known && !required {
            found.push(format!("{path}: {field} should be left out"));
        }
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(problems(&schema["items"], item, &format!("{path}[{at}]")));
    }
    found
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("the schema has a type `{other}`"),
    }
}
