//! Answers of a service that is newer than this client.

use contree::{OperationKind, OperationStatus, types};
use serde_json::{Value, json};

use crate::support::*;

/// Reads a value, and writes it again.
fn round_trip<T: serde::de::DeserializeOwned + serde::Serialize>(value: &Value) -> (T, Value) {
    let read: T = serde_json::from_value(value.clone()).unwrap();
    let written = serde_json::to_value(&read).unwrap();
    (read, written)
}

#[test]
fn an_unknown_value_of_an_enumeration_is_kept_as_text() {
    let (stream, written) =
        round_trip::<types::StreamRepr>(&json!({"value": "x", "encoding": "brotli"}));
    assert_eq!(
        stream.encoding,
        types::StreamEncoding::Other("brotli".into())
    );
    assert_eq!(stream.encoding.as_str(), "brotli");
    assert_eq!(written["encoding"], "brotli");
    let (stream, written) =
        round_trip::<types::StreamRepr>(&json!({"value": "eA==", "encoding": "base64"}));
    assert_eq!(stream.encoding, types::StreamEncoding::Base64);
    assert_eq!(written["encoding"], "base64");
    assert_eq!(OperationKind::from("repack").to_string(), "repack");
    let status: OperationStatus = serde_json::from_value(json!("PAUSED")).unwrap();
    assert_eq!(status, OperationStatus::Other("PAUSED".into()));
}

#[test]
fn unknown_properties_are_ignored() {
    for read in [
        serde_json::from_value::<types::ConfiguredNetwork>(json!({"ip4": "10.0.0.2/24", "x": 1}))
            .map(|_| ()),
        serde_json::from_value::<types::EngineLimits>(json!({"cpus": 1.5, "io": {}})).map(|_| ()),
        serde_json::from_value::<types::Image>(json!({"uuid": IMAGE, "owner": "me"})).map(|_| ()),
    ] {
        read.unwrap();
    }
}
