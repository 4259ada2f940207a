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
pub(crate) fn stream(bytes: &[u8]) -> EventDataStream {
    let (value, encoding) = match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => (text.to_owned(), StreamEncoding::Ascii),
        _ => (STANDARD.encode(bytes), StreamEncoding::Base64),
    };
    EventDataStream {
        value,
        encoding,
        truncated: None,
    }
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
    fn stream_bytes_decodes_what_stream_encodes() {
        for bytes in [&b"plain"[..], "ä".as_bytes(), &[0, 255, 10], b""] {
            assert_eq!(
                stream_bytes(&serde_json::json!(stream(bytes))).expect("bytes"),
                bytes
            );
        }
    }
}
