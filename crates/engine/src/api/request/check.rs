//! Checks the values of a request to run a command, where its types do not restrict them.

use contree_sandbox::ControlGroups;

use super::{RequestError, SpawnRequest};
use crate::api::types::EngineLimits;
use crate::limits;

impl SpawnRequest {
    /// Checks values that no type restricts. `single_id` is true if the store has only one user id.
    pub(crate) fn check(&self, single_id: bool) -> Result<(), RequestError> {
        if self.command.is_empty() {
            return Err(RequestError::EmptyCommand);
        }
        if self.shell && !self.args.is_empty() {
            return Err(RequestError::ArgumentsWithShell);
        }
        let has_nul = |text: &str| text.contains('\0');
        if has_nul(&self.command) || self.args.iter().any(|arg| has_nul(arg)) || has_nul(&self.cwd)
        {
            return Err(RequestError::NulByte);
        }
        for (name, value) in self.env.iter().flatten() {
            if name.is_empty()
                || name.contains(['=', '\0'])
                || value.as_deref().is_some_and(has_nul)
            {
                return Err(RequestError::Variable(name.clone()));
            }
        }
        if !self.cwd.is_empty() && !self.cwd.starts_with('/') {
            return Err(RequestError::RelativeDirectory(self.cwd.clone()));
        }
        check_hostname(&self.hostname)?;
        if !(1..=limits::MAX_TIMEOUT).contains(&self.timeout) {
            return Err(RequestError::OutOfBounds {
                field: "timeout",
                least: "1".to_owned(),
                most: format!("{} seconds", limits::MAX_TIMEOUT),
                given: self.timeout.to_string(),
            });
        }
        if self.truncate_output_at > limits::MAX_OUTPUT_BYTES {
            return Err(RequestError::TooMuchOutput {
                most: limits::MAX_OUTPUT_BYTES,
                given: self.truncate_output_at,
            });
        }
        if !(1..=limits::MAX_LAYER_BYTES).contains(&self.max_layer_bytes()) {
            return Err(RequestError::OutOfBounds {
                field: "max_layer_bytes",
                least: "1".to_owned(),
                most: limits::MAX_LAYER_BYTES.to_string(),
                given: self.max_layer_bytes().to_string(),
            });
        }
        if let Some(engine_limits) = &self.x_limits {
            engine_limits.check()?;
        }
        if let Some(reason) = ControlGroups::get().refusal(&self.sandbox_limits()) {
            return Err(RequestError::LimitsUnenforced(reason));
        }
        if single_id {
            let owners = self
                .files
                .values()
                .map(|file| (file.uid, file.gid))
                .chain([(self.uid, self.gid)]);
            if owners.into_iter().any(|ids| ids != (0, 0)) {
                return Err(RequestError::SingleId);
            }
        }
        for (path, file) in &self.files {
            if !path.starts_with('/') || path.ends_with('/') || has_nul(path) {
                return Err(RequestError::FilePath(path.clone()));
            }
            file.mode()?;
            file.check_kind(path)?;
        }
        self.stdin_bytes()?;
        Ok(())
    }
}

impl EngineLimits {
    fn check(&self) -> Result<(), RequestError> {
        if let Some(bytes) = self.memory_bytes
            && !limits::MEMORY_BYTES.contains(&bytes)
        {
            return Err(RequestError::OutOfBounds {
                field: "x-limits.memory_bytes",
                least: limits::MEMORY_BYTES.start().to_string(),
                most: limits::MEMORY_BYTES.end().to_string(),
                given: bytes.to_string(),
            });
        }
        if let Some(cpus) = self.cpus
            && !limits::CPUS.contains(&cpus)
        {
            return Err(RequestError::OutOfBounds {
                field: "x-limits.cpus",
                least: limits::CPUS.start().to_string(),
                most: limits::CPUS.end().to_string(),
                given: cpus.to_string(),
            });
        }
        if let Some(processes) = self.processes
            && !(limits::MIN_PROCESSES..=limits::MAX_PROCESSES).contains(&processes)
        {
            return Err(RequestError::OutOfBounds {
                field: "x-limits.processes",
                least: limits::MIN_PROCESSES.to_string(),
                most: limits::MAX_PROCESSES.to_string(),
                given: processes.to_string(),
            });
        }
        Ok(())
    }
}

fn check_hostname(name: &str) -> Result<(), RequestError> {
    let is_label = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !part.starts_with('-')
    };
    if name.len() <= 64 && name.split('.').all(is_label) {
        return Ok(());
    }
    Err(RequestError::Hostname(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::tests::request;

    #[test]
    fn errors_name_the_invalid_field() {
        for (extra, word) in [
            (serde_json::json!({"command": ""}), "`command`"),
            (serde_json::json!({"shell": true, "args": ["x"]}), "`args`"),
            (serde_json::json!({"cwd": "relative"}), "`cwd`"),
            (serde_json::json!({"env": {"A=B": "x"}}), "`env`"),
            (serde_json::json!({"timeout": 0}), "`timeout`"),
            (serde_json::json!({"timeout": 99999}), "`timeout`"),
            (
                serde_json::json!({"truncate_output_at": 99999999}),
                "`truncate_output_at`",
            ),
            (serde_json::json!({"hostname": "a b"}), "`hostname`"),
            (
                serde_json::json!({"resources_limits": {"max_layer_bytes": 0}}),
                "`max_layer_bytes`",
            ),
            (
                serde_json::json!({"files": {"x": {"uuid": Uuid::nil()}}}),
                "`files`",
            ),
            (
                serde_json::json!({"files": {"/x": {"uuid": Uuid::nil(), "mode": "99"}}}),
                "`mode`",
            ),
            (
                serde_json::json!({"stdin": {"value": "*", "encoding": "base64"}}),
                "`stdin`",
            ),
        ] {
            let error = request(extra).check(false).expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(request(serde_json::json!({"uid": 5})).check(false).is_ok());
        assert!(
            request(serde_json::json!({"uid": 5}))
                .check(true)
                .expect_err("single")
                .to_string()
                .contains("newuidmap")
        );
    }
}
