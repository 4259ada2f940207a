//! The arguments of `call`: JSON objects, and `KEY=VALUE` pairs typed by the tool's schema.

use std::collections::BTreeSet;
use std::io::Read;

use contree_paths::expand_home;
use serde_json::{Map, Value};

/// An error in an argument.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArgumentError {
    #[error("`{shown}` is not a JSON object: {source}")]
    NotAnObject {
        shown: String,
        source: serde_json::Error,
    },
    #[error("`{0}` is neither KEY=VALUE nor a JSON object")]
    NeitherForm(String),
    #[error("`{0}` is given twice")]
    Twice(String),
    #[error("`{0}=@` names no file (for the text `@`, write `{0}=@@`)")]
    NoFile(String),
    #[error("{key}: cannot read {what}: {source}")]
    Read {
        key: String,
        what: String,
        source: std::io::Error,
    },
    #[error("{key}: {what} is not UTF-8 text")]
    NotText { key: String, what: String },
    #[error("`{key}` takes JSON of type {kind}, not `{shown}`")]
    Type {
        key: String,
        kind: String,
        shown: String,
    },
}

/// Reads the files and the standard input that `@FILE` and `@-` refer to. Tests replace it.
pub(super) trait ArgumentInput {
    fn file(&mut self, path: &str) -> std::io::Result<Vec<u8>>;
    fn stdin(&mut self) -> std::io::Result<Vec<u8>>;
}

/// The files and the standard input of this process.
#[derive(Default)]
pub(super) struct ProcessInput {
    stdin_used: bool,
}

impl ArgumentInput for ProcessInput {
    fn file(&mut self, path: &str) -> std::io::Result<Vec<u8>> {
        let path = expand_home(path, std::env::home_dir).map_err(std::io::Error::other)?;
        std::fs::read(path)
    }

    fn stdin(&mut self) -> std::io::Result<Vec<u8>> {
        if std::mem::replace(&mut self.stdin_used, true) {
            return Err(std::io::Error::other("standard input was read already"));
        }
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Parses arguments by `schema`, the tool's input schema.
///
/// # Errors
/// The first invalid argument.
pub(super) fn read(
    given: &[String],
    schema: &Value,
    input: &mut dyn ArgumentInput,
) -> Result<Map<String, Value>, ArgumentError> {
    let mut arguments = Map::new();
    let mut appended = BTreeSet::new();
    for argument in given {
        if argument.trim_start().starts_with('{') {
            let object: Map<String, Value> =
                serde_json::from_str(argument).map_err(|source| ArgumentError::NotAnObject {
                    shown: head(argument),
                    source,
                })?;
            for (key, value) in object {
                insert(&mut arguments, key, value)?;
            }
            continue;
        }
        let Some((key, text)) = argument.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            let has_secrets = schema["properties"]
                .as_object()
                .is_some_and(|all| all.values().any(|one| one["format"] == "password"));
            // The text may be a secret whose key the user forgot.
            let shown = if has_secrets { "…" } else { argument };
            return Err(ArgumentError::NeitherForm(short(shown)));
        };
        let parameter = &schema["properties"][key];
        let text = content(key, text, input)?;
        if parameter["type"] == "array" {
            let items = elements(key, &text, &parameter["items"])?;
            if appended.insert(key.to_owned()) {
                insert(&mut arguments, key.to_owned(), Value::Array(items))?;
            } else if let Some(Value::Array(before)) = arguments.get_mut(key) {
                before.extend(items);
            }
        } else {
            insert(&mut arguments, key.to_owned(), value(key, text, parameter)?)?;
        }
    }
    Ok(arguments)
}

fn insert(
    arguments: &mut Map<String, Value>,
    key: String,
    value: Value,
) -> Result<(), ArgumentError> {
    if arguments.contains_key(&key) {
        return Err(ArgumentError::Twice(key));
    }
    arguments.insert(key, value);
    Ok(())
}

/// The text itself, or the content that `@` refers to.
fn content(key: &str, text: &str, input: &mut dyn ArgumentInput) -> Result<String, ArgumentError> {
    let Some(name) = text.strip_prefix('@') else {
        return Ok(text.to_owned());
    };
    if name.starts_with('@') {
        return Ok(name.to_owned());
    }
    let (bytes, what) = match name {
        "" => return Err(ArgumentError::NoFile(key.to_owned())),
        "-" => (input.stdin(), "standard input".to_owned()),
        path => (input.file(path), path.to_owned()),
    };
    let key = key.to_owned();
    match bytes.map(String::from_utf8) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(_)) => Err(ArgumentError::NotText { key, what }),
        Err(source) => Err(ArgumentError::Read { key, what, source }),
    }
}

fn value(key: &str, text: String, parameter: &Value) -> Result<Value, ArgumentError> {
    match parameter["type"].as_str() {
        // An unknown name is passed on as text: the tool's own error suggests the closest name.
        None | Some("string") => Ok(Value::String(text)),
        Some(kind) => serde_json::from_str(text.trim()).map_err(|_| ArgumentError::Type {
            key: key.to_owned(),
            kind: kind.to_owned(),
            shown: short(&text),
        }),
    }
}

/// A JSON array, or one element.
fn elements(key: &str, text: &str, items: &Value) -> Result<Vec<Value>, ArgumentError> {
    if let Ok(Value::Array(values)) = serde_json::from_str(text.trim()) {
        return Ok(values);
    }
    Ok(vec![value(key, text.to_owned(), items)?])
}

/// The start of an object, without any value.
fn head(object: &str) -> String {
    match object.split_once(':') {
        Some((head, _)) => format!("{}:…", short(head)),
        None => short(object),
    }
}

fn short(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct TestInput;

    impl ArgumentInput for TestInput {
        fn file(&mut self, path: &str) -> std::io::Result<Vec<u8>> {
            match path {
                "numbers" => Ok(b"[1, 2]\n".into()),
                "text" => Ok(b"from a file\n".into()),
                "binary" => Ok(vec![0xff]),
                _ => Err(std::io::ErrorKind::NotFound.into()),
            }
        }

        fn stdin(&mut self) -> std::io::Result<Vec<u8>> {
            Ok(b"from stdin".into())
        }
    }

    fn schema() -> Value {
        json!({"properties": {
            "text": {"type": "string"},
            "count": {"type": "integer"},
            "flag": {"type": "boolean"},
            "map": {"type": "object"},
            "names": {"type": "array", "items": {"type": "string"}},
            "numbers": {"type": "array", "items": {"type": "integer"}},
        }})
    }

    fn parse_ok(given: &[&str]) -> Value {
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        Value::Object(read(&given, &schema(), &mut TestInput).unwrap())
    }

    fn parse_error(given: &[&str]) -> String {
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        read(&given, &schema(), &mut TestInput)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn values_follow_the_schema() {
        assert_eq!(
            parse_ok(&["text=12", "count=12", "flag=true", r#"map={"a":"b"}"#]),
            json!({"text": "12", "count": 12, "flag": true, "map": {"a": "b"}})
        );
        assert_eq!(
            parse_ok(&["text=", "unknown=1"]),
            json!({"text": "", "unknown": "1"})
        );
        assert_eq!(parse_ok(&["text=a=b"]), json!({"text": "a=b"}));
    }

    #[test]
    fn an_array_grows() {
        assert_eq!(
            parse_ok(&["names=a", "names=b", r#"names=["c","d"]"#]),
            json!({"names": ["a", "b", "c", "d"]})
        );
        assert_eq!(
            parse_ok(&["numbers=1", "numbers=[2,3]", "numbers=@numbers"]),
            json!({"numbers": [1, 2, 3, 1, 2]})
        );
    }

    #[test]
    fn at_signs_read_files_and_standard_input() {
        assert_eq!(parse_ok(&["text=@text"]), json!({"text": "from a file\n"}));
        assert_eq!(parse_ok(&["text=@-"]), json!({"text": "from stdin"}));
        assert_eq!(parse_ok(&["text=@@x"]), json!({"text": "@x"}));
        assert_eq!(parse_ok(&["text=@@"]), json!({"text": "@"}));
    }

    #[test]
    fn objects_mix_with_pairs() {
        assert_eq!(
            parse_ok(&[r#"{"text":"a","count":null}"#, "flag=false"]),
            json!({"text": "a", "count": null, "flag": false})
        );
    }

    #[test]
    fn invalid_arguments_are_reported() {
        assert_eq!(
            parse_error(&["text"]),
            "`text` is neither KEY=VALUE nor a JSON object"
        );
        assert_eq!(
            parse_error(&["=x"]),
            "`=x` is neither KEY=VALUE nor a JSON object"
        );
        assert_eq!(
            parse_error(&["count=soon"]),
            "`count` takes JSON of type integer, not `soon`"
        );
        assert_eq!(parse_error(&["text=a", "text=b"]), "`text` is given twice");
        assert_eq!(
            parse_error(&["names=a", r#"{"names":[]}"#]),
            "`names` is given twice"
        );
        assert_eq!(
            parse_error(&[r#"{"names":[]}"#, "names=a"]),
            "`names` is given twice"
        );
        assert!(parse_error(&["{no"]).starts_with("`{no` is not a JSON object"));
        let broken = parse_error(&[r#"{"token":"hunter2","username":}"#]);
        assert!(
            broken.starts_with(r#"`{"token":…` is not a JSON object"#),
            "{broken}"
        );
        assert!(!broken.contains("hunter2"), "{broken}");
        assert!(parse_error(&["text=@missing"]).starts_with("text: cannot read missing:"));
        assert_eq!(
            parse_error(&["text=@binary"]),
            "text: binary is not UTF-8 text"
        );
        assert!(parse_error(&["text=@"]).contains("text=@@"));
    }
}
