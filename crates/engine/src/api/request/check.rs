//! What no type says of a request.

use contree_sandbox::ControlGroups;

use super::SpawnRequest;
use crate::api::types::EngineLimits;
use crate::limits;

impl SpawnRequest {
    /// Checks what no type says. `single` is whether the store has one user id alone.
    pub(crate) fn check(&self, single: bool) -> Result<(), String> {
        if self.command.is_empty() {
            return Err("`command` is empty".to_owned());
        }
        if self.shell && !self.args.is_empty() {
            return Err(
                "`args` go with `shell: false`; with a shell, write them into `command`".to_owned(),
            );
        }
        let zero = |text: &str| text.contains('\0');
        if zero(&self.command) || self.args.iter().any(|arg| zero(arg)) || zero(&self.cwd) {
            return Err("`command`, `args` and `cwd` cannot hold a NUL byte".to_owned());
        }
        for (name, value) in self.env.iter().flatten() {
            if name.is_empty() || name.contains(['=', '\0']) || value.as_deref().is_some_and(zero) {
                return Err(format!(
                    "`env` cannot set `{}`: a name has no `=`, and neither part a NUL byte",
                    name.escape_debug()
                ));
            }
        }
        if !self.cwd.is_empty() && !self.cwd.starts_with('/') {
            return Err(format!("`cwd` must be absolute, not `{}`", self.cwd));
        }
        check_hostname(&self.hostname)?;
        if !(1..=limits::TIMEOUT).contains(&self.timeout) {
            return Err(format!(
                "`timeout` must be from 1 to {} seconds, not {}",
                limits::TIMEOUT,
                self.timeout
            ));
        }
        if self.truncate_output_at > limits::OUTPUT_BYTES {
            return Err(format!(
                "`truncate_output_at` must be at most {}, not {}",
                limits::OUTPUT_BYTES,
                self.truncate_output_at
            ));
        }
        if !(1..=limits::MOST_LAYER_BYTES).contains(&self.max_layer_bytes()) {
            return Err(format!(
                "`max_layer_bytes` must be from 1 to {}, not {}",
                limits::MOST_LAYER_BYTES,
                self.max_layer_bytes()
            ));
        }
        if let Some(limits) = &self.x_limits {
            limits.check()?;
        }
        if let Some(why) = ControlGroups::get().refusal(&self.sandbox_limits()) {
            return Err(format!("`x-limits` cannot be enforced here: {why}"));
        }
        if single {
            let others = self
                .files
                .values()
                .map(|file| (file.uid, file.gid))
                .chain([(self.uid, self.gid)]);
            if others.into_iter().any(|ids| ids != (0, 0)) {
                return Err("this machine gives the embedded engine a single user id, so `uid` and `gid` can only be 0; \
                            for more, install newuidmap (Debian: uidmap), give this user entries in /etc/subuid and /etc/subgid, \
                            and use a new data directory (CONTREE_DATA_DIR)"
                    .to_owned());
            }
        }
        for (path, file) in &self.files {
            if !path.starts_with('/') || path.ends_with('/') || zero(path) {
                return Err(format!(
                    "`files` takes absolute paths of files, not `{}`",
                    path.escape_debug()
                ));
            }
            file.mode()?;
        }
        self.stdin_bytes()?;
        Ok(())
    }
}

impl EngineLimits {
    fn check(&self) -> Result<(), String> {
        if let Some(bytes) = self.memory_bytes
            && !limits::MEMORY_BYTES.contains(&bytes)
        {
            return Err(format!(
                "`x-limits.memory_bytes` must be from {} to {}, not {bytes}",
                limits::MEMORY_BYTES.start(),
                limits::MEMORY_BYTES.end()
            ));
        }
        if let Some(cpus) = self.cpus
            && !limits::CPUS.contains(&cpus)
        {
            return Err(format!(
                "`x-limits.cpus` must be from {} to {}, not {cpus}",
                limits::CPUS.start(),
                limits::CPUS.end()
            ));
        }
        if let Some(processes) = self.processes
            && !(limits::FEWEST_PROCESSES..=limits::PROCESSES).contains(&processes)
        {
            return Err(format!(
                "`x-limits.processes` must be from {} to {}, not {processes}",
                limits::FEWEST_PROCESSES,
                limits::PROCESSES
            ));
        }
        Ok(())
    }
}

fn check_hostname(name: &str) -> Result<(), String> {
    let label = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !part.starts_with('-')
    };
    if name.len() <= 64 && name.split('.').all(label) {
        return Ok(());
    }
    Err(format!(
        "`hostname` takes at most 64 letters, digits, `-` and `.`, not `{}`",
        name.escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::tests::request;

    #[test]
    fn bad_requests_are_told_what_is_wrong() {
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
            let error = request(extra).check(false).expect_err(word);
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(request(serde_json::json!({"uid": 5})).check(false), Ok(()));
        assert!(
            request(serde_json::json!({"uid": 5}))
                .check(true)
                .expect_err("single")
                .contains("newuidmap")
        );
    }
}
