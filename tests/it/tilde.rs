//! A leading `~` in variables, options, files of settings and arguments of the real program. No
//! shell expands it there.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::Home;
use crate::support::stub::Stub;

fn output(home: &Home, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = home.command();
    command.envs(variables.iter().copied());
    command.args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks that no directory has the name `~`.
fn no_tilde(home: &Path) {
    assert!(!home.join("~").exists(), "a directory named `~` was made");
}

const UPLOAD: [&str; 3] = ["call", "upload", "content=x"];
const RUN: [&str; 4] = ["call", "run", "image=tag:host", "command=echo hi"];

#[test]
fn data_and_state_directories_are_below_home() {
    let home = Home::new();
    let variables = [
        ("CONTREE_DATA_DIR", "~/my data"),
        ("CONTREE_STATE_DIR", "~/my/state"),
    ];
    for arguments in [&UPLOAD[..], &RUN] {
        let ran = output(&home, &variables, arguments);
        assert!(ran.status.success(), "{}", stderr(&ran));
    }
    assert!(home.path().join("my data/store.db").exists());
    assert!(home.path().join("my/state/store.db").exists());
    let shown = output(&home, &variables, &["engine", "df"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("/my data  "), "{shown}");
    no_tilde(home.path());
}

#[test]
fn profile_files_are_found_below_home() {
    let home = Home::new();
    let folder = home.path().join("profiles");
    fs::create_dir(&folder).unwrap();
    let auth = folder.join("auth.ini");
    fs::write(
        &auth,
        "[profile:default]\ntoken = t\nurl = unix:~/profiles/s\n",
    )
    .unwrap();
    fs::write(
        folder.join("mcp.ini"),
        "[DEFAULT]\ntoken = t\nurl = unix:~/profiles/s\n",
    )
    .unwrap();
    let socket = folder.join("s").display().to_string();
    for variables in [
        [("CONTREE_HOME", "~/profiles")],
        [("CONTREE_MCP_CONFIG", "~/profiles/mcp.ini")],
    ] {
        let called = output(&home, &variables, &["call", "whoami"]);
        let error = stderr(&called);
        // Nothing listens there.
        assert!(error.contains(&socket), "{variables:?}: {error}");
    }
    let variables = [("CONTREE_URL", "unix:~/profiles/s"), ("CONTREE_TOKEN", "t")];
    let called = output(&home, &variables, &["call", "whoami"]);
    assert!(stderr(&called).contains(&socket), "{}", stderr(&called));
    let flags = [
        "--url",
        "unix:~/profiles/s",
        "--token",
        "t",
        "call",
        "whoami",
    ];
    let called = output(&home, &[], &flags);
    assert!(stderr(&called).contains(&socket), "{}", stderr(&called));
    no_tilde(home.path());
}

#[test]
fn options_with_paths_are_below_home() {
    let home = Home::new();
    let below = |path: &str| home.path().join(path).display().to_string();
    for (arguments, path) in [
        (&["--allow-path=~/nowhere", "call", "whoami"][..], "nowhere"),
        (&["--mode", "http", "--http-token-file=~/token"], "token"),
        (
            &[
                "engine",
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--token-file=~/token",
            ],
            "token",
        ),
        (&["call", "upload", "content=@~/text"], "text"),
    ] {
        let failed = output(&home, &[], arguments);
        let error = stderr(&failed);
        let shown = match path {
            "text" => "~/text".to_owned(),
            path => below(path),
        };
        assert!(error.contains(&shown), "{arguments:?}: {error}");
        assert!(error.contains("No such file"), "{arguments:?}: {error}");
    }
    // A file that exists is read.
    fs::write(home.path().join("surface.json"), "not JSON").unwrap();
    let read = output(&home, &[], &["tools", "--diff=~/surface.json"]);
    assert!(
        stderr(&read).contains("not valid JSON"),
        "{}",
        stderr(&read)
    );
    let listen = ["engine", "serve", "--listen", "unix:~/missing/socket"];
    let failed = output(&home, &[], &listen);
    assert!(
        stderr(&failed).contains(&below("missing")),
        "{}",
        stderr(&failed)
    );
    no_tilde(home.path());
}

#[test]
fn the_home_of_another_user_is_a_clear_error() {
    let home = Home::new();
    for variable in [
        "CONTREE_DATA_DIR",
        "CONTREE_STATE_DIR",
        "CONTREE_HOME",
        "CONTREE_MCP_CONFIG",
    ] {
        let failed = output(&home, &[(variable, "~root/x")], &RUN);
        let error = stderr(&failed);
        assert_eq!(failed.status.code(), Some(2), "{error}");
        assert!(
            error.contains(variable) && error.contains("`~root/x` names another user"),
            "{error}"
        );
    }
    for arguments in [
        &["--allow-path=~root/x", "call", "whoami"][..],
        &["--mode", "http", "--http-token-file=~root/x"],
        &["tools", "--diff=~root/x"],
        &["engine", "serve", "--listen", "unix:~root/x"],
        &["--url", "unix:~root/x", "--token", "t", "call", "whoami"],
        &["call", "upload", "path=~root/x"],
        &["call", "upload", "content=@~root/x"],
        &["call", "rsync", "source=~root/x", "destination=/x"],
        &["call", "import_image", "registry_url=oci-layout:~root/x"],
    ] {
        let failed = output(&home, &[], arguments);
        let error = stderr(&failed);
        assert!(!failed.status.success());
        assert!(
            error.contains("`~root/x` names another user"),
            "{arguments:?}: {error}"
        );
    }
    no_tilde(home.path());
}

#[test]
fn arguments_of_tools_are_below_home() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stub = Stub::default();
    let url = runtime.block_on(stub.start());
    let home = Home::new();
    fs::create_dir(home.path().join("tree")).unwrap();
    fs::write(home.path().join("tree/file"), "x").unwrap();
    for arguments in [
        &["upload", "path=~/tree/file"][..],
        &["rsync", "source=~/tree", "destination=/x"],
        &[
            "download",
            "image=tag:base",
            "path=/text",
            "destination=~/saved/",
        ],
    ] {
        let mut command = home.command_for(&url);
        let called = command.arg("call").args(arguments).output().unwrap();
        assert!(
            called.status.success(),
            "{arguments:?}: {}",
            stderr(&called)
        );
    }
    assert!(home.path().join("saved/text").exists());
    let called = output(
        &home,
        &[],
        &["call", "import_image", "registry_url=oci-layout:~/nowhere"],
    );
    let path = home.path().join("nowhere").display().to_string();
    assert!(stderr(&called).contains(&path), "{}", stderr(&called));
    no_tilde(home.path());
}
