//! Requests to run a command: read, checked and completed with what the image saves.

use std::collections::BTreeMap;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contree_sandbox::ControlGroups;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::rows::images::Image;
use super::{DEFAULT_PATH, limits};

/// The body of `POST /instances`, after the API document's `InstanceSpawnRequest`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SpawnRequest {
    pub(super) command: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) shell: bool,
    pub(super) image: String,
    #[serde(default)]
    pub(super) disposable: bool,
    #[serde(default = "default_hostname")]
    pub(super) hostname: String,
    /// A null value removes the variable.
    #[serde(default)]
    pub(super) env: Option<BTreeMap<String, Option<String>>>,
    #[serde(default)]
    pub(super) preserve_env: bool,
    #[serde(default)]
    pub(super) preserve_cwd: bool,
    #[serde(default)]
    pub(super) cwd: String,
    #[serde(default)]
    pub(super) uid: u32,
    #[serde(default)]
    pub(super) gid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resources_limits: Option<Limits>,
    #[serde(default, rename = "x-limits", skip_serializing_if = "Option::is_none")]
    pub(super) x_limits: Option<SandboxLimits>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) networking: Option<Networking>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stdin: Option<Stdin>,
    #[serde(default = "default_timeout")]
    pub(super) timeout: u64,
    #[serde(default = "default_truncate")]
    pub(super) truncate_output_at: u64,
    #[serde(default)]
    pub(super) files: BTreeMap<String, Placed>,
}

/// The body of `POST …/subprocesses`, after the API document's `ExecSpec`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ExecRequest {
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
pub(super) struct Limits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max_layer_bytes: Option<u64>,
}

/// `x-limits`, which the hosted service does not have.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SandboxLimits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpus: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    processes: Option<u32>,
}

/// `networking`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Networking {
    #[serde(default = "yes")]
    pub(super) enabled: bool,
}

/// `stdin`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stdin {
    pub(super) value: String,
    #[serde(default)]
    pub(super) encoding: Encoding,
    #[serde(default = "yes")]
    pub(super) close: bool,
}

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    /// As they are.
    #[default]
    Ascii,
    /// RFC 4648, section 4.
    Base64,
}

/// One of `files`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Placed {
    pub(super) uuid: Uuid,
    #[serde(default)]
    pub(super) uid: u32,
    #[serde(default)]
    pub(super) gid: u32,
    #[serde(default = "default_mode")]
    pub(super) mode: String,
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

/// An image as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// By its UUID.
    Uuid(Uuid),
    /// By a tag, without the prefix `tag:`.
    Tag(String),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("tag:") {
            Some(tag) => check_tag(tag).map(|()| Self::Tag(tag.to_owned())),
            None => Uuid::parse_str(text)
                .map(Self::Uuid)
                .map_err(|_| format!("`image` must be a UUID or `tag:NAME`, not `{text}`")),
        }
    }
}

/// Checks a tag: segments of letters, digits, `_` and `-`, joined by `:`, `/` or `.`.
pub(super) fn check_tag(tag: &str) -> Result<(), String> {
    let segment = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    let first = tag
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    if first && tag.len() <= limits::TAG_BYTES && tag.split([':', '/', '.']).all(segment) {
        return Ok(());
    }
    Err(format!(
        "`{tag}` is no tag: it takes segments of letters, digits, `_` and `-`, joined by `:`, `/` or `.`, \
         begins with a letter or digit, and has at most {} bytes",
        limits::TAG_BYTES
    ))
}

impl SpawnRequest {
    /// Checks what no type says. `single` is whether the store has one user id alone.
    pub(super) fn check(&self, single: bool) -> Result<(), String> {
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

    /// How many bytes the command may write to its filesystem.
    pub(super) fn max_layer_bytes(&self) -> u64 {
        self.resources_limits
            .as_ref()
            .and_then(|limits| limits.max_layer_bytes)
            .unwrap_or(limits::LAYER_BYTES)
    }

    /// What the sandbox as a whole must be held to.
    pub(super) fn sandbox_limits(&self) -> contree_sandbox::Limits {
        let asked = self.x_limits.clone().unwrap_or_default();
        contree_sandbox::Limits {
            memory_bytes: asked.memory_bytes,
            processes: asked.processes,
            cpus: asked.cpus,
        }
    }

    /// The bytes for standard input.
    pub(super) fn stdin_bytes(&self) -> Result<Vec<u8>, String> {
        self.stdin.as_ref().map_or(Ok(Vec::new()), Stdin::bytes)
    }

    /// Whether standard input stays open after the bytes given.
    pub(super) fn keeps_stdin(&self) -> bool {
        self.stdin.as_ref().is_some_and(|stdin| !stdin.close)
    }

    /// Where the command starts: as asked, else as the image saved, else `/`.
    pub(super) fn start_directory(&self, image: &Image) -> String {
        [&self.cwd, &image.cwd]
            .into_iter()
            .find(|path| !path.is_empty())
            .map_or_else(|| "/".to_owned(), Clone::clone)
    }

    /// The command's environment: with a shell the image's under the request's, else the request's alone; `PATH` always.
    pub(super) fn environment(&self, image: &Image) -> BTreeMap<String, String> {
        let mut env = if self.shell {
            image.env.clone()
        } else {
            BTreeMap::new()
        };
        for (name, value) in self.env.iter().flatten() {
            match value {
                Some(value) => env.insert(name.clone(), value.clone()),
                None => env.remove(name),
            };
        }
        let unset = |name: &str| {
            self.env
                .iter()
                .flatten()
                .any(|(n, v)| n == name && v.is_none())
        };
        if !env.contains_key("PATH") && !unset("PATH") {
            env.insert("PATH".to_owned(), DEFAULT_PATH.to_owned());
        }
        if self.shell && !env.contains_key("HOME") && !unset("HOME") {
            env.insert(
                "HOME".to_owned(),
                if self.uid == 0 { "/root" } else { "/" }.to_owned(),
            );
        }
        env
    }

    /// The program and its arguments.
    pub(super) fn program(&self, env: &BTreeMap<String, String>) -> (String, Vec<String>) {
        if !self.shell {
            return (self.command.clone(), self.args.clone());
        }
        let shell = env
            .get("SHELL")
            .filter(|shell| !shell.is_empty())
            .map_or("/bin/sh", String::as_str);
        (
            shell.to_owned(),
            vec!["-c".to_owned(), self.command.clone()],
        )
    }

    /// What the result image saves as its environment: an empty or null value removes a variable.
    pub(super) fn saved_env(&self, image: &Image) -> BTreeMap<String, String> {
        let mut env = image.env.clone();
        if self.preserve_env {
            for (name, value) in self.env.iter().flatten() {
                match value.as_deref().filter(|value| !value.is_empty()) {
                    Some(value) => env.insert(name.clone(), value.to_owned()),
                    None => env.remove(name),
                };
            }
        }
        env
    }

    /// What the result image saves as its working directory.
    pub(super) fn saved_cwd(&self, image: &Image) -> String {
        if self.preserve_cwd {
            self.start_directory(image)
        } else {
            image.cwd.clone()
        }
    }
}

impl SandboxLimits {
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

impl Stdin {
    /// The bytes that its text stands for.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, String> {
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
    pub(super) fn into_spawn(self) -> SpawnRequest {
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
    pub(super) fn mode(&self) -> Result<u32, String> {
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
    use super::*;

    fn request(extra: serde_json::Value) -> SpawnRequest {
        let mut body = serde_json::json!({"command": "true", "image": "tag:host"});
        body.as_object_mut()
            .expect("an object")
            .extend(extra.as_object().expect("an object").clone());
        serde_json::from_value(body).expect("a request")
    }

    fn image() -> Image {
        Image {
            uuid: Uuid::nil(),
            layer: 1,
            env: BTreeMap::from([
                ("A".to_owned(), "image".to_owned()),
                ("B".to_owned(), "image".to_owned()),
            ]),
            cwd: "/saved".to_owned(),
            operation: None,
            lost: false,
            created_at: chrono::Utc::now(),
        }
    }

    #[test]
    fn tags() {
        for good in ["host", "a/b:c.d", "A-1_x", "0"] {
            assert_eq!(check_tag(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "_a", "a//b", "a:", "a b", "ä", ":a", "a\n"] {
            assert!(check_tag(bad).is_err(), "{bad}");
        }
    }

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

    #[test]
    fn a_shell_sees_the_images_environment_and_a_program_does_not() {
        let env = serde_json::json!({"env": {"B": "request", "A": null}});
        let shell = SpawnRequest {
            shell: true,
            ..request(env.clone())
        }
        .environment(&image());
        assert_eq!(shell.get("B").map(String::as_str), Some("request"));
        assert_eq!(shell.get("A"), None);
        assert!(shell.contains_key("PATH") && shell.contains_key("HOME"));
        let plain = request(env).environment(&image());
        assert_eq!(plain.keys().collect::<Vec<_>>(), ["B", "PATH"]);
    }

    #[test]
    fn saved_environment_changes_only_when_asked() {
        let change = request(serde_json::json!({"env": {"A": "", "C": "new"}}));
        assert_eq!(change.saved_env(&image()), image().env);
        let kept = SpawnRequest {
            preserve_env: true,
            ..change
        }
        .saved_env(&image());
        assert_eq!(kept.get("A"), None);
        assert_eq!(kept.get("C").map(String::as_str), Some("new"));
    }

    #[test]
    fn the_start_directory_falls_back() {
        assert_eq!(
            request(serde_json::json!({"cwd": "/x"})).start_directory(&image()),
            "/x"
        );
        assert_eq!(
            request(serde_json::json!({})).start_directory(&image()),
            "/saved"
        );
        assert_eq!(
            request(serde_json::json!({"cwd": "/x", "preserve_cwd": true})).saved_cwd(&image()),
            "/x"
        );
    }
}
