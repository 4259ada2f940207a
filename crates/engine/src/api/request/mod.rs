//! Requests to run a command: read, checked and completed with what the image saves.

mod check;
pub(crate) mod import;
mod resolve;
mod source;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits;

pub(crate) use source::{Source, check_tag};

/// The body of `POST /instances`, after the API document's `InstanceSpawnRequest`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SpawnRequest {
    pub(crate) command: String,
    #[serde(default)]
    pub(crate) args: Vec<String>,
    #[serde(default)]
    pub(crate) shell: bool,
    pub(crate) image: String,
    #[serde(default)]
    pub(crate) disposable: bool,
    #[serde(default = "default_hostname")]
    pub(crate) hostname: String,
    /// A null value removes the variable.
    #[serde(default)]
    pub(crate) env: Option<BTreeMap<String, Option<String>>>,
    #[serde(default)]
    pub(crate) preserve_env: bool,
    #[serde(default)]
    pub(crate) preserve_cwd: bool,
    #[serde(default)]
    pub(crate) cwd: String,
    #[serde(default)]
    pub(crate) uid: u32,
    #[serde(default)]
    pub(crate) gid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resources_limits: Option<Limits>,
    #[serde(default, rename = "x-limits", skip_serializing_if = "Option::is_none")]
    pub(crate) x_limits: Option<SandboxLimits>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) networking: Option<Networking>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stdin: Option<Stdin>,
    #[serde(default = "default_timeout")]
    pub(crate) timeout: u64,
    #[serde(default = "default_truncate")]
    pub(crate) truncate_output_at: u64,
    #[serde(default)]
    pub(crate) files: BTreeMap<String, Placed>,
}

/// The body of `POST …/subprocesses`, after the API document's `ExecSpec`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ExecRequest {
    command: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    shell: bool,
    /// A null value removes the variable.
    #[serde(default)]
    env: Option<BTreeMap<String, Option<String>>>,
    #[serde(default)]
    cwd: String,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    stdin: Option<Stdin>,
    #[serde(default = "default_truncate")]
    truncate_output_at: u64,
}

/// `resources_limits`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Limits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_layer_bytes: Option<u64>,
}

/// `x-limits`, which the hosted service does not have.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SandboxLimits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpus: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    processes: Option<u32>,
}

/// `networking`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Networking {
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
}

/// `stdin`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stdin {
    pub(crate) value: String,
    #[serde(default)]
    pub(crate) encoding: Encoding,
    #[serde(default = "yes")]
    pub(crate) close: bool,
}

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// As they are.
    #[default]
    Ascii,
    /// RFC 4648, section 4.
    Base64,
}

/// One of `files`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) uuid: Uuid,
    #[serde(default)]
    pub(crate) uid: u32,
    #[serde(default)]
    pub(crate) gid: u32,
    #[serde(default = "default_mode")]
    pub(crate) mode: String,
}

fn default_hostname() -> String {
    "linuxkit".to_owned()
}

fn default_timeout() -> u64 {
    limits::TIMEOUT
}

fn default_truncate() -> u64 {
    1024 * 1024
}

fn default_mode() -> String {
    "0644".to_owned()
}

fn yes() -> bool {
    true
}

impl SpawnRequest {
    /// How many bytes the command may write to its filesystem.
    pub(crate) fn max_layer_bytes(&self) -> u64 {
        self.resources_limits
            .as_ref()
            .and_then(|limits| limits.max_layer_bytes)
            .unwrap_or(limits::LAYER_BYTES)
    }

    /// What the sandbox as a whole must be held to.
    pub(crate) fn sandbox_limits(&self) -> contree_sandbox::Limits {
        let asked = self.x_limits.clone().unwrap_or_default();
        contree_sandbox::Limits {
            memory_bytes: asked.memory_bytes,
            processes: asked.processes,
            cpus: asked.cpus,
        }
    }

    /// The bytes for standard input.
    pub(crate) fn stdin_bytes(&self) -> Result<Vec<u8>, String> {
        self.stdin.as_ref().map_or(Ok(Vec::new()), Stdin::bytes)
    }

    /// Whether standard input stays open after the bytes given.
    pub(crate) fn keeps_stdin(&self) -> bool {
        self.stdin.as_ref().is_some_and(|stdin| !stdin.close)
    }
}

impl Stdin {
    /// The bytes that its text stands for.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, String> {
        match self.encoding {
            Encoding::Ascii => Ok(self.value.as_bytes().to_vec()),
            Encoding::Base64 => STANDARD
                .decode(&self.value)
                .map_err(|error| format!("`stdin` is no base64: {error}")),
        }
    }
}

impl ExecRequest {
    /// The same as a command of its own; what concerns the sandbox was said when that was made.
    pub(crate) fn into_spawn(self) -> SpawnRequest {
        SpawnRequest {
            command: self.command,
            args: self.args,
            shell: self.shell,
            image: String::new(),
            disposable: true,
            hostname: default_hostname(),
            env: self.env,
            preserve_env: false,
            preserve_cwd: false,
            cwd: self.cwd,
            uid: self.uid,
            gid: self.gid,
            resources_limits: None,
            x_limits: None,
            networking: None,
            stdin: self.stdin,
            timeout: default_timeout(),
            truncate_output_at: self.truncate_output_at,
            files: BTreeMap::new(),
        }
    }
}

impl Placed {
    /// The permission bits.
    pub(crate) fn mode(&self) -> Result<u32, String> {
        u32::from_str_radix(&self.mode, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| {
                format!(
                    "`mode` of a file must be octal permission bits such as \"0644\", not `{}`",
                    self.mode
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::SpawnRequest;

    /// A request for `true` with these fields.
    pub(crate) fn request(extra: serde_json::Value) -> SpawnRequest {
        let mut body = serde_json::json!({"command": "true", "image": "tag:host"});
        body.as_object_mut()
            .expect("an object")
            .extend(extra.as_object().expect("an object").clone());
        serde_json::from_value(body).expect("a request")
    }
}
