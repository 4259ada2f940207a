//! Sending directories through the real program: new and changed files, skipped files, and changes
//! on either side.
#![cfg(unix)]

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::Home;
use crate::support::raw::RawClient;
use crate::support::stub::Stub;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

struct Session {
    raw: RawClient,
    stub: Stub,
    url: String,
    home: Home,
    _runtime: Runtime,
}

impl Session {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let stub = Stub::default();
        let url = runtime.block_on(stub.start());
        let home = Home::new();
        let raw = RawClient::initialized(home.command_for(&url), "2025-11-25");
        stub.check_files();
        Self {
            raw,
            stub,
            url,
            home,
            _runtime: runtime,
        }
    }

    fn tree(&self) -> PathBuf {
        let tree = self.home.path().join("tree");
        fs::create_dir_all(&tree).unwrap();
        tree
    }

    fn sync(&mut self, source: &Path) -> Value {
        self.raw
            .call_ok("rsync", json!({"source": source, "destination": "/app"}))
    }

    /// Returns the number of requests since the last call, and how many of them were uploads.
    fn requests(&self) -> (usize, usize) {
        let requests = self.stub.take_requests();
        let uploads = requests
            .iter()
            .filter(|(method, path)| method == "POST" && path == "/v1/files");
        (requests.len(), uploads.count())
    }

    /// Runs with a directory state and returns the files of the run's request.
    fn run_files(&mut self, state: &Value) -> Value {
        self.raw.call_ok(
            "run",
            json!({"image": "tag:base", "command": "x", "directory_state_id": state["directory_state_id"]}),
        );
        self.stub.spawned().last().unwrap()["files"].clone()
    }
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn unchanged_files_are_not_sent_again() {
    let mut session = Session::new();
    let tree = session.tree();
    for n in 0..300 {
        // Two files of each content.
        write(
            &tree.join(format!("{}/{n}", n % 7)),
            &format!("content {}", n / 2),
        );
    }
    let first = session.sync(&tree);
    assert_eq!(
        (&first["files"], &first["uploaded"]),
        (&json!(300), &json!(150))
    );
    assert_eq!(session.requests().1, 150, "each content is sent once");
    let again = session.sync(&tree);
    assert_eq!(again["uploaded"], 0);
    assert_eq!(again["directory_state_id"], first["directory_state_id"]);
    assert_eq!(
        session.requests(),
        (0, 0),
        "an unchanged directory needs no request"
    );

    write(&tree.join("3/3"), "changed");
    let changed = session.sync(&tree);
    assert_eq!(session.requests().1, 1, "one file changed");
    assert_ne!(changed["directory_state_id"], first["directory_state_id"]);

    // Another server with the same state directory sends nothing either.
    let mut other = RawClient::initialized(session.home.command_for(&session.url), "2025-11-25");
    let there = other.call_ok("rsync", json!({"source": tree, "destination": "/app"}));
    assert_eq!(there["directory_state_id"], changed["directory_state_id"]);
    assert_eq!(session.requests(), (0, 0));
}

#[test]
fn what_gitignore_files_exclude_is_not_sent_and_named() {
    let mut session = Session::new();
    let tree = session.tree();
    // A file above the source does not count, not even if it excludes the source.
    write(&session.home.path().join(".gitignore"), "tree\n*.rs\n");
    write(&tree.join(".gitignore"), ".env\ntarget/\n*.log\n");
    write(&tree.join("sub/.gitignore"), "!keep.log\nlocal\n");
    for path in [
        "main.rs",
        ".env",
        "a.log",
        "target/deep/x",
        "sub/.env",
        "sub/keep.log",
        "sub/local",
        "other/local",
    ] {
        write(&tree.join(path), path);
    }
    let mut sent = |arguments: Value| {
        let mut all = json!({"source": tree, "destination": "/app"});
        let more = arguments.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(more);
        let state = session.raw.call_ok("rsync", all);
        let files = session.run_files(&state);
        let paths: Vec<String> = files.as_object().unwrap().keys().cloned().collect();
        (state, paths)
    };
    let (state, paths) = sent(json!({}));
    let kept = [
        "/app/.gitignore",
        "/app/main.rs",
        "/app/other/local",
        "/app/sub/.gitignore",
        "/app/sub/keep.log",
    ];
    assert_eq!(paths, kept);
    assert_eq!(
        state["skipped_counts"],
        json!({"excluded by .gitignore": 5})
    );
    let named: Vec<&str> = state["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skipped| skipped["path"].as_str().unwrap())
        .collect();
    assert_eq!(named, [".env", "a.log", "sub/.env", "sub/local", "target"]);

    let (state, paths) = sent(json!({"gitignore": false}));
    assert_eq!(paths.len(), 10, "{paths:?}");
    assert_eq!(state.get("skipped_counts"), None, "{state}");
    // The patterns of the call come first.
    let (_, paths) = sent(json!({"exclude": ["!/.env", "main.rs"]}));
    assert!(paths.contains(&"/app/.env".to_owned()), "{paths:?}");
    assert!(!paths.contains(&"/app/main.rs".to_owned()), "{paths:?}");

    let patterns = json!({"source": tree, "destination": "/app", "exclude": ["a\nb"]});
    let error = session.raw.call_error("rsync", patterns);
    assert!(error.contains("line break"), "{error}");
    fs::set_permissions(tree.join(".gitignore"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(tree.join(".gitignore")).is_err() {
        let error = session
            .raw
            .call_error("rsync", json!({"source": tree, "destination": "/app"}));
        assert!(error.contains(".gitignore"), "{error}");
    }
}

#[test]
fn files_are_sent_with_their_modes_and_without_excluded_ones() {
    let mut session = Session::new();
    let tree = session.tree();
    for path in [
        "build.rs",
        "build/out",
        "src/main.rs",
        "a/b/__pycache__/x.pyc",
        "keep.log",
        "x.log",
        "empty",
    ] {
        write(&tree.join(path), if path == "empty" { "" } else { path });
    }
    write(&tree.join("tool"), "#!/bin/sh");
    fs::set_permissions(tree.join("tool"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(tree.join("build.rs"), fs::Permissions::from_mode(0o600)).unwrap();
    let state = session.raw.call_ok(
        "rsync",
        json!({"source": tree, "destination": "/app/", "exclude": ["build", "__pycache__", "*.log", "!keep.log"]}),
    );
    let run_files = session.run_files(&state);
    let modes: Vec<(String, Value)> = run_files
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, file)| (path.clone(), file["mode"].clone()))
        .collect();
    let expected = [
        ("/app/build.rs", "0600"),
        ("/app/empty", "0644"),
        ("/app/keep.log", "0644"),
        ("/app/src/main.rs", "0644"),
        ("/app/tool", "4711"),
    ];
    assert_eq!(
        modes,
        expected.map(|(path, mode)| (path.to_owned(), json!(mode)))
    );

    // `files` of a run take precedence.
    let other = session.raw.call_ok("upload", json!({"content": "other"}))["uuid"].clone();
    session.raw.call_ok(
        "run",
        json!({"image": "tag:base", "command": "x", "directory_state_id": state["directory_state_id"],
               "files": {"/app/empty": other}}),
    );
    assert_eq!(
        session.stub.spawned().last().unwrap()["files"]["/app/empty"]["uuid"],
        other
    );
}

#[test]
fn skipped_files_are_reported() {
    let mut session = Session::new();
    let tree = session.tree();
    write(&tree.join("file"), "x");
    symlink("file", tree.join("link")).unwrap();
    symlink("/", tree.join("root")).unwrap();
    fs::create_dir(tree.join("empty")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    fs::write(tree.join(std::ffi::OsStr::from_bytes(b"bad\xff")), "x").unwrap();
    write(&tree.join("locked"), "x");
    fs::set_permissions(tree.join("locked"), fs::Permissions::from_mode(0o000)).unwrap();
    // Root can read it despite its mode.
    let is_readable = fs::read(tree.join("locked")).is_ok();
    let state = session.sync(&tree);
    assert_eq!(state["files"], if is_readable { 2 } else { 1 });
    let mut expected =
        json!({"symbolic link": 2, "empty directory": 1, "socket": 1, "name is not UTF-8": 1});
    if !is_readable {
        expected["unreadable: permission denied"] = json!(1);
    }
    assert_eq!(state["skipped_counts"], expected, "{state}");
    assert_eq!(
        state["skipped"].as_array().unwrap().len(),
        if is_readable { 5 } else { 6 }
    );
}

#[test]
fn a_failed_upload_is_repeated() {
    let mut session = Session::new();
    let tree = session.tree();
    for n in 0..200 {
        write(&tree.join(n.to_string()), &n.to_string());
    }
    session.stub.fail_upload(120);
    let state = session.sync(&tree);
    assert_eq!(
        (&state["files"], &state["uploaded"]),
        (&json!(200), &json!(200))
    );
    assert_eq!(session.run_files(&state).as_object().unwrap().len(), 200);
}

#[test]
fn lost_uploads_of_a_state_are_sent_again() {
    let mut session = Session::new();
    let tree = session.tree();
    for n in 0..30 {
        write(&tree.join(n.to_string()), &n.to_string());
    }
    let state = session.sync(&tree);
    assert_eq!(session.stub.lose_files(|at| at % 3 == 0), 20);
    session.requests();
    assert_eq!(session.run_files(&state).as_object().unwrap().len(), 30);
    assert_eq!(session.requests().1, 20, "only lost uploads are sent");

    // If a local file has changed, the error proposes another rsync.
    session.stub.lose_files(|_| false);
    fs::write(tree.join("7"), "another").unwrap();
    let error = session.raw.call_error(
        "run",
        json!({"image": "tag:base", "command": "x", "directory_state_id": state["directory_state_id"]}),
    );
    assert!(error.contains("rsync(source="), "{error}");
    let state = session.sync(&tree);
    assert_eq!(session.run_files(&state).as_object().unwrap().len(), 30);
}

#[test]
fn a_state_of_another_backend_is_refused() {
    let mut session = Session::new();
    let tree = session.tree();
    write(&tree.join("file"), "x");
    let state = session.sync(&tree)["directory_state_id"].clone();
    let second = Stub::default();
    let url = session._runtime.block_on(second.start());
    let mut other = RawClient::initialized(session.home.command_for(&url), "2025-11-25");
    let run = json!({"image": "tag:base", "command": "x", "directory_state_id": state});
    let error = other.call_error("run", run);
    assert!(
        error.contains(&session.url) && error.contains(&url),
        "{error}"
    );
    let error = other.call_error(
        "run",
        json!({"image": "tag:base", "command": "x", "directory_state_id": 999}),
    );
    assert!(error.contains("no directory state 999"), "{error}");
}

#[test]
fn an_id_from_a_lost_store_names_no_state() {
    let mut session = Session::new();
    let tree = session.tree();
    write(&tree.join("a.txt"), "a");
    let lost = session.sync(&tree)["directory_state_id"].clone();
    let mut command = session.home.command_for(&session.url);
    command.env("CONTREE_STATE_DIR", session.home.path().join("new"));
    let mut other = RawClient::initialized(command, "2025-11-25");
    write(&tree.join("a.txt"), "b");
    let state = other.call_ok("rsync", json!({"source": tree, "destination": "/app"}));
    assert_ne!(state["directory_state_id"], lost);
    let error = other.call_error(
        "run",
        json!({"image": "tag:base", "command": "x", "directory_state_id": lost}),
    );
    assert!(error.contains("no directory state"), "{error}");
    assert!(session.stub.spawned().is_empty());
}

#[test]
fn a_state_that_cannot_be_stored_is_an_error() {
    let session = Session::new();
    let tree = session.tree();
    write(&tree.join("a.txt"), "a");
    let file = session.home.path().join("file");
    fs::write(&file, "").unwrap();
    let mut command = session.home.command_for(&session.url);
    command.env("CONTREE_STATE_DIR", file.join("below"));
    let mut other = RawClient::initialized(command, "2025-11-25");
    let error = other.call_error("rsync", json!({"source": tree, "destination": "/app"}));
    assert!(error.contains("nothing was stored"), "{error}");
    assert!(error.contains("cannot open"), "{error}");
}

#[test]
fn a_single_file_is_sent_to_its_destination() {
    let mut session = Session::new();
    let file = session.tree().join("one.txt");
    write(&file, "x");
    for (destination, expected) in [("/etc/two.txt", "/etc/two.txt"), ("/etc/", "/etc/one.txt")] {
        let state = session
            .raw
            .call_ok("rsync", json!({"source": file, "destination": destination}));
        assert!(
            session.run_files(&state).get(expected).is_some(),
            "{destination}"
        );
    }
}

#[test]
fn access_to_local_files_is_restricted() {
    let session = Session::new();
    let tree = session.tree();
    let (inside, outside) = (tree.join("in"), tree.join("out"));
    write(&inside.join("file"), "x");
    write(&outside.join("secret"), "x");
    symlink(&outside, inside.join("link")).unwrap();
    let mut command = session.home.command_for(&session.url);
    command.arg("--allow-path").arg(&inside);
    let mut raw = RawClient::initialized(command, "2025-11-25");
    raw.call_ok("upload", json!({"path": inside.join("file")}));
    raw.call_ok("rsync", json!({"source": inside, "destination": "/x"}));
    let save = |path: PathBuf| json!({"image": "tag:base", "path": "/text", "destination": path});
    raw.call_ok("download", save(inside.join("new/file")));
    assert_eq!(
        fs::read(inside.join("new/file")).unwrap(),
        b"one\ntwo\nthree\n"
    );
    session.stub.take_requests();
    for path in [
        outside.join("secret"),
        inside.join("link/secret"),
        inside.join("../out/secret"),
    ] {
        assert!(
            raw.call_error("upload", json!({"path": path}))
                .contains("--allow-path")
        );
        assert!(
            raw.call_error("download", save(path))
                .contains("--allow-path")
        );
    }
    for source in [outside.clone(), inside.join("link"), tree.clone()] {
        let error = raw.call_error("rsync", json!({"source": source, "destination": "/x"}));
        assert!(error.contains("--allow-path"), "{error}");
    }
    assert_eq!(session.stub.take_requests(), [], "nothing was sent");
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"x");
}

#[test]
fn credentials_are_not_sent() {
    let mut session = Session::new();
    let home = session.home.path().to_owned();
    write(&home.join(".ssh/id_ed25519"), "a private key");
    write(&home.join(".aws/credentials"), "a key");
    write(&home.join("project/main.py"), "x");
    session.stub.take_requests();
    let error = session
        .raw
        .call_error("upload", json!({"path": "~/.ssh/id_ed25519"}));
    assert!(
        error.contains("credentials") && error.contains("--allow-path"),
        "{error}"
    );
    assert!(session.stub.take_requests().is_empty());
    let save =
        json!({"image": "tag:base", "path": "/text", "destination": "~/.ssh/authorized_keys"});
    assert!(
        session
            .raw
            .call_error("download", save)
            .contains("credentials")
    );
    assert!(!home.join(".ssh/authorized_keys").exists());
    let state = session.raw.call_ok(
        "rsync",
        json!({"source": "~", "destination": "/h", "exclude": ["tree", "state"]}),
    );
    assert_eq!(state["files"], 1, "{state}");
    assert_eq!(state["skipped_counts"]["credentials"], 2, "{state}");
}

/// Credentials kept elsewhere behind links, and hard links to credentials.
#[test]
fn linked_credentials_are_not_sent() {
    let mut session = Session::new();
    let home = session.home.path().to_owned();
    write(&home.join("dot/aws"), "a key");
    fs::create_dir_all(home.join(".aws")).unwrap();
    symlink("../dot/aws", home.join(".aws/credentials")).unwrap();
    write(&home.join(".ssh/id"), "a private key");
    write(&home.join("work/main.py"), "x");
    fs::hard_link(home.join(".ssh/id"), home.join("work/id")).unwrap();
    // The default state directory, which may hold an old store although a variable selects another
    // directory.
    write(&home.join(".local/state/contree/store.db"), "passwords");
    session.stub.take_requests();
    for path in [
        "~/.aws/credentials",
        "~/dot/aws",
        "~/work/id",
        "~/.local/state/contree/store.db",
    ] {
        let error = session.raw.call_error("upload", json!({"path": path}));
        assert!(error.contains("credentials"), "{path}: {error}");
    }
    let error = session
        .raw
        .call_error("rsync", json!({"source": "~/work/id", "destination": "/x"}));
    assert!(error.contains("credentials"), "{error}");
    for path in ["~/.aws/credentials", "~/dot/aws"] {
        let error = session
            .raw
            .call_error("rsync", json!({"source": path, "destination": "/x"}));
        assert!(error.contains("credentials"), "{path}: {error}");
        let save = json!({"image": "tag:base", "path": "/text", "destination": path});
        let error = session.raw.call_error("download", save);
        assert!(error.contains("credentials"), "{path}: {error}");
    }
    assert!(session.stub.take_requests().is_empty());
    assert_eq!(fs::read(home.join("dot/aws")).unwrap(), b"a key");
    for source in ["~/work", "~/dot"] {
        let state = session
            .raw
            .call_ok("rsync", json!({"source": source, "destination": "/w"}));
        assert_eq!(
            state["skipped_counts"]["credentials"], 1,
            "{source}: {state}"
        );
    }
}

#[test]
fn hashes_of_excluded_files_are_kept() {
    let mut session = Session::new();
    let tree = session.tree();
    write(&tree.join("big"), "a film");
    write(&tree.join("small"), "a word");
    let store = session.home.path().join("state/store.db");
    let known = || -> u64 {
        let store = rusqlite::Connection::open(&store).unwrap();
        let count = "SELECT count(*) FROM hashes WHERE CAST(path AS TEXT) LIKE '%/big'";
        store.query_row(count, [], |row| row.get(0)).unwrap()
    };
    // A hash is cached only after the file has been unchanged for a while.
    let deadline = Instant::now() + Duration::from_secs(30);
    while session.sync(&tree)["files"] == 2 && known() == 0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    let without = session.raw.call_ok(
        "rsync",
        json!({"source": tree, "destination": "/app", "exclude": ["big"]}),
    );
    assert_eq!((&without["files"], known()), (&json!(1), 1));
    fs::remove_file(tree.join("big")).unwrap();
    session.sync(&tree);
    assert_eq!(known(), 0);
}

#[test]
fn a_placement_that_cannot_be_recorded_is_noted_in_the_result() {
    let mut session = Session::new();
    let tree = session.tree();
    write(&tree.join("a"), "x");
    let state = session.sync(&tree)["directory_state_id"].clone();
    let run = json!({"image": "tag:base", "command": "x", "directory_state_id": state});
    let noted = session.raw.call_ok("run", run.clone());
    assert_eq!(noted["note"], Value::Null, "{noted}");
    let store = session.home.path().join("state/store.db");
    rusqlite::Connection::open(store)
        .unwrap()
        .execute_batch(
            "CREATE TRIGGER refusal BEFORE INSERT ON placements
             BEGIN SELECT RAISE(ABORT, 'refused by the test'); END",
        )
        .unwrap();
    for wait in [true, false] {
        let mut run = run.clone();
        run["wait"] = json!(wait);
        let noted = session.raw.call_ok("run", run);
        let note = noted["note"].as_str().unwrap_or_default();
        let remedy = format!("directory_state_id={state}");
        assert!(note.contains(&remedy), "{noted}");
    }
}

#[test]
fn a_store_set_aside_is_not_sent() {
    let runtime = Runtime::new().unwrap();
    let stub = Stub::default();
    let url = runtime.block_on(stub.start());
    let home = Home::new();
    let state = home.path().join("state");
    write(&state.join("store.db"), "tokens of registries, as it were");
    let mut raw = RawClient::initialized(home.command_for(&url), "2025-11-25");
    stub.check_files();
    write(&home.path().join("main.py"), "x");
    let sync = json!({"source": "~", "destination": "/h"});
    let sent = raw.call_ok("rsync", sync);
    let aside = fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("broken-"))
        .expect("the store was set aside");
    assert_eq!(
        fs::read(&aside).unwrap(),
        b"tokens of registries, as it were"
    );
    assert_eq!(sent["files"], 1, "{sent}");
    assert_eq!(sent["skipped_counts"]["credentials"], 1, "{sent}");
    for source in [&state, &aside] {
        let error = raw.call_error("rsync", json!({"source": source, "destination": "/h"}));
        assert!(error.contains("credentials"), "{error}");
    }
    let error = raw.call_error("upload", json!({"path": aside}));
    assert!(error.contains("credentials"), "{error}");
    let save = json!({"image": "tag:base", "path": "/text", "destination": aside});
    let error = raw.call_error("download", save);
    assert!(error.contains("credentials"), "{error}");
    assert_eq!(
        fs::read(&aside).unwrap(),
        b"tokens of registries, as it were"
    );
}

#[test]
fn an_uploaded_program_stays_executable() {
    let mut session = Session::new();
    let tool = session.tree().join("tool");
    write(&tool, "#!/bin/sh\n");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let program = session.raw.call_ok("upload", json!({"path": tool}))["uuid"].clone();
    let text = session.raw.call_ok("upload", json!({"content": "text"}))["uuid"].clone();
    session.raw.call_ok(
        "run",
        json!({"image": "tag:base", "command": "x", "files": {"/tool": program, "/text": text}}),
    );
    let files = session.stub.spawned().last().unwrap()["files"].clone();
    assert_eq!(
        (&files["/tool"]["mode"], files["/text"].get("mode")),
        (&json!("0755"), None)
    );
}

#[test]
fn reads_of_an_image_are_cached() {
    let mut session = Session::new();
    let image = crate::support::stub::IMAGE;
    let read = |raw: &mut RawClient| {
        let text = raw.call_ok("read_file", json!({"image": image, "path": "/text"}));
        let part = raw.call_ok(
            "read_file",
            json!({"image": image, "path": "/text", "offset": 4, "limit": 3}),
        );
        let list = raw.call_ok("list_files", json!({"image": image, "path": "/etc"}));
        let found = raw.call_ok("grep", json!({"image": image, "pattern": "t"}));
        (text, part, list, found)
    };
    let first = read(&mut session.raw);
    assert_eq!(first.1["content"], "two");
    assert_eq!(
        session.requests().0,
        3,
        "the second read is a part of the first"
    );
    assert_eq!(read(&mut session.raw), first);
    let mut other = RawClient::initialized(session.home.command_for(&session.url), "2025-11-25");
    assert_eq!(read(&mut other), first);
    assert_eq!(session.requests().0, 0);
}
