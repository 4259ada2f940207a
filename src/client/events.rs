//! The events that an operation reports while it runs.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Error, types};

/// One entry of an operation's event log.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The id, which increases with every entry of the log.
    pub id: u64,
    /// The time of the event, as the backend writes it (RFC 3339).
    pub ts: String,
    /// The process: 0 for the sandbox as a whole, 1 for the main process, 2 and up for
    /// subprocesses.
    pub spid: u64,
    /// The kind of the event and its data.
    pub payload: Payload,
}

/// The kind of the event and its data.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Payload {
    /// The sandbox started.
    Init(types::EventDataInit),
    /// A process was started.
    Spawn(types::EventDataSpawn),
    /// A process received input.
    Stdin(Chunk),
    /// A process wrote to its standard output.
    Stdout(Chunk),
    /// A process wrote to its standard error.
    Stderr(Chunk),
    /// A process ended.
    Exit(types::EventDataExit),
    /// A stream is longer than the part that the backend records.
    Truncated(types::EventDataTruncated),
    /// The upper directory exceeded its size limit.
    SizeCap(types::EventDataSizeCap),
    /// The network was set up, or its counters were read.
    Network(Box<types::EventDataNetwork>),
    /// The sandbox shut down.
    Shutdown(types::EventDataShutdown),
    /// The operation ended. This is the last event of every log.
    Completion(types::EventDataCompletion),
    /// An event that this version does not know or cannot read.
    Unknown {
        /// The event's `type`.
        kind: String,
        /// Its `data`.
        data: Value,
    },
}

/// A piece of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk {
    /// The bytes, exactly as the process wrote them.
    pub bytes: Bytes,
    /// Whether bytes after these were dropped.
    pub truncated: bool,
}

/// An error in the data of an event or of a recorded stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum DataError {
    /// The data does not have the fields of the event's type.
    #[error("{kind}: {source}")]
    Fields {
        kind: String,
        source: serde_json::Error,
    },
    #[error("a stream is not valid base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// A newer service uses an encoding that this version does not know.
    #[error("a stream has the unknown encoding `{0}`")]
    Encoding(String),
}

/// An event in its JSON form.
#[derive(Deserialize)]
struct EventJson {
    id: u64,
    #[serde(default)]
    ts: String,
    spid: Option<u64>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: Value,
}

impl Event {
    /// Reads an event from its JSON form.
    ///
    /// # Errors
    /// [`Error::Protocol`] if `text` is not an event, or if it is a `stdout`, `stderr`, `exit` or
    /// `completion` event with invalid data. Other events that are unknown or have invalid data
    /// become [`Payload::Unknown`].
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let json: EventJson = serde_json::from_str(text).map_err(|error| {
            Error::Protocol(
                format!("{error}, in the event `{}`", super::bodies::excerpt(text)).into(),
            )
        })?;
        let (id, kind) = (json.id, json.kind);
        // Older logs omit the process if there is only one.
        let of_process =
            ["spawn", "stdin", "stdout", "stderr", "exit", "truncated"].contains(&kind.as_str());
        Ok(Self {
            id,
            ts: json.ts,
            spid: json.spid.unwrap_or(u64::from(of_process)),
            payload: Payload::read(kind, json.data)
                .map_err(|error| Error::Protocol(format!("event {id}: {error}").into()))?,
        })
    }

    /// Whether this is the last event of its log.
    pub fn is_last(&self) -> bool {
        matches!(self.payload, Payload::Completion(_))
    }
}

impl Payload {
    fn read(kind: String, data: Value) -> Result<Self, DataError> {
        fn strict<T: DeserializeOwned>(kind: &str, data: Value) -> Result<T, DataError> {
            serde_json::from_value(data).map_err(|source| DataError::Fields {
                kind: kind.to_owned(),
                source,
            })
        }
        fn lenient<T: DeserializeOwned>(
            kind: String,
            data: Value,
            known: fn(T) -> Payload,
        ) -> Payload {
            match T::deserialize(&data) {
                Ok(read) => known(read),
                Err(_) => Payload::Unknown { kind, data },
            }
        }
        Ok(match kind.as_str() {
            "stdout" => Self::Stdout(Chunk::read(strict(&kind, data)?)?),
            "stderr" => Self::Stderr(Chunk::read(strict(&kind, data)?)?),
            "exit" => Self::Exit(strict(&kind, data)?),
            "completion" => Self::Completion(strict(&kind, data)?),
            "stdin" => match types::EventDataStream::deserialize(&data)
                .ok()
                .map(Chunk::read)
            {
                Some(Ok(chunk)) => Self::Stdin(chunk),
                _ => Self::Unknown { kind, data },
            },
            "init" => lenient(kind, data, Self::Init),
            "spawn" => lenient(kind, data, Self::Spawn),
            "truncated" => lenient(kind, data, Self::Truncated),
            "size_cap" => lenient(kind, data, Self::SizeCap),
            "network" => lenient(kind, data, |read| Self::Network(Box::new(read))),
            "shutdown" => lenient(kind, data, Self::Shutdown),
            _ => Self::Unknown { kind, data },
        })
    }
}

impl Chunk {
    fn read(data: types::EventDataStream) -> Result<Self, DataError> {
        Ok(Self {
            bytes: decode(data.value, data.encoding)?.into(),
            truncated: data.truncated.unwrap_or_default(),
        })
    }
}

/// Decodes a stream that JSON carries as text.
pub(super) fn decode(value: String, encoding: types::StreamEncoding) -> Result<Vec<u8>, DataError> {
    match encoding {
        types::StreamEncoding::Ascii => Ok(value.into_bytes()),
        types::StreamEncoding::Base64 => Ok(STANDARD.decode(value.trim_end())?),
        types::StreamEncoding::Other(name) => Err(DataError::Encoding(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_encoding_is_named() {
        let event = r#"{"id":3,"ts":"","spid":1,"type":"stdout","data":{"value":"AP8=","encoding":"brotli"}}"#;
        let error = Event::from_json(event).unwrap_err().to_string();
        assert!(error.contains("unknown encoding `brotli`"), "{error}");
    }

    #[test]
    fn output_keeps_every_byte() {
        let event = r#"{"id":3,"ts":"2026-01-01T00:00:00Z","spid":1,"type":"stdout","data":{"value":"AP8=","encoding":"base64","truncated":true}}"#;
        let event = Event::from_json(event).unwrap();
        assert_eq!(event.id, 3);
        let Payload::Stdout(chunk) = event.payload else {
            panic!()
        };
        assert_eq!(&chunk.bytes[..], b"\x00\xff");
        assert!(chunk.truncated);
    }

    #[test]
    fn unknown_and_incomplete_events_are_kept() {
        let event = Event::from_json(r#"{"id":1,"type":"snapshot","data":{"a":1}}"#).unwrap();
        assert!(matches!(event.payload, Payload::Unknown { kind, .. } if kind == "snapshot"));
        let event = Event::from_json(r#"{"id":1,"type":"init","data":{"init_pid":1}}"#).unwrap();
        assert!(matches!(event.payload, Payload::Init(init) if init.init_pid == Some(1)));
        let event = Event::from_json(r#"{"id":1,"type":"spawn","data":{"pid":1}}"#).unwrap();
        assert_eq!(event.spid, 1);
        assert!(matches!(event.payload, Payload::Unknown { .. }));
    }

    #[test]
    fn events_that_the_result_depends_on_are_never_skipped() {
        for bad in [
            r#"{"id":1,"type":"stdout","data":{"value":"?","encoding":"base64"}}"#,
            r#"{"id":1,"type":"stdout","data":{"value":"x","encoding":"rot13"}}"#,
            r#"{"id":1,"type":"completion","data":{}}"#,
            r#"{"type":"stdout"}"#,
            "upstream gone",
        ] {
            assert!(
                matches!(Event::from_json(bad), Err(Error::Protocol(_))),
                "{bad}"
            );
        }
    }
}
