//! One event: its line in the log, and the forms of its data.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SYSTEM;
use crate::api::types::{EventDataStream, OperationEvent, OperationEventType, StreamEncoding};

/// An event as its line in the log, with the fields by which followers filter.
#[derive(Clone, Debug)]
pub(crate) struct EventLine {
    pub(crate) id: u64,
    pub(crate) spid: u64,
    pub(crate) kind: String,
    text: String,
}

impl EventLine {
    /// The line of a new event.
    pub(super) fn new(
        id: u64,
        at: DateTime<Utc>,
        spid: u64,
        kind: OperationEventType,
        data: &impl Serialize,
    ) -> Self {
        // Ids count from 1, without gaps. `spid` is 0 for the engine, and 1 for the main process.
        let event = OperationEvent {
            id,
            ts: timestamp(at),
            spid: Some(spid),
            r#type: kind.as_str().to_owned(),
            data: serde_json::to_value(data).unwrap_or_default(),
        };
        Self {
            id,
            spid,
            kind: kind.as_str().to_owned(),
            text: serde_json::to_string(&event).unwrap_or_default(),
        }
    }

    /// The line of a completion event.
    pub(crate) fn completion(id: u64, at: DateTime<Utc>, data: &impl Serialize) -> Self {
        Self::new(id, at, SYSTEM, OperationEventType::Completion, data)
    }

    /// Parses a line of a log, without its newline. `None` if it is not an event.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct EventFields {
            id: u64,
            spid: u64,
            #[serde(rename = "type")]
            kind: String,
            #[serde(rename = "ts")]
            _ts: IgnoredAny,
            #[serde(rename = "data")]
            _data: IgnoredAny,
        }
        let text = std::str::from_utf8(line).ok()?;
        let fields: EventFields = serde_json::from_str(text).ok()?;
        Some(Self {
            id: fields.id,
            spid: fields.spid,
            kind: fields.kind,
            text: text.to_owned(),
        })
    }

    /// The line as it is in the log, without its newline.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The data of the event.
    pub(crate) fn data(&self) -> Value {
        #[derive(Deserialize)]
        struct EventWithData {
            data: Value,
        }
        serde_json::from_str::<EventWithData>(&self.text).map_or(Value::Null, |event| event.data)
    }

    /// Whether this is the last event of its log.
    pub(crate) fn is_completion(&self) -> bool {
        self.kind == OperationEventType::Completion.as_str()
    }

    /// The line with its newline.
    pub(super) fn with_newline(&self) -> Vec<u8> {
        [self.text.as_bytes(), b"\n"].concat()
    }
}

/// A time as the API writes it: RFC 3339 in UTC, with microseconds.
pub(crate) fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The data of a stream event: the bytes as text if they are ASCII, else in base64.
///
/// JSON writes a control character such as NUL in six bytes. If base64 is shorter, it is used.
pub(crate) fn stream(bytes: &[u8]) -> EventDataStream {
    let (value, encoding) = match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() && !is_shorter_in_base64(bytes) => {
            (text.to_owned(), StreamEncoding::Ascii)
        }
        _ => (STANDARD.encode(bytes), StreamEncoding::Base64),
    };
    EventDataStream {
        value,
        encoding,
        truncated: None,
    }
}

/// Reports whether base64 is shorter than JSON's escapes of control characters. Text without such
/// characters stays readable in the log.
fn is_shorter_in_base64(ascii: &[u8]) -> bool {
    let is_long = |byte: &&u8| **byte < b' ' && !b"\x08\t\n\x0c\r".contains(*byte);
    let long = ascii.iter().filter(is_long).count();
    ascii.len() + 5 * long > ascii.len().div_ceil(3) * 4
}

/// The data of an event about input. The log keeps no input, since it may be a secret.
pub(crate) fn unrecorded_input() -> EventDataStream {
    EventDataStream {
        truncated: Some(true),
        ..stream(b"")
    }
}

/// The bytes of a stream event's data. `None` if the data is of another form.
pub(super) fn stream_bytes(data: &Value) -> Option<Vec<u8>> {
    let value = data.get("value")?.as_str()?;
    match data.get("encoding").and_then(Value::as_str) {
        Some("base64") => STANDARD.decode(value).ok(),
        _ => Some(value.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_multiply_a_log() {
        for (bytes, encoding, most) in [
            (vec![0; 9_000], StreamEncoding::Base64, 12_100),
            (vec![0x1b; 9_000], StreamEncoding::Base64, 12_100),
            (vec![b'\n'; 9_000], StreamEncoding::Ascii, 18_100),
            (
                b"\x1b[1mbold\x1b[0m text of many words\n".repeat(100),
                StreamEncoding::Ascii,
                5_000,
            ),
            (
                b"a line with one bell\x07\n".to_vec(),
                StreamEncoding::Ascii,
                100,
            ),
        ] {
            let data = stream(&bytes);
            assert_eq!(data.encoding, encoding, "{bytes:?}");
            let json = serde_json::json!(data);
            assert!(json.to_string().len() <= most, "{}", json.to_string().len());
            assert_eq!(stream_bytes(&json).expect("bytes"), bytes);
        }
    }

    #[test]
    fn stream_bytes_decodes_what_stream_encodes() {
        for bytes in [&b"plain"[..], "ä".as_bytes(), &[0, 255, 10], b"", &[0; 10]] {
            assert_eq!(
                stream_bytes(&serde_json::json!(stream(bytes))).expect("bytes"),
                bytes
            );
        }
    }
}
