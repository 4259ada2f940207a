//! Entries in configurations in JSON, with or without comments.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};
use serde_json::Value;

use super::error::EditError;

/// JSON with the two liberties that clients take: comments and trailing commas.
fn options() -> ParseOptions {
    ParseOptions {
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
        ..ParseOptions::default()
    }
}

fn parse(text: &str) -> Result<CstRootNode, EditError> {
    CstRootNode::parse(text, &options()).map_err(EditError::Json)
}

/// The object of a property. `None` if the object has no such property.
///
/// # Errors
/// If the property occurs twice, or is not an object.
fn child(object: &CstObject, name: &str) -> Result<Option<CstObject>, EditError> {
    let Some(property) = property(object, name)? else {
        return Ok(None);
    };
    let found = property.object_value();
    found
        .map(Some)
        .ok_or_else(|| EditError::NotAnObject(format!("`{name}`")))
}

fn property(
    object: &CstObject,
    name: &str,
) -> Result<Option<jsonc_parser::cst::CstObjectProp>, EditError> {
    let mut all = object
        .properties()
        .into_iter()
        .filter(|property| property.decoded_name().as_deref() == Some(name));
    let first = all.next();
    match all.next() {
        Some(_) => Err(EditError::Twice(format!("`{name}`"))),
        None => Ok(first),
    }
}

/// The root object. `None` if the text has no value at all.
fn root(document: &CstRootNode) -> Result<Option<CstObject>, EditError> {
    match (document.object_value(), document.value()) {
        (Some(object), _) => Ok(Some(object)),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(EditError::NotAnObject("content".to_owned())),
    }
}

/// The value of a text, and that of the entry below `path`.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) value: Value,
    pub(super) entry: Option<Value>,
}

/// Reads a text and its entry.
///
/// # Errors
/// If the text is not JSON, or if a property on the path is not an object or occurs twice.
pub(super) fn read(text: &str, path: &[&str], name: &str) -> Result<Content, EditError> {
    let document = parse(text)?;
    let mut object = root(&document)?;
    for key in path {
        object = match object {
            Some(object) => child(&object, key)?,
            None => None,
        };
    }
    let entry = match object {
        Some(object) => property(&object, name)?.and_then(|found| found.value()?.to_serde_value()),
        None => None,
    };
    let value = document.to_serde_value().unwrap_or(Value::Null);
    Ok(Content { value, entry })
}

/// Sets the entry below `path`. Keys of an existing entry that `wanted` does not have stay.
///
/// # Errors
/// See [`read`]. Also if the change would alter anything else.
pub(super) fn set(
    text: &str,
    path: &[&str],
    name: &str,
    wanted: &Value,
) -> Result<String, EditError> {
    let before = read(text, path, name)?;
    let changed = if text.trim().is_empty() {
        let mut value = serde_json::json!({ name: wanted });
        for key in path.iter().rev() {
            value = serde_json::json!({ *key: value });
        }
        format!("{value:#}\n")
    } else {
        let document = parse(text)?;
        let mut object = document.object_value_or_set();
        for key in path {
            object = object.object_value_or_set(key);
        }
        match (property(&object, name)?, wanted.as_object()) {
            (Some(found), Some(wanted)) => {
                let entry = found.object_value_or_set();
                for (key, value) in wanted {
                    match property(&entry, key)? {
                        Some(one)
                            if one.value().and_then(|old| old.to_serde_value()).as_ref()
                                == Some(value) => {}
                        Some(one) => one.set_value(input(value)),
                        None => {
                            entry.append(key, input(value));
                        }
                    }
                }
            }
            (Some(found), None) => found.set_value(input(wanted)),
            (None, _) => {
                object.append(name, input(wanted));
            }
        }
        document.to_string()
    };
    let after = read(&changed, path, name)?;
    let kept = without(before.value, path, name) == without(after.value, path, name);
    let entry = after.entry.unwrap_or(Value::Null);
    let is_set = match (entry.as_object(), wanted.as_object()) {
        (Some(entry), Some(wanted)) => wanted
            .iter()
            .all(|(key, value)| entry.get(key) == Some(value)),
        _ => entry == *wanted,
    };
    if kept && is_set {
        Ok(changed)
    } else {
        Err(EditError::Unsafe)
    }
}

/// Removes the entry below `path`. The object that held it stays.
///
/// # Errors
/// See [`set`].
pub(super) fn remove(text: &str, path: &[&str], name: &str) -> Result<String, EditError> {
    let before = read(text, path, name)?;
    let document = parse(text)?;
    let mut object = root(&document)?;
    for key in path {
        object = match object {
            Some(object) => child(&object, key)?,
            None => None,
        };
    }
    if let Some(object) = object
        && let Some(found) = property(&object, name)?
    {
        found.remove();
    }
    let changed = document.to_string();
    if is_without(&changed, path, name, before.value) {
        Ok(changed)
    } else {
        Err(EditError::Unsafe)
    }
}

/// Whether a text lacks the entry and has everything else of `value`.
pub(super) fn is_without(text: &str, path: &[&str], name: &str, value: Value) -> bool {
    read(text, path, name).is_ok_and(|after| {
        after.entry.is_none() && without(after.value, path, name) == without(value, path, name)
    })
}

/// The value without the entry, and without objects that it alone filled.
fn without(mut value: Value, path: &[&str], name: &str) -> Value {
    fn strip(value: &mut Value, path: &[&str], name: &str) {
        let Some(object) = value.as_object_mut() else {
            return;
        };
        match path.split_first() {
            None => {
                object.remove(name);
            }
            Some((key, rest)) => {
                if let Some(inner) = object.get_mut(*key) {
                    strip(inner, rest, name);
                    if inner.as_object().is_some_and(serde_json::Map::is_empty) {
                        object.remove(*key);
                    }
                }
            }
        }
    }
    strip(&mut value, path, name);
    match value {
        Value::Null => Value::Object(serde_json::Map::new()),
        other => other,
    }
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(entries) => CstInputValue::Object(
            entries
                .iter()
                .map(|(key, value)| (key.clone(), input(value)))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PATH: &[&str] = &["mcpServers"];

    fn set_ours(text: &str) -> Result<String, EditError> {
        set(
            text,
            PATH,
            "contree",
            &json!({"command": "/bin/x", "args": []}),
        )
    }

    #[test]
    fn comments_and_other_entries_stay() {
        let text = "// top\n{\n  \"theme\": \"dark\", // why\n  \"mcpServers\": {\n    /* one */\n    \"git\": {\"command\": \"uvx\"},\n  },\n}\n";
        let changed = set_ours(text).unwrap();
        for part in [
            "// top",
            "// why",
            "/* one */",
            "\"git\": {\"command\": \"uvx\"}",
        ] {
            assert!(changed.contains(part), "{changed}");
        }
        assert_eq!(set_ours(&changed).unwrap(), changed);
        let removed = remove(&changed, PATH, "contree").unwrap();
        assert!(
            removed.contains("// why") && !removed.contains("contree"),
            "{removed}"
        );
    }

    #[test]
    fn strict_json_stays_strict() {
        for text in ["", "{}", "{\"a\":1}", "{\n\t\"mcpServers\": {}\n}", " \n"] {
            let changed = set_ours(text).unwrap();
            let value: Value = serde_json::from_str(&changed).unwrap();
            assert_eq!(
                value["mcpServers"]["contree"]["command"], "/bin/x",
                "{changed}"
            );
        }
    }

    #[test]
    fn an_existing_entry_keeps_its_other_keys() {
        let text = r#"{"mcpServers":{"contree":{"command":"old","env":{"A":"b"}}}}"#;
        let changed = set_ours(text).unwrap();
        let value: Value = serde_json::from_str(&changed).unwrap();
        assert_eq!(
            value["mcpServers"]["contree"],
            json!({"command": "/bin/x", "env": {"A": "b"}, "args": []})
        );
    }

    #[test]
    fn what_cannot_be_edited_safely_is_an_error() {
        for (text, part) in [
            ("{\"a\": }", "line 1"),
            ("[]", "content is not an object"),
            ("null", "content is not an object"),
            ("{\"mcpServers\": []}", "`mcpServers` is not an object"),
            ("{\"mcpServers\": null}", "`mcpServers` is not an object"),
            ("{\"mcpServers\": {}, \"mcpServers\": {}}", "twice"),
            ("{'a': 1}", "line 1"),
            ("{\"a\": 1 \"b\": 2}", "line 1"),
        ] {
            let error = set_ours(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
