//! `@` for the last run of a session, the end of its log, and the published ports of all runs.

use super::{Shell, stderr, stdout};

/// A command that prints lines, and runs until a file appears.
const UNTIL_STOP: &str =
    "seq 20; echo begun >&2; while [ ! -e /stop ]; do sleep 0.05; done; echo stopped";

/// Waits until the log of the last run has a text.
fn await_log(shell: &Shell, text: &str) {
    while !shell.ok(&["logs", "-o", "json"]).contains(text) {
        std::thread::yield_now();
    }
}

#[test]
fn the_last_run_of_a_session_is_named_while_it_runs() {
    let shell = Shell::new();
    let none = shell.fails(1, &["logs"]);
    assert!(none.contains("started no run yet"), "{none}");
    shell.ok(&["run", "-s", "echo first"]);
    let id = shell.ok(&["run", "-d", "-t", "600", "-s", UNTIL_STOP]);
    let id = id.trim();
    // An entry of the history in between does not change it.
    shell.ok(&["env", "A=b"]);
    for words in [&["show", "-o", "json"][..], &["show", "@", "-o", "json"]] {
        assert!(shell.ok(words).contains(id), "{words:?}");
    }
    assert_eq!(shell.ok(&["exec", "@", "-s", "echo $A"]), "b\n");
    let snapshot = shell.run(&["snapshot"]);
    // On a busy machine, the processes may not stand still in time.
    let message = stderr(&snapshot);
    assert!(
        snapshot.status.success() || message.contains("[snapshot-not-possible]"),
        "{message}"
    );
    // Each session has its own.
    shell.fails(1, &["-S", "other", "logs", "@"]);
    shell.ok(&["exec", "@", "touch", "/stop"]);
    shell.ok(&["wait"]);
    assert!(shell.ok(&["logs"]).ends_with("stopped\n"));
    // A run that is dropped is the last one too.
    shell.ok(&["run", "-D", "-s", "echo dropped"]);
    assert_eq!(shell.ok(&["logs", "@"]), "dropped\n");
    let running = shell.ok(&["run", "-d", "-D", "sleep", "600"]);
    let killed = shell.ok(&["kill", "@"]);
    assert!(killed.contains(&running[..8]), "{killed}");
    shell.fails(2, &["kill"]);
}

#[test]
fn completions_propose_the_last_run_while_it_fits() {
    let shell = Shell::new();
    let proposed = |verb: &str| {
        let mut command = shell.0.contree();
        command.env("CONTREE_COMPLETE", "fish");
        let output = command.args(["--", "contree", verb, ""]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    // A busy machine may take too long, and then nothing is proposed.
    let proposed_last = |verb: &str| {
        (0..50).find_map(|_| {
            let lines = proposed(verb);
            let last = lines.lines().find(|line| line.starts_with("@\t"));
            last.map(str::to_owned)
        })
    };
    assert!(!proposed("logs").contains('@'));
    let id = shell.ok(&["run", "-d", "-D", "-t", "600", "sleep", "600"]);
    // `exec` needs a command that runs.
    for verb in ["logs", "exec"] {
        let last = proposed_last(verb).expect("the run is proposed");
        assert!(last.contains(id.trim()), "{last}");
    }
    shell.ok(&["kill", "@"]);
    shell.run(&["wait"]);
    assert!(proposed_last("logs").is_some());
    assert!(!proposed("exec").contains("@\t"));
}

#[test]
fn the_last_lines_of_a_log_are_shown() {
    let shell = Shell::new();
    shell.ok(&["run", "-d", "-D", "-t", "600", "-s", UNTIL_STOP]);
    await_log(&shell, "begun");
    // The third line is of standard error, unless that was written before.
    let last = shell.ok(&["logs", "--tail", "3"]);
    assert!(last.ends_with("19\n20\n") && last.len() <= "18\n19\n20\n".len());
    assert_eq!(shell.ok(&["logs", "-n", "3"]), last);
    assert_eq!(shell.ok(&["logs", "-n", "0"]), "");
    let mut following = shell.0.contree();
    let following = following
        .args(["logs", "-f", "--tail", "2"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    shell.ok(&["exec", "@", "touch", "/stop"]);
    let followed = following.wait_with_output().unwrap();
    let shown = super::stdout(&followed);
    assert!(shown.ends_with("stopped\n"), "{shown}");
    assert!(shown.lines().count() <= 3, "{shown}");
    assert_eq!(shell.ok(&["logs", "--tail", "1"]), "stopped\n");
    assert_eq!(shell.ok(&["logs", "--tail=all"]).lines().count(), 21);
    let wrong = shell.fails(2, &["logs", "--tail", "few"]);
    assert!(wrong.contains("such as 100, or `all`"), "{wrong}");
}

#[test]
fn the_published_ports_of_all_runs_are_listed() {
    let shell = Shell::new();
    assert_eq!(shell.ok(&["publish"]), "");
    let id = shell.ok(&["run", "-d", "-D", "--publish", "8000", "sleep", "600"]);
    let other = shell.ok(&["-S", "other", "run", "-d", "-D", "sleep", "600"]);
    let address = shell.ok(&["publish", other.trim(), "9000"]);
    let listed = shell.ok(&["publish"]);
    assert!(listed.starts_with("OPERATION"), "{listed}");
    let line = |id: &str| listed.lines().find(|line| line.starts_with(&id[..8]));
    assert!(
        line(&id).is_some_and(|line| line.contains("8000")),
        "{listed}"
    );
    let found = line(&other).unwrap();
    assert!(
        found.contains("9000") && found.contains(address.trim()),
        "{listed}"
    );
    assert_eq!(shell.ok(&["publish", "@"]).matches("8000").count(), 1);
    shell.ok(&["kill", "-a"]);
    assert_eq!(shell.ok(&["publish"]), "");
}

#[test]
fn a_run_that_starts_while_it_is_listed_is_shown_once() {
    const ID: &str = "01234567-89ab-4cde-8f01-23456789abcd";
    let server = httpmock::MockServer::start();
    for status in ["ASSIGNED", "EXECUTING"] {
        server.mock(|when, then| {
            when.path_suffix("/operations")
                .query_param("status", status);
            then.json_body(serde_json::json!([{
                "uuid": ID, "kind": "instance", "status": status,
                "created_at": "2026-01-01T00:00:00Z",
            }]));
        });
    }
    server.mock(|when, then| {
        when.path_suffix("/operations")
            .query_param("status", "PENDING");
        then.json_body(serde_json::json!([]));
    });
    let shell = Shell::new();
    let list = |words: &[&str]| {
        let mut command = shell.0.contree();
        command.env("CONTREE_URL", server.base_url());
        let output = command.args(words).env("CONTREE_TOKEN", "token").output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    assert_eq!(list(&["ps", "-q"]), format!("{ID}\n"));
    // The newest status.
    assert!(list(&["ps", "-o", "json"]).contains("EXECUTING"));
}

#[test]
fn a_log_that_cannot_be_read_is_no_empty_log() {
    const ID: &str = "01234567-89ab-4cde-8f01-23456789abcd";
    let server = httpmock::MockServer::start();
    server.mock(|when, then| {
        when.path_suffix(format!("/operations/{ID}"));
        then.json_body(serde_json::json!({
            "uuid": ID, "kind": "instance", "status": "EXECUTING", "metadata": {},
        }));
    });
    let whole_log = server.mock(|when, then| {
        when.path_suffix("/events").query_param("follow", "1");
        then.header("content-type", "text/event-stream").body("");
    });
    let log_so_far = server.mock(|when, then| {
        when.path_suffix("/events").query_param_missing("follow");
        then.status(403)
            .json_body(serde_json::json!({"error": "not yours"}));
    });
    let shell = Shell::new();
    let followed = shell
        .0
        .contree()
        .args(["logs", "-f", "--tail", "2", ID])
        .env("CONTREE_URL", server.base_url())
        .env("CONTREE_TOKEN", "token")
        .output()
        .unwrap();
    assert_eq!(followed.status.code(), Some(1), "{}", stderr(&followed));
    assert!(
        stderr(&followed).contains("not yours"),
        "{}",
        stderr(&followed)
    );
    log_so_far.assert();
    assert_eq!(whole_log.calls(), 0);
}
