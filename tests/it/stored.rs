//! Data directories and state stores of earlier releases, opened by the current program.
//!
//! `tests/stored/make.sh` makes one archive for each release. An archive contains data for each
//! kind of id map; the tests use the kind of the user who runs them. Archives are never removed.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use contree::engine::LocalConfig;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::engine::registry::{Authentication, Image, Layer, Packing, Registry};
use crate::engine::support::{TestEngine, data_dir, frames};
use crate::support::raw::RawClient;
use crate::support::{Home, repository};

/// The data of a release, restored for the user who runs the tests.
struct StoredRelease {
    directory: TempDir,
    map: Value,
    /// The facts that the release recorded about its data.
    facts: Value,
}

impl StoredRelease {
    /// Restores the data of each release. The list is empty if the releases stored no data for this
    /// user's kind of id map.
    fn all() -> Vec<Self> {
        let map = id_map();
        let kind = match (map["kind"].as_str(), map["writer"].as_str()) {
            (Some("range"), Some("root")) => "root",
            (Some("range"), Some("helper")) => "sub",
            (Some("single"), Some("own")) => "single",
            // The root user of a container with too few ids.
            _ => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "no release stored data with the id map {map}"
                );
                eprintln!("no release stored data with the id map {map}");
                return Vec::new();
            }
        };
        let mut archives: Vec<PathBuf> = fs::read_dir(repository().join("tests/stored"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "zst"))
            .collect();
        archives.sort();
        assert!(!archives.is_empty());
        let restore = |path: &PathBuf| Self::restore(path, kind, &map);
        archives.iter().map(restore).collect()
    }

    fn restore(archive: &Path, kind: &str, map: &Value) -> Self {
        let mut stored = Self {
            directory: data_dir(),
            map: map.clone(),
            facts: Value::Null,
        };
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--preserve-permissions", "--numeric-owner"])
            .args(["--xattrs", "--xattrs-include=*", "--file=-", "--directory"])
            .arg(stored.directory.path());
        if kind == "single" {
            tar.arg("--no-same-owner");
        }
        let mut child = stored.start(tar);
        let mut input = child.stdin.take().unwrap();
        input.write_all(&data_of(archive, kind)).unwrap();
        drop(input);
        assert!(child.wait().unwrap().success());
        if kind != "root" {
            stored.give_to_this_user();
        }
        let facts = fs::read(stored.path("facts.json")).unwrap();
        stored.facts = serde_json::from_slice(&facts).unwrap();
        stored
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a command with a pipe to its input and with rights over the ids of this user's
    /// sandboxes.
    ///
    /// Subordinate ids are only accessible in a user namespace, in which they have the same numbers
    /// as in a sandbox.
    fn start(&self, command: Command) -> Child {
        if self.map["writer"] != "helper" {
            let mut command = command;
            return command.stdin(Stdio::piped()).spawn().unwrap();
        }
        let mut child = Command::new("unshare")
            .args(["--user", "sh", "-c"])
            .arg("echo here && read -r mapped && exec \"$@\"")
            .arg("sh")
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The namespace exists once the shell runs.
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "here\n");
        for (program, extents) in [("newuidmap", "uids"), ("newgidmap", "gids")] {
            let numbers = self.map[extents].as_array().unwrap().iter().flat_map(|e| {
                ["inside", "outside", "count"].map(|field| e[field].as_u64().unwrap().to_string())
            });
            let status = Command::new(program)
                .arg(child.id().to_string())
                .args(numbers)
                .status();
            assert!(status.unwrap().success(), "{program}");
        }
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        child
    }

    /// Writes this user's ids into the data directory's id map.
    fn give_to_this_user(&self) {
        let path = self.path("data/idmap");
        let mut recorded: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for field in ["engine", "uids", "gids"] {
            recorded[field] = self.map[field].clone();
        }
        fs::write(&path, recorded.to_string() + "\n").unwrap();
    }

    /// The settings of an engine on this data. Retention is off, since the data is old.
    fn config(&self) -> LocalConfig {
        let mut config = LocalConfig::new(self.path("data"));
        config.retention_days = Some(0);
        config
    }

    async fn engine(&self) -> TestEngine {
        // The engine's test helper removes its own directory, so it gets an empty one.
        TestEngine::with(self.config(), data_dir()).await
    }

    fn session(&self) -> RawClient {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contree-mcp"));
        command.env_clear();
        for name in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", self.directory.path())
            .env("CONTREE_DATA_DIR", self.path("data"))
            .env("CONTREE_STATE_DIR", self.path("state"))
            .env("CONTREE_RETENTION_DAYS", "0")
            .current_dir(self.directory.path());
        RawClient::initialized(command, "2025-11-25")
    }

    /// Opens the state store directly with SQLite.
    fn state(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path("state/store.db")).unwrap()
    }

    fn image(&self, name: &str) -> &str {
        self.facts["images"][name].as_str().unwrap()
    }
}

impl Drop for StoredRelease {
    fn drop(&mut self) {
        // This user may not remove files of subordinate ids directly.
        let mut command = Command::new("rm");
        command.args(["-rf", "--"]).arg(self.path("data"));
        let _ = self.start(command).wait();
    }
}

/// The id map that the program chooses for this user, read from a data directory.
fn id_map() -> Value {
    let home = Home::new();
    let tarball = home.path().join("rootfs.tar");
    fs::write(&tarball, Layer::new().file("file", "").bytes()).unwrap();
    let output = home
        .command()
        .args(["call", "import_image"])
        .arg(format!("registry_url=rootfs:{}", tarball.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let recorded = fs::read(home.path().join("data/idmap")).unwrap();
    serde_json::from_slice(&recorded).unwrap()
}

/// The tar for a kind of id map in the archive of a release.
fn data_of(archive: &Path, kind: &str) -> Vec<u8> {
    let file = File::open(archive).unwrap();
    let decoded = ruzstd::decoding::StreamingDecoder::new(file).unwrap();
    let mut archive = tar::Archive::new(decoded);
    let name = format!("{kind}.tar");
    let mut entry = archive
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.path_bytes() == name.as_bytes())
        .unwrap();
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Checks that `now` contains everything in `recorded`. A later release may add fields.
fn assert_within(recorded: &Value, now: &Value, about: &str) {
    match (recorded, now) {
        (Value::Object(recorded), Value::Object(now)) => {
            // The size and the link count of a directory depend on the file system, and tar keeps
            // no hard links of pipes.
            let is = |key: &str| recorded.get(key) == Some(&Value::Bool(true));
            let may_differ = |key: &str| match key {
                "size" => is("is_dir"),
                "nlink" => is("is_dir") || is("is_fifo"),
                _ => false,
            };
            for (key, value) in recorded {
                if may_differ(key) {
                    continue;
                }
                let now = now.get(key).unwrap_or(&Value::Null);
                assert_within(value, now, &format!("{about}: {key}"));
            }
        }
        (Value::Array(recorded), Value::Array(now)) => {
            assert_eq!(recorded.len(), now.len(), "{about}");
            for (index, (recorded, now)) in recorded.iter().zip(now).enumerate() {
                assert_within(recorded, now, &format!("{about}: {index}"));
            }
        }
        (recorded, now) => assert_eq!(recorded, now, "{about}"),
    }
}

#[tokio::test]
async fn records_images_files_and_events_are_unchanged() {
    for stored in StoredRelease::all() {
        let local = stored.engine().await;
        for (path, recorded) in stored.facts["answers"].as_object().unwrap() {
            let now = local.get(path).await;
            assert_eq!(recorded["status"], now.status, "{path}: {now:?}");
            assert_within(&recorded["body"], &now.json, path);
        }
        for (path, recorded) in stored.facts["files"].as_object().unwrap() {
            let now = local.get(&format!("/inspect/{path}")).await;
            assert_eq!(recorded["status"], now.status, "{path}: {now:?}");
            if let Some(text) = recorded["text"].as_str() {
                assert_eq!(now.text, text, "{path}");
            }
        }
        for (operation, recorded) in stored.facts["events"].as_object().unwrap() {
            let recorded = Value::Array(frames(recorded.as_str().unwrap()));
            let now = Value::Array(local.events(operation, "", None).await);
            assert_within(&recorded, &now, operation);
        }
        let uploaded = local.upload(
            stored.facts["upload"]["content"]
                .as_str()
                .unwrap()
                .as_bytes(),
        );
        assert_eq!(uploaded.await["uuid"], stored.facts["upload"]["uuid"]);
    }
}

/// The images contain a program for x86-64.
#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn commands_run_on_stored_images_and_see_deletions() {
    for stored in StoredRelease::all() {
        let local = stored.engine().await;
        let looks = "has /srv/removed ; has /srv/old ; has /srv/replaced/before ; cat /srv/replaced/after ; cat /new/file ; cat /placed ; \
            cat /steps/40 ; has /steps/39 ; has /new/linked ; getattr /srv/attributes user.note ; getattr /new/file user.note ; cat /last";
        let changes = format!("{looks} ; rm /last ; rm /placed ; chmod 0644 /new/file");
        let image = stored.image("last");
        let done = local
            .run(&changes, json!({"image": image, "disposable": false}))
            .await;
        let seen = "/srv/removed no\n/srv/old no\n/srv/replaced/before no\nafter\nwritten\nuploaded\n40\n/steps/39 no\n/new/linked no\n\
            noted\nkept\nlast\n";
        assert_eq!(
            (done.stdout.as_str(), done.exit_code),
            (seen, 0),
            "{done:?}"
        );
        let next = local
            .run(
                "has /last ; has /placed ; cat /new/file ; has /srv/removed",
                json!({"image": done.result}),
            )
            .await;
        assert_eq!(
            next.stdout,
            "/last no\n/placed no\nwritten\n/srv/removed no\n"
        );
        // The image and its parents are unchanged.
        let again = local.run(looks, json!({"image": "tag:stored/last"})).await;
        assert_eq!(again.stdout, seen);
        let base = local
            .run(
                "cat /srv/removed ; has /srv/old/deep/file ; has /new",
                json!({"image": stored.image("base")}),
            )
            .await;
        assert_eq!(base.stdout, "removed\n/srv/old/deep/file yes\n/new no\n");
        let file = json!({"/again": {"uuid": stored.facts["upload"]["uuid"]}});
        let placed = local
            .run(
                "cat /again",
                json!({"image": stored.image("step"), "files": file}),
            )
            .await;
        assert_eq!(placed.stdout, "uploaded\n");
    }
}

#[test]
fn lineage_and_cached_answers_are_kept() {
    for stored in StoredRelease::all() {
        let mut raw = stored.session();
        let image = stored.image("placed");
        let uri = format!("contree://image/{image}/lineage");
        let answer = raw.request("resources/read", json!({"uri": uri}));
        let text = answer["result"]["contents"][0]["text"].as_str();
        let now: Value = serde_json::from_str(text.unwrap_or_else(|| panic!("{answer}"))).unwrap();
        assert_within(&stored.facts["lineage"], &now, "lineage");

        let contents = |state: &rusqlite::Connection| -> (i64, i64) {
            let count = "SELECT count(*), max(used_at) FROM contents";
            let row = state.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?)));
            row.unwrap()
        };
        let (count, used) = contents(&stored.state());
        assert!(count > 0);
        let read = &stored.facts["read"];
        let answer = raw.call_ok(
            "read_file",
            json!({"image": read["image"], "path": read["path"]}),
        );
        assert_within(&read["answer"], &answer, "read_file");
        raw.close_input();
        raw.exit(crate::support::raw::ANSWER_TIMEOUT);
        let (now, last) = contents(&stored.state());
        assert_eq!(now, count, "nothing was read anew");
        assert!(last > used, "what was kept is what was read");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn an_unchanged_directory_is_not_sent_again() {
    for stored in StoredRelease::all() {
        let mut raw = stored.session();
        let sent = raw.call_ok(
            "rsync",
            json!({"source": stored.path("tree"), "destination": "/app", "exclude": ["*.none"]}),
        );
        assert_eq!((&sent["files"], &sent["uploaded"]), (&json!(3), &json!(0)));
        for state in [&stored.facts["rsync"], &sent] {
            let state = &state["directory_state_id"];
            let seen = raw.call_ok(
                "run",
                json!({"image": stored.image("base"), "command": "cat /app/a.txt ; cat /app/deep/er/b.txt ; cat /app/bin/tool",
                       "directory_state_id": state}),
            );
            assert_eq!(seen["stdout"], "a\nb\n#!/bin/sh\n", "{seen}");
        }
        // A new image has the stored image as its parent.
        let parent = stored.image("other");
        let child = raw.call_ok(
            "run",
            json!({"image": parent, "command": "rm /other", "disposable": false}),
        );
        let uri = format!(
            "contree://image/{}/lineage",
            child["result_image_uuid"].as_str().unwrap()
        );
        let answer = raw.request("resources/read", json!({"uri": uri}));
        let text = answer["result"]["contents"][0]["text"].as_str().unwrap();
        let found: Value = serde_json::from_str(text).unwrap();
        let ancestors = json!([parent, stored.image("written"), stored.image("base")]);
        assert_eq!(found["ancestors"], ancestors, "{found}");
    }
}

#[test]
fn stored_credentials_are_still_used() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for stored in StoredRelease::all() {
        let registry = runtime.block_on(Registry::start(Authentication::Basic));
        let layer = Layer::new().file("file", "").bytes();
        registry.push("one", &Image::new(&[(layer, Packing::Gzip)], &[]));
        // The registry of that time had another port.
        let moved = stored
            .state()
            .execute("UPDATE credentials SET registry = ?1", [&registry.address]);
        assert_eq!(moved.unwrap(), 1);
        let mut raw = stored.session();
        let imported = raw.call_ok("import_image", json!({"registry_url": registry.url("one")}));
        assert_eq!(imported["status"], "SUCCESS", "{imported}");
        let refused = raw.call_error(
            "import_image",
            json!({"registry_url": "docker://127.0.0.1:1/a/b"}),
        );
        assert!(refused.contains("registry_auth"), "{refused}");
    }
}
