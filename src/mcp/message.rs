//! Parses a text as a JSON-RPC message and explains why an invalid one is refused.

use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ErrorData, RequestId};
use serde::de::IgnoredAny;

use super::line_reader::request_id;
use super::method_error::invalid_initialize;

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
        Ok(message) => return accepted(message),
        Err(error) => error,
    };
    let value = match serde_json::from_slice::<serde_json::Value>(line) {
        Ok(value) => value,
        Err(error) => return unparsable(line, &error),
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

/// Accepts a message. rmcp takes an incomplete `initialize` for an unknown method.
fn accepted(message: ClientJsonRpcMessage) -> ParseOutcome {
    if let ClientJsonRpcMessage::Request(request) = &message
        && let ClientRequest::CustomRequest(custom) = &request.request
        && custom.method == "initialize"
        && let Some(error) = invalid_initialize(custom.params.as_ref())
    {
        return ParseOutcome::Refused(Some(request.id.clone()), error);
    }
    ParseOutcome::Message(Box::new(message))
}

/// Explains why an `initialize` request is refused; `None` if the message is valid or another one.
pub(super) fn refused_initialize(text: &[u8]) -> Option<ErrorData> {
    match serde_json::from_slice(text).map(accepted) {
        Ok(ParseOutcome::Refused(_, error)) => Some(error),
        _ => None,
    }
}

/// Handles a line that is not one JSON value, is nested too deeply, or has a text that is not
/// Unicode.
fn unparsable(line: &[u8], error: &serde_json::Error) -> ParseOutcome {
    if let Some(messages) = split_objects(line) {
        return ParseOutcome::Several(messages);
    }
    let Some(id) = id_of(line) else {
        // Without an id there is nothing to answer to, and answering could start an echo between
        // two programs.
        return ParseOutcome::Ignored("not JSON");
    };
    // `IgnoredAny` accepts any depth and any text, so the grammar is right if it accepts the line.
    let is_json = serde_json::from_slice::<IgnoredAny>(line).is_ok();
    let why = if let Err(not_utf8) = std::str::from_utf8(line) {
        format!(
            "the message is not UTF-8 at byte {}; send such content by path, or in base64",
            not_utf8.valid_up_to() + 1
        )
    } else if !is_json {
        format!("not JSON: {error}")
    } else if error.to_string().contains("recursion limit") {
        "the message is nested too deeply; send such content by path".to_owned()
    } else {
        format!(
            "a text in the message has half of a surrogate pair, so it is not Unicode: {error}; send such content by path, or in base64"
        )
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
    fn a_text_that_is_not_unicode_is_named() {
        let refused = |line: &[u8]| match parse(line) {
            ParseOutcome::Refused(Some(_), why) => why.message.into_owned(),
            _ => panic!("not refused"),
        };
        let call = r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"run","arguments":{"command":"TEXT"}}}"#;
        for half in [r"\ud83d", r"\ude00", r"\ud83d\u0041"] {
            let why = refused(call.replace("TEXT", half).as_bytes());
            assert!(why.contains("surrogate") && !why.contains("deep"), "{why}");
        }
        let (before, after) = call.split_once("TEXT").unwrap();
        let why = refused(&[before.as_bytes(), b"\xff", after.as_bytes()].concat());
        assert!(why.contains("not UTF-8 at byte"), "{why}");
        let whole = call.replace("TEXT", r"\ud83d\ude00");
        assert!(matches!(parse(whole.as_bytes()), ParseOutcome::Message(_)));
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
