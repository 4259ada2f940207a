//! Parses a text as a JSON-RPC message and explains why an invalid one is refused.

use rmcp::model::{ClientJsonRpcMessage, ErrorData, RequestId};
use serde::de::IgnoredAny;

use super::line_reader::request_id;

/// Maximum number of JSON values in a message. A value may take two bytes as text and far more in
/// memory.
const MAX_VALUES: usize = 200_000;

/// Reason in [`ParseOutcome::Ignored`] for an unknown notification.
pub(super) const UNKNOWN_NOTIFICATION: &str = "an unknown notification";

/// Result of parsing a text.
pub(super) enum ParseOutcome {
    Message(Box<ClientJsonRpcMessage>),
    /// Several messages on one line.
    Several(Vec<Vec<u8>>),
    /// A text that gets no answer, with the reason.
    Ignored(&'static str),
    /// The error to answer, and the id of the request if it is known.
    Refused(Option<RequestId>, ErrorData),
}

/// Builds the refusal of an invalid message.
pub(super) fn invalid(id: Option<RequestId>, why: impl Into<String>) -> ParseOutcome {
    ParseOutcome::Refused(id, ErrorData::invalid_request(why.into(), None))
}

/// Finds the id of the request in a text, even if the text is malformed.
pub(super) fn id_of(text: &[u8]) -> Option<RequestId> {
    request_id(text).and_then(|id| serde_json::from_value(id).ok())
}

/// Returns the error for a text with more than [`MAX_VALUES`] values.
pub(super) fn too_many_values(text: &[u8]) -> Option<ErrorData> {
    let why = || {
        let text = format!(
            "the message has more than {MAX_VALUES} JSON values; send large content as one string, or by path"
        );
        ErrorData::invalid_request(text, None)
    };
    (count_values(text) > MAX_VALUES).then(why)
}

/// Parses one message.
pub(super) fn parse(line: &[u8]) -> ParseOutcome {
    let line = line
        .strip_prefix(b"\xEF\xBB\xBF")
        .unwrap_or(line)
        .trim_ascii();
    if line.is_empty() {
        return ParseOutcome::Ignored("empty");
    }
    if let Some(why) = too_many_values(line) {
        return ParseOutcome::Refused(id_of(line), why);
    }
    let error = match serde_json::from_slice(line) {
        Ok(message) => return ParseOutcome::Message(Box::new(message)),
        Err(error) => error,
    };
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else {
        return unparsable(line, &error);
    };
    let id = value
        .get("id")
        .cloned()
        .and_then(|id| serde_json::from_value::<RequestId>(id).ok());
    let is_call = value
        .get("method")
        .is_some_and(serde_json::Value::is_string);
    match (id, is_call) {
        (None, true) if value.get("id").is_none() => ParseOutcome::Ignored(UNKNOWN_NOTIFICATION),
        (id, true) => invalid(id, format!("not a JSON-RPC 2.0 request: {error}")),
        (_, false) if value.is_array() => {
            invalid(None, "batches are not supported; send one message per line")
        }
        (_, false) => invalid(None, "not a JSON-RPC 2.0 request, notification or response"),
    }
}

/// Handles a line that is not one JSON value, or is nested too deeply.
fn unparsable(line: &[u8], error: &serde_json::Error) -> ParseOutcome {
    if let Some(messages) = split_objects(line) {
        return ParseOutcome::Several(messages);
    }
    let Some(id) = id_of(line) else {
        // Without an id there is nothing to answer to, and answering could start an echo between
        // two programs.
        return ParseOutcome::Ignored("not JSON");
    };
    // `IgnoredAny` accepts any depth, so the text is valid JSON and only nested too deeply.
    let is_too_deep = serde_json::from_slice::<IgnoredAny>(line).is_ok();
    let why = if is_too_deep {
        "the message is nested too deeply; send such content by path".to_owned()
    } else {
        format!("not JSON: {error}")
    };
    ParseOutcome::Refused(Some(id), ErrorData::parse_error(why, None))
}

/// Splits a line of two or more JSON objects. Returns `None` for any other line.
///
/// The objects are not parsed, so their depth does not matter.
fn split_objects(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut values = serde_json::Deserializer::from_slice(line).into_iter::<IgnoredAny>();
    let (mut messages, mut begin) = (Vec::new(), 0);
    while let Some(value) = values.next() {
        value.ok()?;
        let end = values.byte_offset();
        let message = line.get(begin..end)?.trim_ascii();
        if !message.starts_with(b"{") {
            return None;
        }
        messages.push(message.to_vec());
        begin = end;
    }
    (messages.len() > 1).then_some(messages)
}

/// Returns an upper bound for the number of JSON values in a text.
///
/// Every value but the first of a list or object follows a comma or colon.
fn count_values(text: &[u8]) -> usize {
    let (mut count, mut in_string, mut escaped) = (1, false, false);
    for byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b',' | b':' | b'[' | b'{' => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_within_strings_are_not_counted() {
        assert_eq!(count_values(b"1"), 1);
        assert_eq!(count_values(br#"{"a":[1,2],"b":"x,y:[{\",,"}"#), 7);
        let long = format!(r#"{{"text":"{}"}}"#, ",".repeat(1000));
        assert!(count_values(long.as_bytes()) < 4);
    }

    #[test]
    fn a_message_of_too_many_values_is_refused() {
        let many = format!(
            r#"{{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{{"name":"run","arguments":{{"a":[{}1]}}}}}}"#,
            "1,".repeat(MAX_VALUES)
        );
        let ParseOutcome::Refused(Some(id), why) = parse(many.as_bytes()) else {
            panic!("it was read");
        };
        assert_eq!(id, RequestId::Number(5));
        assert!(why.message.contains("values"), "{}", why.message);
    }
}
