//! Who is asking, and of whom: the service, registries.

use std::collections::BTreeMap;
use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::Render;
use crate::tools::answer::WantedPage;

/// What `registry_token_obtain` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct RegistryTokenObtain {
    /// success; a failure is an error
    pub status: String,
    /// The registry
    pub registry: String,
    /// The page for tokens
    pub url: String,
    /// What was done
    pub message: String,
    /// What to do now
    pub agent_instruction: String,
    /// The page that the client is to show before it calls again.
    #[serde(skip)]
    pub wanted_page: Option<WantedPage>,
}

impl Render for RegistryTokenObtain {
    fn text(&self) -> String {
        format!(
            "{}\n{}\nnext: {}\n",
            self.message, self.url, self.agent_instruction
        )
    }

    fn wanted_page(&self) -> Option<WantedPage> {
        self.wanted_page.clone()
    }
}

/// What `registry_auth` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct RegistryAuth {
    /// success; a failure is an error
    pub status: String,
    /// The registry
    pub registry: String,
    /// What was done
    pub message: String,
}

impl Render for RegistryAuth {
    fn text(&self) -> String {
        format!("{}\n", self.message)
    }
}

/// What `whoami` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Whoami {
    /// The token, or the local store
    pub token_uuid: String,
    /// Unix seconds; absent if it does not expire
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_expiration: Option<i64>,
    /// What is allowed
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub permissions: BTreeMap<String, bool>,
    /// How much is allowed
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, i64>,
    /// Operations by status
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub operations_stat: BTreeMap<String, i64>,
    /// Version of this server
    pub mcp_version: String,
    /// cloud or local
    pub backend: String,
    /// Where it is
    pub backend_url: String,
    /// Why this one
    pub backend_reason: String,
    /// What to know about it
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Render for Whoami {
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
        let allowed = |allowed: bool| {
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
            ("allowed", allowed(true)),
            ("not allowed", allowed(false)),
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
