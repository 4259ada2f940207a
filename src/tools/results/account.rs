//! Results of the tools for registries and the account.

use std::collections::BTreeMap;
use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::ToolResult;
use crate::tools::answer::PageRequest;

/// Result of `registry_token_obtain`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct RegistryTokenObtain {
    /// Always success; a failure is an error
    pub status: String,
    /// Host of the registry
    pub registry: String,
    /// URL of the page for access tokens
    pub url: String,
    /// What the server did
    pub message: String,
    /// What the agent must do next
    pub agent_instruction: String,
    /// The page that the client must show before it repeats the call.
    #[serde(skip)]
    pub page_request: Option<PageRequest>,
}

impl ToolResult for RegistryTokenObtain {
    fn text(&self) -> String {
        format!(
            "{}\n{}\nnext: {}\n",
            self.message, self.url, self.agent_instruction
        )
    }

    fn page_request(&self) -> Option<PageRequest> {
        self.page_request.clone()
    }
}

/// Result of `registry_auth`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct RegistryAuth {
    /// Always success; a failure is an error
    pub status: String,
    /// Host of the registry
    pub registry: String,
    /// What the server did
    pub message: String,
}

impl ToolResult for RegistryAuth {
    fn text(&self) -> String {
        format!("{}\n", self.message)
    }
}

/// Result of `whoami`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Whoami {
    /// Id of the token, or of the local data directory
    pub token_uuid: String,
    /// Expiry of the token in Unix seconds; absent if it does not expire
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_expiration: Option<i64>,
    /// Permissions by name
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub permissions: BTreeMap<String, bool>,
    /// Limits by name
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, i64>,
    /// Number of operations by status
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub operations_stat: BTreeMap<String, i64>,
    /// Version of this server
    pub mcp_version: String,
    /// cloud or local
    pub backend: String,
    /// URL of the backend
    pub backend_url: String,
    /// Why this backend was chosen
    pub backend_reason: String,
    /// Limits and warnings
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl ToolResult for Whoami {
    fn text(&self) -> String {
        let mut text = format!(
            "backend {} at {} ({})\n",
            self.backend, self.backend_url, self.backend_reason
        );
        let _ = writeln!(
            text,
            "identity {}, contree-mcp {}",
            self.token_uuid, self.mcp_version
        );
        if let Some(expiration) = self.token_expiration {
            let _ = writeln!(text, "token expires at {expiration} (Unix time)");
        }
        let permission_names = |allowed: bool| {
            let names = self
                .permissions
                .iter()
                .filter(|(_, value)| **value == allowed)
                .map(|(name, _)| name.as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        let pairs = |map: &BTreeMap<String, i64>| {
            map.iter()
                .map(|(name, value)| format!("{name} {value}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        for (name, list) in [
            ("allowed", permission_names(true)),
            ("not allowed", permission_names(false)),
            ("limits", pairs(&self.limits)),
            ("operations", pairs(&self.operations_stat)),
            ("notes", self.notes.join("; ")),
        ] {
            if !list.is_empty() {
                let _ = writeln!(text, "{name}: {list}");
            }
        }
        text
    }
}
