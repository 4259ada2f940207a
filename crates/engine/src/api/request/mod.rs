//! Requests to run a command: checking them, and completing them with the image's saved settings.

mod check;
mod error;
mod image_selector;
pub(crate) mod import;
mod resolve;
pub(crate) mod secrets;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(crate) use crate::api::types::InstanceSpawnRequest as SpawnRequest;
use crate::api::types::{
    ClosableStreamRepr, ExecSpec, InstanceFile, InstanceFileXKind as FileKind, StreamEncoding,
};
use crate::limits;

/// Maximum number of bytes of a symbolic link's target on Linux.
const MAX_LINK_TARGET: usize = 4095;

pub(crate) use error::RequestError;
pub(crate) use image_selector::{ImageSelector, check_tag};

impl SpawnRequest {
    /// Maximum number of bytes that the command may write to its file system.
    pub(crate) fn max_layer_bytes(&self) -> u64 {
        self.resources_limits
            .as_ref()
            .and_then(|limits| limits.max_layer_bytes)
            .unwrap_or(limits::DEFAULT_LAYER_BYTES)
    }

    /// The limits of the sandbox as a whole.
    pub(crate) fn sandbox_limits(&self) -> contree_sandbox::Limits {
        let requested = self.x_limits.as_ref();
        contree_sandbox::Limits {
            memory_bytes: requested.and_then(|limits| limits.memory_bytes),
            processes: requested.and_then(|limits| limits.processes),
            cpus: requested.and_then(|limits| limits.cpus),
        }
    }

    /// The bytes for standard input.
    pub(crate) fn stdin_bytes(&self) -> Result<Vec<u8>, RequestError> {
        self.stdin
            .as_ref()
            .map_or(Ok(Vec::new()), ClosableStreamRepr::bytes)
    }

    /// Whether standard input stays open after the bytes of the request.
    pub(crate) fn keeps_stdin_open(&self) -> bool {
        self.stdin.as_ref().is_some_and(|stdin| !stdin.close)
    }
}

impl ClosableStreamRepr {
    /// Decodes the bytes.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, RequestError> {
        match self.encoding {
            StreamEncoding::Ascii => Ok(self.value.as_bytes().to_vec()),
            StreamEncoding::Base64 => Ok(STANDARD.decode(&self.value)?),
        }
    }
}

impl ExecSpec {
    /// Converts it to a request to run a command. Fields about the sandbox get defaults, because
    /// the sandbox exists already.
    pub(crate) fn into_spawn(self) -> SpawnRequest {
        SpawnRequest {
            command: self.command,
            args: self.args,
            shell: self.shell,
            image: String::new(),
            disposable: true,
            hostname: SpawnRequest::default_hostname(),
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
            timeout: SpawnRequest::default_timeout(),
            truncate_output_at: self.truncate_output_at,
            files: BTreeMap::new(),
        }
    }
}

impl InstanceFile {
    /// The permission bits.
    pub(crate) fn mode(&self) -> Result<u32, RequestError> {
        u32::from_str_radix(&self.mode, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| RequestError::Mode(self.mode.clone()))
    }

    /// The type of the entry.
    pub(crate) fn kind(&self) -> FileKind {
        self.x_kind.unwrap_or(FileKind::File)
    }

    /// Checks that the entry has the fields of its kind, and no others.
    fn check_kind(&self, path: &str) -> Result<(), RequestError> {
        let is_link = self.kind() == FileKind::Symlink;
        let is_file = self.kind() == FileKind::File;
        if is_file && self.uuid.is_none() {
            return Err(RequestError::FileUuid(path.to_owned()));
        }
        let target = self.x_target.as_deref();
        let is_valid = target.is_some_and(|target| {
            (1..=MAX_LINK_TARGET).contains(&target.len()) && !target.contains('\0')
        });
        if is_link && !is_valid {
            return Err(RequestError::LinkTarget(path.to_owned()));
        }
        if (!is_file && self.uuid.is_some()) || (!is_link && target.is_some()) {
            return Err(RequestError::FileFields(path.to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::SpawnRequest;
    use crate::limits;

    #[test]
    fn the_default_limits_are_those_of_the_engine() {
        let request = request(serde_json::json!({}));
        assert_eq!(request.timeout, limits::MAX_TIMEOUT);
        assert_eq!(request.max_layer_bytes(), limits::DEFAULT_LAYER_BYTES);
    }

    /// A request to run `true` with further fields.
    pub(crate) fn request(extra: serde_json::Value) -> SpawnRequest {
        let mut body = serde_json::json!({"command": "true", "image": "tag:host"});
        body.as_object_mut()
            .expect("an object")
            .extend(extra.as_object().expect("an object").clone());
        serde_json::from_value(body).expect("a request")
    }
}
