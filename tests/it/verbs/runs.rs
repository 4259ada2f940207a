//! Runs: streams, exit statuses, input, files, time-outs, detached runs and signals.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use super::{Shell, stderr, stdout};
use crate::support::signal;

#[test]
fn streams_and_exit_statuses_are_those_of_the_command() {
    let shell = Shell::new();
    let output = shell.run(&["run", "-s", "echo out; echo err >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(stdout(&output), "out\n");
    assert!(stderr(&output).contains("err\n"));
    assert_eq!(
        shell.run(&["run", "-s", "kill -9 $$"]).status.code(),
        Some(137)
    );
    let missing = shell.fails(125, &["run", "--", "/no/such/program"]);
    assert!(missing.contains("did not run to its end"), "{missing}");
    assert_eq!(shell.ok(&["run", "uname"]), "Linux\n");
    assert_eq!(
        shell.ok(&["run", "--", "echo", "a b", "--", "c"]),
        "a b -- c\n"
    );
    assert_eq!(shell.ok(&["run", "host", "-D", "--", "echo", "x"]), "x\n");
}

#[test]
fn what_was_kept_is_said_and_a_disposable_run_keeps_nothing() {
    let shell = Shell::new();
    let kept = shell.run(&["run", "-s", "echo > /kept"]);
    assert!(stderr(&kept).contains(" as @2"), "{}", stderr(&kept));
    let unchanged = shell.run(&["run", "true"]);
    assert_eq!(stderr(&unchanged), "");
    let dropped = shell.run(&["run", "-D", "-s", "rm /kept"]);
    assert_eq!(stderr(&dropped), "");
    assert_eq!(shell.ok(&["cat", "/kept"]), "\n");
    let failed = shell.run(&["run", "-s", "rm /kept; false"]);
    assert!(
        stderr(&failed).contains("although the command failed"),
        "{}",
        stderr(&failed)
    );
    let quiet = shell.run(&["run", "-q", "-s", "echo > /other"]);
    assert_eq!(stderr(&quiet), "");
}

#[test]
fn a_time_out_is_said() {
    let shell = Shell::new();
    let said = shell.fails(124, &["run", "-D", "-t", "1", "--", "sleep", "600"]);
    assert!(
        said.contains("stopped after 1 s; -t SECS gives it more time"),
        "{said}"
    );
}

#[test]
fn standard_input_is_forwarded_to_its_end() {
    let shell = Shell::new();
    let text = b"one\ntwo\n".repeat(50_000);
    let output = shell.with_input(&["run", "-D", "wc", "-c"], &text);
    assert_eq!(
        stdout(&output).trim(),
        text.len().to_string(),
        "{}",
        stderr(&output)
    );
    let unread = shell.with_input(&["run", "-D", "true"], b"x");
    assert_eq!(
        (unread.status.code(), stderr(&unread)),
        (Some(0), String::new())
    );
}

#[test]
fn files_directories_and_scripts_are_placed() {
    let shell = Shell::new();
    let path = |name: &str| shell.0.path().join(name);
    std::fs::create_dir_all(path("src/deep")).unwrap();
    std::fs::write(path("src/deep/a.txt"), "deep\n").unwrap();
    std::fs::write(path("src/.hidden"), "no\n").unwrap();
    std::fs::write(path("b.txt"), "b\n").unwrap();
    let script = "cat /app/deep/a.txt /b; ls -a /app | grep -c hidden; stat -c %a /b";
    let shown = shell.ok(&[
        "run",
        "-D",
        "-F",
        "./src:/app",
        "-F",
        "b.txt:/b:m0640",
        "-s",
        script,
    ]);
    assert_eq!(shown, "deep\nb\n0\n640\n");
    std::fs::write(
        path("script"),
        "#!/usr/bin/env -S contree run -I\necho \"hello $1\"\n",
    )
    .unwrap();
    assert_eq!(shell.ok(&["run", "-I", "script", "you"]), "hello you\n");
    let missing = shell.fails(125, &["run", "-F", "none:/x", "--", "true"]);
    assert!(missing.contains("none"), "{missing}");
}

#[test]
fn a_detached_run_outlives_its_caller_and_is_followed_waited_for_and_killed() {
    let shell = Shell::new();
    shell.ok(&["use", "host"]);
    let fifo = "echo begun; while [ ! -e /stop ]; do sleep 0.05; done";
    let id = shell.ok(&["run", "-d", "-s", fifo]);
    let id = id.trim();
    let listed = shell.ok(&["ps", "-q"]);
    assert_eq!(listed.trim(), id);
    let mut logs = shell.0.contree();
    let mut logs = logs
        .args(["logs", "-f", &id[..8]])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(logs.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "begun\n");
    let killed = shell.ok(&["kill", id]);
    assert!(killed.contains("CANCELLED"), "{killed}");
    assert!(logs.wait().unwrap().success());
    assert_eq!(shell.ok(&["ps", "-q"]), "");
    assert!(shell.ok(&["ps", "-a"]).contains("CANCELLED"));

    let id = shell.ok(&["run", "-d", "-s", "echo done; echo > /made"]);
    shell.ok(&["wait", id.trim()]);
    assert_eq!(shell.ok(&["logs", id.trim()]), "done\n");
    assert!(shell.ok(&["show", id.trim()]).contains("exit code: 0"));
    let refused = shell.fails(125, &["run", "-d", "nosuch-image", "--", "true"]);
    assert!(refused.contains("no image `nosuch-image`"), "{refused}");
}

#[test]
fn the_log_of_a_run_has_its_own_output_alone() {
    let shell = Shell::new();
    shell.ok(&["use", "host"]);
    let id = shell.ok(&[
        "run",
        "-d",
        "-D",
        "-s",
        "echo own; touch /own; exec sleep 600",
    ]);
    let id = id.trim();
    let other = "while [ ! -e /own ]; do sleep 0.05; done; echo other";
    assert_eq!(shell.ok(&["exec", id, "-s", other]), "other\n");
    let all = shell.ok(&["logs", "--all", id]);
    let mut lines: Vec<&str> = all.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["other", "own"]);
    assert_eq!(shell.ok(&["logs", id]), "own\n");
    let json = shell.ok(&["logs", "--json", id]);
    assert_eq!(
        (json.lines().count(), json.contains("own")),
        (1, true),
        "{json}"
    );
    shell.ok(&["kill", id]);
    assert_eq!(shell.ok(&["logs", "-f", id]), "own\n");
}

#[test]
fn a_signal_cancels_the_run_and_leaves_nothing() {
    let shell = Shell::new();
    shell.ok(&["use", "host"]);
    for (name, status) in [("INT", 130), ("TERM", 143)] {
        let mut command = shell.0.contree();
        let command = command.args(["run", "-s", "echo begun; sleep 600"]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        signal(child.id(), name);
        assert_eq!(child.wait().unwrap().code(), Some(status), "{name}");
        assert_eq!(shell.ok(&["ps", "-q"]), "");
    }
    let history = shell.ok(&["session", "show"]);
    assert_eq!(history.lines().count(), 2, "{history}");
}

#[test]
fn a_closed_pipe_ends_the_run() {
    let shell = Shell::new();
    shell.ok(&["use", "host"]);
    let mut child = shell.0.contree();
    let mut child = child
        .args(["run", "yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(
        (line.as_str(), child.wait().unwrap().code()),
        ("y\n", Some(141))
    );
}
