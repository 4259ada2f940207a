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

/// Downloads `/text` and returns the path of the saved file below `home`.
fn saved_at(raw: &mut RawClient, home: &Path, destination: &str) -> String {
    let saved = raw.call_ok("download", save(destination));
    let path = PathBuf::from(saved["destination"].as_str().unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\nthree\n");
    let home = home.canonicalize().unwrap();
    let below = path.strip_prefix(home).unwrap().to_str().unwrap();
    below.to_owned()
}

#[test]
fn in_a_directory_the_file_keeps_its_name() {
    let setting = Setting::new();
    let home = setting.home.path();
    fs::create_dir_all(home.join("there/below")).unwrap();
    std::os::unix::fs::symlink("there", home.join("link")).unwrap();
    let mut raw = setting.server(&[]);
    for (destination, expected) in [
        ("~", "text"),
        ("~/", "text"),
        ("~/there", "there/text"),
        ("~/there/", "there/text"),
        ("~/there//", "there/text"),
        ("~/there/.", "there/text"),
        ("~/there/below/..", "there/text"),
        ("~/link", "there/text"),
        ("~/link/", "there/text"),
        ("~/new/", "new/text"),
        ("~/new/deep/er/", "new/deep/er/text"),
        ("~/newer/.", "newer/text"),
        ("~/plain", "plain"),
        ("~/newest/plain", "newest/plain"),
    ] {
        assert_eq!(
            saved_at(&mut raw, home, destination),
            expected,
            "{destination}"
        );
    }
}

#[test]
fn a_file_where_a_directory_must_be_is_a_clear_error() {
    let setting = Setting::new();
    let home = setting.home.path();
    fs::write(home.join("file"), "mine").unwrap();
    std::os::unix::fs::symlink("file", home.join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", home.join("broken")).unwrap();
    let pipe = std::process::Command::new("mkfifo")
        .arg(home.join("pipe"))
        .status();
    assert!(pipe.unwrap().success());
    let mut raw = setting.server(&[]);
    for destination in [
        "~/file/",
        "~/file/.",
        "~/file/below",
        "~/file/below/",
        "~/file/far/below",
        "~/link/",
        "~/link/below",
        "~/pipe/",
        "~/pipe/below",
    ] {
        let error = raw.call_error("download", save(destination));
        assert!(
            error.contains("is not a directory, so nothing can be saved below it"),
            "{destination}: {error}"
        );
    }
    let error = raw.call_error("download", save("~/broken/x"));
    assert!(error.contains("link to a missing directory"), "{error}");
    for (destination, words) in [
        ("", "`destination` must be absolute"),
        (".", "`destination` must be absolute"),
        ("text", "`destination` must be absolute"),
        ("~root/x", "another user"),
        ("~/pipe", "is not a regular file"),
        ("~/broken", "link to a missing file"),
    ] {
        let error = raw.call_error("download", save(destination));
        assert!(error.contains(words), "{destination}: {error}");
    }
    assert_eq!(fs::read(home.join("file")).unwrap(), b"mine");
    let names = fs::read_dir(home).unwrap().count();
    assert!(names <= 5, "{names} entries: something was created");
}

#[test]
fn a_saved_file_is_as_secret_as_in_the_image_and_as_the_replaced_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let setting = Setting::new();
    let mut raw = setting.server(&[]);
    let path = setting.home.path().join("saved");
    let mut saved_mode = |name: &str, before: Option<u32>, executable: bool| {
        let _ = fs::remove_file(&path);
        if let Some(mode) = before {
            fs::write(&path, "before").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let arguments = json!({"image": "tag:base", "path": format!("/modes/{name}"),
                               "destination": path, "executable": executable});
        raw.call_ok("download", arguments);
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777
    };
    // New files, whatever the umask of the test.
    assert_eq!(saved_mode("secret", None, false), 0o600);
    assert_eq!(saved_mode("link", None, false), 0o600);
    assert_eq!(saved_mode("far", None, false), 0o600);
    assert_eq!(saved_mode("read-only", None, false), 0o400);
    assert_eq!(saved_mode("script", None, false) & !0o044, 0o600);
    assert_eq!(saved_mode("group", None, false) & !0o040, 0o600);
    assert_eq!(saved_mode("secret", None, true) & 0o700, 0o700);
    // A file that cannot be found in the listing has the default permissions.
    assert_eq!(saved_mode("loop", None, false) & 0o600, 0o600);
    // Files that are replaced.
    assert_eq!(saved_mode("script", Some(0o600), false), 0o600);
    assert_eq!(saved_mode("script", Some(0o664), false), 0o664);
    assert_eq!(saved_mode("secret", Some(0o644), false), 0o600);
    assert_eq!(saved_mode("loop", Some(0o640), false), 0o640);
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
