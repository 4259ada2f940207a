//! The part of an operation's record that the web page shows.

use serde::Serialize;
use uuid::Uuid;

use crate::{OperationStatus, types};

/// Characters of a command that are shown.
const MAX_COMMAND_CHARS: usize = 4000;

/// Details that list entries lack: the requested command or import, and how the command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct OperationDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) registry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timed_out: Option<bool>,
}

/// The cached part of an operation's record.
pub(super) struct OperationRecord {
    pub(super) over: bool,
    pub(super) image: Option<Uuid>,
    pub(super) details: OperationDetails,
}

impl From<types::OperationResponse> for OperationRecord {
    fn from(answer: types::OperationResponse) -> Self {
        use types::OperationMetadata::{ImageImportMetadata, OperationInstanceMetadata};
        let details = match answer.metadata {
            Some(OperationInstanceMetadata(metadata)) => {
                let line = [vec![metadata.command], metadata.args].concat().join(" ");
                let state = metadata.result.and_then(|result| result.state);
                let state = state.unwrap_or_default();
                OperationDetails {
                    command: Some(line.chars().take(MAX_COMMAND_CHARS).collect()),
                    registry: None,
                    exit_code: state.exit_code.filter(|code| *code >= 0),
                    signal: state.signal.filter(|signal| *signal > 0),
                    timed_out: state.timed_out.filter(|timed_out| *timed_out),
                }
            }
            Some(ImageImportMetadata(metadata)) => OperationDetails {
                registry: metadata.registry.and_then(|registry| registry.url),
                ..OperationDetails::default()
            },
            _ => OperationDetails::default(),
        };
        Self {
            over: answer
                .status
                .as_ref()
                .is_some_and(OperationStatus::is_terminal),
            image: answer.image_uuid,
            details,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(answer: serde_json::Value) -> OperationRecord {
        OperationRecord::from(serde_json::from_value::<types::OperationResponse>(answer).unwrap())
    }

    #[test]
    fn a_record_has_the_request_and_its_end() {
        let image = Uuid::from_u128(7);
        let run = record(
            json!({"status": "SUCCESS", "image_uuid": image, "metadata": {
                "command": "echo", "args": ["a", "b"], "image": image,
                "result": {"state": {"exit_code": -1, "signal": 9, "timed_out": true}},
            }}),
        );
        assert!(run.over && run.image == Some(image));
        assert_eq!(
            json!(run.details),
            json!({"command": "echo a b", "signal": 9, "timed_out": true})
        );
        let import = record(json!({"status": "EXECUTING", "metadata": {
            "registry": {"url": "docker://busybox"},
        }}));
        assert!(!import.over);
        assert_eq!(
            json!(import.details),
            json!({"registry": "docker://busybox"})
        );
    }
}
