//! The result of `push_image`.

use schemars::JsonSchema;
use serde::Serialize;

use super::ToolResult;
use crate::types;

/// The image that a push wrote.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct PushedImage {
    /// Digest of its manifest; of its configuration in a docker-archive
    pub digest: String,
    /// Layers and configurations that were sent
    pub blobs_sent: u64,
    /// Those that were there already
    pub blobs_present: u64,
    /// Bytes of those that were sent
    pub bytes_sent: u64,
}

impl From<types::PushResult> for PushedImage {
    fn from(result: types::PushResult) -> Self {
        Self {
            digest: result.digest,
            blobs_sent: result.blobs_sent,
            blobs_present: result.blobs_present,
            bytes_sent: result.bytes_sent,
        }
    }
}

impl PushedImage {
    pub(super) fn text(&self) -> String {
        format!(
            "pushed {}\n{} blobs with {} bytes sent, {} were there\n",
            self.digest, self.blobs_sent, self.bytes_sent, self.blobs_present
        )
    }
}

/// Result of `push_image`: the pushed image, or with `wait=false` only the operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct PushImage {
    /// The operation that was started (wait=false)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// The pushed image.
    #[serde(flatten)]
    pub pushed: Option<PushedImage>,
}

impl ToolResult for PushImage {
    fn text(&self) -> String {
        match (&self.operation_id, &self.pushed) {
            (_, Some(pushed)) => pushed.text(),
            (Some(id), None) => {
                format!("started operation {id}\nnext: wait_operations(operation_ids=[\"{id}\"])\n")
            }
            (None, None) => String::new(),
        }
    }
}
