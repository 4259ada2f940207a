//! A text as a message of JSON-RPC, and what to say of one that is none.

use rmcp::model::{ClientJsonRpcMessage, ErrorData, RequestId};
use serde::de::IgnoredAny;

use super::lines::request_id;

/// The most values that a message may hold: each costs far more memory than the two bytes it may have as text.
const MOST_VALUES: usize = 200_000;

/// What [`Parsed::Ignored`] says of a notification that is not known.
pub(super) const UNKNOWN_NOTIFICATION: &str = "an unknown notification";

/// What a text is.
pub(super) enum Parsed {
    Message(Box<ClientJsonRpcMessage>),
    /// A line of several messages.
    Several(Vec<Vec<u8>>),
    Ignored(&'static str),
    /// What is to be answered, to the request with this id.
    Refused(Option<RequestId>, ErrorData),
}

/// A refusal of what is no message.
pub(super) fn invalid(id: Option<RequestId>, why: impl Into<String>) -> Parsed {
    Parsed::Refused(id, ErrorData::invalid_request(why.into(), None))
}

/// The id of the request that a text is, or was meant to be.
pub(super) fn id_of(text: &[u8]) -> Option<RequestId> {
    request_id(text).and_then(|id| serde_json::from_value(id).ok())
}

/// Why a text is not to be read, if it has so many values that it would take far more memory than its length.
pub(super) fn too_many_values(text: &[u8]) -> Option<ErrorData> {
    let why = || {
        let text = format!(
            "the message has more than {MOST_VALUES} values; give large content as text or by path instead"
        );
        ErrorData::invalid_request(text, None)
    };
    (values(text) > MOST_VALUES).then(why)
}

/// Reads one message.
pub(super) fn parse(line: &[u8]) -> Parsed {
    let line = line
        .strip_prefix(b"\xEF\xBB\xBF")
        .unwrap_or(line)
        .trim_ascii();
    if line.is_empty() {
        return Parsed::Ignored("empty");
    }
    if let Some(why) = too_many_values(line) {
        return Parsed::Refused(id_of(line), why);
    }
    let error = match serde_json::from_slice(line) {
        Ok(message) => return Parsed::Message(Box::new(message)),
        Err(error) => error,
    };
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else {
        return unread(line, &error);
    };
    let id = value
        .get("id")
        .cloned()
        .and_then(|id| serde_json::from_value::<RequestId>(id).ok());
    let is_call = value
        .get("method")
        .is_some_and(serde_json::Value::is_string);
    match (id, is_call) {
        (None, true) if value.get("id").is_none() => Parsed::Ignored(UNKNOWN_NOTIFICATION),
        (id, true) => invalid(id, format!("not a request of JSON-RPC 2.0: {error}")),
        (_, false) if value.is_array() => {
            invalid(None, "batches are not supported: send one message a line")
        }
        (_, false) => invalid(
            None,
            "neither a request, a notification nor a response of JSON-RPC 2.0",
        ),
    }
}

/// What to do with a line that is not one JSON value, or one that is nested too deeply.
fn unread(line: &[u8], error: &serde_json::Error) -> Parsed {
    if let Some(messages) = several(line) {
        return Parsed::Several(messages);
    }
    let Some(id) = id_of(line) else {
        // Answering what is no request could start an echo between two programs, and has no id to answer to.
        return Parsed::Ignored("not JSON");
    };
    let deep = serde_json::from_slice::<IgnoredAny>(line).is_ok();
    let why = if deep {
        "the message is nested too deeply: give such content by path instead".to_owned()
    } else {
        format!("not JSON: {error}")
    };
    Parsed::Refused(Some(id), ErrorData::parse_error(why, None))
}

/// The objects of a line that holds more than one and nothing else. They are found without being read, so that their
/// depth is no matter.
fn several(line: &[u8]) -> Option<Vec<Vec<u8>>> {
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

/// How many values the text holds, at most: every one but the first of a list or object follows a comma or colon.
fn values(text: &[u8]) -> usize {
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
    fn values_are_counted_outside_of_texts() {
        assert_eq!(values(b"1"), 1);
        assert_eq!(values(br#"{"a":[1,2],"b":"x,y:[{\",,"}"#), 7);
        let long = format!(r#"{{"text":"{}"}}"#, ",".repeat(1000));
        assert!(values(long.as_bytes()) < 4);
    }

    #[test]
    fn a_message_of_too_many_values_is_answered_and_not_read() {
        let many = format!(
            r#"{{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{{"name":"run","arguments":{{"a":[{}1]}}}}}}"#,
            "1,".repeat(MOST_VALUES)
        );
        let Parsed::Refused(Some(id), why) = parse(many.as_bytes()) else {
            panic!("it was read");
        };
        assert_eq!(id, RequestId::Number(5));
        assert!(why.message.contains("values"), "{}", why.message);
    }
}
