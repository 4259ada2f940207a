//! Running sandboxes: further commands, ports, snapshots, terminals and limits.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Output, Stdio};

use super::{Shell, stderr, stdout};
use crate::support::CONTREE;

/// A command that runs until a file appears.
const UNTIL_STOP: &str = "echo begun; while [ ! -e /stop ]; do sleep 0.05; done; echo > /made";

/// Starts a detached run, and returns its operation.
fn detached(shell: &Shell, words: &[&str]) -> String {
    let mut all = vec!["run", "-d"];
    all.extend(words);
    shell.ok(&all).trim().to_owned()
}

/// Runs a command line on a new terminal, types a text, and returns what the terminal showed.
fn on_terminal(shell: &Shell, line: &str, typed: &str) -> Output {
    let base = shell.0.contree();
    let mut command = std::process::Command::new("script");
    for (name, value) in base.get_envs() {
        command.env(name, value.unwrap());
    }
    let mut child = command
        .args(["-qefc", &format!("{CONTREE} {line}"), "/dev/null"])
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .current_dir(shell.0.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .as_ref()
        .unwrap()
        .write_all(typed.as_bytes())
        .unwrap();
    let output = child.stdout.take().unwrap();
    let mut shown = Vec::new();
    // The input stays open until the terminal is gone.
    std::io::BufReader::new(output)
        .read_to_end(&mut shown)
        .unwrap();
    let mut ended = child.wait_with_output().unwrap();
    ended.stdout = shown;
    ended
}

#[test]
fn a_further_command_runs_in_the_sandbox_of_a_run() {
    let shell = Shell::new();
    shell.ok(&["use", "host"]);
    shell.ok(&["env", "A=session"]);
    let id = detached(&shell, &["-C", "/usr", "-s", UNTIL_STOP]);
    let short = &id[..8];
    assert_eq!(
        shell.ok(&["exec", short, "--", "sh", "-c", "pwd; echo $A"]),
        "/usr\nsession\n"
    );
    assert_eq!(
        shell.ok(&[
            "exec",
            "-e",
            "A=own",
            "-C",
            "/etc",
            short,
            "-s",
            "pwd; echo $A"
        ]),
        "/etc\nown\n"
    );
    assert_eq!(shell.ok(&["exec", short, "echo", "-s", "x"]), "-s x\n");
    let failed = shell.run(&["exec", short, "-s", "echo out; echo err >&2; exit 7"]);
    assert_eq!(failed.status.code(), Some(7));
    assert_eq!(
        (stdout(&failed), stderr(&failed)),
        ("out\n".into(), "err\n".into())
    );
    assert_eq!(
        shell
            .run(&["exec", short, "-s", "kill -9 $$"])
            .status
            .code(),
        Some(137)
    );
    let text = b"one\ntwo\n".repeat(50_000);
    let counted = shell.with_input(&["exec", short, "--", "wc", "-c"], &text);
    assert_eq!(stdout(&counted).trim(), text.len().to_string());
    let missing = shell.fails(125, &["exec", "-C", "/nowhere", short, "--", "true"]);
    assert!(missing.contains("directory /nowhere"), "{missing}");
    let missing = shell.fails(125, &["exec", short, "--", "/no/such"]);
    assert!(missing.contains("cannot start /no/such"), "{missing}");
    // Its files are those of the run.
    shell.ok(&["exec", short, "--", "touch", "/stop"]);
    shell.ok(&["wait", &id]);
    let ended = shell.fails(125, &["exec", short, "--", "true"]);
    assert!(ended.contains("has ended (SUCCESS)"), "{ended}");
    let unknown = shell.fails(125, &["exec", "ffffffff", "--", "true"]);
    assert!(unknown.contains("no operation `ffffffff`"), "{unknown}");
}

/// Makes a snapshot. On a busy machine, the processes may not stand still in time. The error then
/// says to try again.
fn snapshot(shell: &Shell, arguments: &[&str]) -> Output {
    const TRIES: usize = 50;
    let arguments = [&["snapshot"][..], arguments].concat();
    let mut made = shell.run(&arguments);
    for _ in 1..TRIES {
        if !stderr(&made).contains("[snapshot-not-possible]") {
            break;
        }
        made = shell.run(&arguments);
    }
    made
}

#[test]
fn a_snapshot_is_an_image_of_a_running_sandbox() {
    let shell = Shell::new();
    shell.ok(&["use", "host"]);
    let id = detached(&shell, &["-s", UNTIL_STOP]);
    shell.ok(&["exec", &id, "-s", "echo so far > /state"]);
    let made = snapshot(&shell, &[&id]);
    assert!(
        stderr(&made).contains("processes are not in the image"),
        "{}",
        stderr(&made)
    );
    assert_eq!(
        shell.ok(&["cat", &format!("{}:/state", stdout(&made).trim())]),
        "so far\n"
    );
    let named = snapshot(&shell, &[&id, "-t", "half:1"]);
    let named = stdout(&named);
    assert!(named.starts_with("half:1 is now "), "{named}");
    assert_eq!(shell.ok(&["cat", "half:1:/state"]), "so far\n");
    shell.ok(&["kill", &id]);
}

/// Fetches a file over HTTP, once the server listens.
fn fetch(shell: &Shell, operation: &str, url: &str) -> String {
    let address = url.strip_prefix("http://").unwrap();
    loop {
        let mut text = String::new();
        if let Ok(mut stream) = TcpStream::connect(address)
            && stream.write_all(b"GET /f HTTP/1.0\r\n\r\n").is_ok()
            && stream.read_to_string(&mut text).is_ok()
            && text.contains("from-inside")
        {
            return text;
        }
        // The server may not listen yet.
        let running = shell.ok(&["ps", "-q"]);
        assert!(running.contains(operation), "{url}: {text}");
    }
}

#[test]
fn ports_are_published_from_the_start_and_later() {
    let shell = Shell::new();
    shell.ok(&["use", "host"]);
    let server = "mkdir /tmp/w; cd /tmp/w; echo from-inside > f; exec python3 -m http.server 8000";
    let started = shell.run(&["run", "-d", "-D", "--publish", "8000", "-s", server]);
    let id = stdout(&started).trim().to_owned();
    let said = stderr(&started);
    let url = said
        .split_once("port 8000 is at ")
        .unwrap_or_else(|| panic!("{said}"))
        .1
        .trim();
    fetch(&shell, &id, url);
    // A published port keeps its address.
    assert_eq!(shell.ok(&["publish", &id, "8000"]).trim(), url);
    let listed = shell.ok(&["publish", &id]);
    assert!(listed.contains("8000") && listed.contains(url), "{listed}");
    shell.ok(&["kill", &id]);
    let ended = shell.fails(1, &["publish", &id, "8000"]);
    assert!(ended.contains("ended") || ended.contains("over"), "{ended}");
    let wrong = shell.fails(2, &["run", "--publish", "x", "--", "true"]);
    assert!(wrong.contains("HOST_PORT:PORT"), "{wrong}");
    let profile = shell.fails(2, &["run", "-p", "8000", "--", "true"]);
    assert!(
        profile.contains("--publish 8000 publishes a port"),
        "{profile}"
    );
    let denied = shell.fails(
        2,
        &[
            "run",
            "--publish",
            "deny",
            "--publish",
            "8000",
            "--",
            "true",
        ],
    );
    assert!(denied.contains("forbids every port"), "{denied}");
}

#[test]
fn a_shell_keeps_its_changes_like_a_run() {
    let shell = Shell::new();
    shell.ok(&["use", "host"]);
    let shown = on_terminal(
        &shell,
        "shell",
        "stty size; echo kept > /file; echo term-$((1+1)); exit 3\n",
    );
    let text = stdout(&shown);
    assert_eq!(shown.status.code(), Some(3), "{text}");
    assert!(text.contains("term-2") && text.contains("kept "), "{text}");
    assert_eq!(shell.ok(&["cat", "/file"]), "kept\n");
    let history = shell.ok(&["session", "show"]);
    assert!(history.contains("shell"), "{history}");
    let dropped = on_terminal(&shell, "shell -D", "rm /file; exit\n");
    assert_eq!(dropped.status.code(), Some(0), "{}", stdout(&dropped));
    assert_eq!(shell.ok(&["cat", "/file"]), "kept\n");
    let program = on_terminal(&shell, "run -i -D -- sh -c 'read x; echo got-$x'", "word\n");
    assert!(
        stdout(&program).contains("got-word"),
        "{}",
        stdout(&program)
    );
    let id = detached(&shell, &["-D", "-s", UNTIL_STOP]);
    let further = on_terminal(
        &shell,
        &format!("exec -i {id} -- sh -c 'test -t 0 && read x && echo got-$x; exit 4'"),
        "word\n",
    );
    assert!(
        stdout(&further).contains("got-word"),
        "{}",
        stdout(&further)
    );
    assert_eq!(further.status.code(), Some(4));
    shell.ok(&["kill", &id]);
    // Without a terminal, the shell reads standard input.
    let piped = shell.with_input(&["shell", "host", "-D"], b"echo piped\nexit 5\n");
    assert_eq!(
        (piped.status.code(), stdout(&piped).as_str()),
        (Some(5), "piped\n")
    );
}

#[test]
fn limits_and_the_network_of_one_run() {
    let shell = Shell::new();
    shell.ok(&["use", "host"]);
    // The interfaces of a sandbox without a network, and its proxy variables.
    let shown = shell.ok(&[
        "run",
        "-D",
        "--network",
        "none",
        "-s",
        "echo \"[$HTTPS_PROXY]\"",
    ]);
    assert_eq!(shown, "[]\n");
    shell.ok(&["run", "-D", "--network", "default", "--", "true"]);
    let allowed = shell.ok(&["run", "-D", "--allow-host", "a.example", "--", "echo", "x"]);
    assert_eq!(allowed, "x\n");
    let both = shell.fails(
        2,
        &[
            "run",
            "--network",
            "none",
            "--allow-host",
            "a.example",
            "--",
            "true",
        ],
    );
    assert!(both.contains("exclude each other"), "{both}");
    let later = shell.fails(2, &["run", "host", "--network", "host", "--", "true"]);
    assert!(later.contains("setting of the engine"), "{later}");
    let size = shell.fails(2, &["run", "--memory", "big", "--", "true"]);
    assert!(size.contains("512m"), "{size}");
    let account = shell.0.command().args(["call", "whoami"]).output();
    let is_enforced = stdout(&account.unwrap()).contains("instance_memory_bytes");
    let limits = [
        "run",
        "-D",
        "--memory",
        "64m",
        "--cpus",
        "1",
        "--processes",
        "100",
    ];
    let limited = |words: &[&str]| shell.run(&[&limits, words].concat());
    let gentle = limited(&["--", "echo", "x"]);
    if !is_enforced {
        // Without control groups, the engine refuses limits that it cannot keep.
        let said = stderr(&gentle);
        assert!(said.contains("[limits-not-enforced]"), "{said}");
        return;
    }
    assert_eq!(stdout(&gentle), "x\n", "{}", stderr(&gentle));
    let hungry = limited(&["--", "python3", "-c", "x = bytearray(1 << 30)"]);
    assert_eq!(hungry.status.code(), Some(137), "{}", stderr(&hungry));
    let said = stderr(&hungry);
    assert!(said.contains("memory limit of 64.0 MiB"), "{said}");
}

#[test]
fn an_image_without_dashes_is_understood_or_explained() {
    let shell = Shell::new();
    shell.ok(&["use", "host"]);
    shell.ok(&["tag", "base:1"]);
    assert_eq!(
        shell.ok(&["run", "base:1", "-D", "-s", "echo $((6*7))"]),
        "42\n"
    );
    let docker = shell.fails(125, &["run", "base:1", "uname", "-a"]);
    assert!(
        docker.contains("`contree run base:1 -- uname -a` runs a command on it"),
        "{docker}"
    );
    // A command that merely looks like it stays a command.
    let sorted = shell.with_input(&["run", "-D", "sort", "-s", "-"], b"b\na\n");
    assert_eq!(stdout(&sorted), "a\nb\n");
}

#[test]
fn a_deleted_image_of_the_session_is_named() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "echo > /x"]);
    shell.ok(&["rmi", "@"]);
    for words in [&["run", "--", "true"][..], &["ls", "/"], &["cat", "/x"]] {
        let output = shell.run(words);
        let said = stderr(&output);
        assert!(!output.status.success());
        assert!(
            said.contains("was deleted; `contree use IMAGE` chooses another"),
            "{words:?}: {said}"
        );
    }
}
