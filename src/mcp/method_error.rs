//! Explains refused requests: unknown methods, and parameters that do not match their schema.

use rmcp::model::{
    CallToolRequestParams, CancelTaskParams, CompleteRequestParams, ErrorCode, ErrorData,
    GetPromptRequestParams, GetTaskParams, InitializeRequestParams, PaginatedRequestParams,
    ReadResourceRequestParams, UpdateTaskParams,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::tools::{brief, nearest};

/// Methods with known parameters. rmcp reports malformed parameters as an unknown method; this list
/// tells the two cases apart. `initialize` and `logging/setLevel` are absent, since protocol
/// 2026-07-28 has neither.
const KNOWN_METHODS: &[&str] = &[
    "tools/call",
    "tools/list",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "completion/complete",
    "tasks/get",
    "tasks/update",
    "tasks/cancel",
    "ping",
    "server/discover",
];

/// Builds the error for a request that rmcp could not parse: the method is unknown, or the
/// parameters do not match their schema.
pub(super) fn refused_request(method: &str, params: Option<&Value>) -> ErrorData {
    if KNOWN_METHODS.contains(&method) {
        invalid_params(method, params)
    } else {
        unknown_method(method)
    }
}

/// Builds the error for a method that this server does not have.
pub(super) fn unknown_method(method: &str) -> ErrorData {
    let mut message = format!("this server has no method `{}`", brief(method));
    if let Some(meant) = nearest(method, KNOWN_METHODS.iter().copied()) {
        message.push_str(&format!("; did you mean `{meant}`?"));
    }
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, message, None)
}

/// Explains why an `initialize` request of an earlier protocol is refused. Returns `None` if it is
/// valid, or belongs to a protocol without `initialize`.
pub(super) fn invalid_initialize(params: Option<&Value>) -> Option<ErrorData> {
    let version = "io.modelcontextprotocol/protocolVersion";
    let is_modern = params.is_some_and(|params| params["_meta"].get(version).is_some());
    let is_valid = mismatch::<InitializeRequestParams>(params).is_none();
    (!is_modern && !is_valid).then(|| invalid_params("initialize", params))
}

fn invalid_params(method: &str, params: Option<&Value>) -> ErrorData {
    let mismatch = match method {
        "initialize" => mismatch::<InitializeRequestParams>(params),
        "tools/call" => mismatch::<CallToolRequestParams>(params),
        "prompts/get" => mismatch::<GetPromptRequestParams>(params),
        "resources/read" => mismatch::<ReadResourceRequestParams>(params),
        "completion/complete" => mismatch::<CompleteRequestParams>(params),
        "tasks/get" => mismatch::<GetTaskParams>(params),
        "tasks/update" => mismatch::<UpdateTaskParams>(params),
        "tasks/cancel" => mismatch::<CancelTaskParams>(params),
        "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" => {
            mismatch::<PaginatedRequestParams>(params)
        }
        _ => None,
    };
    let mut message = format!("the parameters of `{method}` do not match its schema");
    if let Some(mismatch) = mismatch {
        message.push_str(&format!(": {mismatch}"));
    }
    ErrorData::invalid_params(message, None)
}

/// Describes the first mismatch between parameters and their type, with the name of the field.
fn mismatch<T: DeserializeOwned>(params: Option<&Value>) -> Option<String> {
    let empty = Value::Object(Map::new());
    let params = params.unwrap_or(&empty);
    let error = serde_json::from_value::<T>(params.clone())
        .err()?
        .to_string();
    let Value::Object(fields) = params else {
        return Some(without_type_name(&error));
    };
    if is_missing_here::<T>(fields, &error) {
        return Some(error);
    }
    // Without the wrong field the error is gone, or it is a different one.
    let wrong = fields.keys().find(|name| {
        let mut others = fields.clone();
        others.remove(*name);
        serde_json::from_value::<T>(Value::Object(others))
            .err()
            .is_none_or(|other| other.to_string() != error)
    });
    let Some(name) = wrong else {
        return Some(without_type_name(&error));
    };
    let hint = match fields.get(name) {
        Some(Value::String(text)) if text.trim_start().starts_with('{') => {
            "; send the object itself, not its text"
        }
        _ => "",
    };
    let error = without_type_name(&error);
    Some(format!("`{}`: {error}{hint}", brief(name)))
}

/// Replaces the name of a Rust type, which clients do not know. A struct is an object in JSON,
/// although serde accepts some arrays for it.
fn without_type_name(error: &str) -> String {
    match error.split_once(", expected struct ") {
        Some((found, _)) if found.starts_with("invalid length") => {
            "invalid type: sequence, expected an object".to_owned()
        }
        Some((found, _)) => format!("{found}, expected an object"),
        None => error.to_owned(),
    }
}

/// Reports whether the error is about a field that is missing in the parameters themselves, and not
/// in one of their fields. Then any value of that field makes it another error.
fn is_missing_here<T: DeserializeOwned>(fields: &Map<String, Value>, error: &str) -> bool {
    let missing = error
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split_once('`'));
    missing.is_some_and(|(name, _)| {
        let mut more = fields.clone();
        more.insert(name.to_owned(), Value::Null);
        serde_json::from_value::<T>(Value::Object(more))
            .err()
            .is_none_or(|other| other.to_string() != error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(method: &str, params: Value) -> String {
        refused_request(method, Some(&params)).message.into_owned()
    }

    #[test]
    fn a_mismatch_names_its_field() {
        let text = message(
            "tools/call",
            json!({"name": "run", "arguments": "{\"command\": \"ls\"}"}),
        );
        assert!(
            text.contains("`arguments`: ") && text.contains("not its text"),
            "{text}"
        );
        let text = message("tools/call", json!({"name": 5}));
        assert!(text.contains("`name`: "), "{text}");
        let text = message("tools/call", json!({}));
        assert!(text.contains("missing field `name`"), "{text}");
        let text = message("resources/read", json!({"url": "x"}));
        assert!(text.contains("missing field `uri`"), "{text}");
    }

    #[test]
    fn an_unknown_method_has_a_sentence() {
        assert_eq!(
            message("tool/list", json!({})),
            "this server has no method `tool/list`; did you mean `tools/list`?"
        );
        assert_eq!(
            refused_request("x", None).message,
            "this server has no method `x`"
        );
    }

    #[test]
    fn an_incomplete_initialize_names_what_is_missing() {
        let complete = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}});
        assert!(invalid_initialize(Some(&complete)).is_none());
        for field in ["protocolVersion", "capabilities", "clientInfo"] {
            let mut params = complete.clone();
            params.as_object_mut().unwrap().remove(field);
            let error = invalid_initialize(Some(&params)).unwrap();
            let expected = format!("do not match its schema: missing field `{field}`");
            assert!(error.message.ends_with(&expected), "{}", error.message);
        }
        let mut params = complete.clone();
        params["clientInfo"]
            .as_object_mut()
            .unwrap()
            .remove("version");
        let error = invalid_initialize(Some(&params)).unwrap();
        let expected = "`clientInfo`: missing field `version`";
        assert!(error.message.ends_with(expected), "{}", error.message);
        for wrong in [json!(null), json!([]), json!("{}")] {
            let mut params = complete.clone();
            params["capabilities"] = wrong;
            let message = invalid_initialize(Some(&params)).unwrap().message;
            assert!(
                message.contains("`capabilities`: invalid type"),
                "{message}"
            );
            assert!(message.contains("expected an object"), "{message}");
            assert!(!message.contains("struct"), "{message}");
        }
        let error = invalid_initialize(None).unwrap();
        assert!(
            error.message.contains("protocolVersion"),
            "{}",
            error.message
        );
    }
}
