//! Local files through the real program: which of them `download` writes and `upload` reads.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::Home;
use crate::support::raw::RawClient;
use crate::support::stub::Stub;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A stub of a service, and a home directory for servers that use it.
struct Setting {
    stub: Stub,
    url: String,
    home: Home,
    _runtime: Runtime,
}

impl Setting {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let stub = Stub::default();
        let url = runtime.block_on(stub.start());
        Self {
            stub,
            url,
            home: Home::new(),
            _runtime: runtime,
        }
    }

    /// Starts a server that may access only these paths, or everything if there are none.
    fn server(&self, allowed: &[PathBuf]) -> RawClient {
        let mut command = self.home.command_for(&self.url);
        for path in allowed {
            command.arg("--allow-path").arg(path);
        }
        RawClient::initialized(command, "2025-11-25")
    }
}

fn save(path: impl AsRef<Path>) -> Value {
    json!({"image": "tag:base", "path": "/text", "destination": path.as_ref()})
}

#[test]
fn files_that_run_by_themselves_are_not_written() {
    let setting = Setting::new();
    let home = setting.home.path();
    fs::write(home.join(".bashrc"), "mine").unwrap();
    let mut raw = setting.server(&[]);
    setting.stub.take_requests();
    for path in [
        "~/.bashrc",
        "~/.profile",
        "~/.config/autostart/x.desktop",
        "~/.config/systemd/user/x.service",
        "~/.local/bin/ls",
        "~/project/.git/hooks/pre-commit",
        "~/project/.vscode/tasks.json",
        "~/project/.mcp.json",
        "~/project/.claude/settings.json",
        "~/project/.envrc",
        "/etc/cron.d/x",
        "/var/spool/cron/crontabs/root",
    ] {
        let error = raw.call_error("download", save(path));
        assert!(
            error.contains("by itself") && error.contains("--allow-path"),
            "{path}: {error}"
        );
    }
    assert_eq!(setting.stub.take_requests(), [], "nothing was requested");
    assert_eq!(fs::read(home.join(".bashrc")).unwrap(), b"mine");
    for missing in [".config", ".local", "project"] {
        assert!(!home.join(missing).exists(), "{missing} was created");
    }
    let mut raw = setting.server(&[home.join(".bashrc")]);
    let saved = raw.call_ok("download", save("~/.bashrc"));
    assert_eq!(saved["replaced"], true, "{saved}");
}

#[test]
fn a_replaced_file_is_reported() {
    let setting = Setting::new();
    let mut raw = setting.server(&[]);
    let path = setting.home.path().join("new/file");
    let first = raw.call_ok("download", save(&path));
    assert_eq!(first.get("replaced"), None, "{first}");
    let result = raw.call("download", save(&path));
    assert_eq!(result["structuredContent"]["replaced"], true, "{result}");
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("replaced an existing file"), "{text}");
}

#[test]
fn credentials_of_every_user_are_not_sent() {
    let setting = Setting::new();
    let home = setting.home.path();
    for file in [
        ".vault-token",
        ".config/rclone/rclone.conf",
        ".bash_history",
    ] {
        let path = home.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "a key").unwrap();
    }
    let mut raw = setting.server(&[]);
    setting.stub.take_requests();
    for path in [
        "~/.vault-token",
        "~/.config/rclone/rclone.conf",
        "~/.bash_history",
        "/root/.ssh/id_ed25519",
        "/home/somebody/.aws/credentials",
    ] {
        let error = raw.call_error("upload", json!({"path": path}));
        assert!(error.contains("credentials"), "{path}: {error}");
    }
    assert_eq!(setting.stub.take_requests(), [], "nothing was sent");
}
