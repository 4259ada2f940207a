//! Readers that close their end of a pipe, such as `head`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::Shell;

/// The longest time that a verb may take to end. A machine with much other work is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a verb, reads a little of its output, closes the pipe, and waits for the end. The verb
/// must end, without a message.
fn closes(shell: &Shell, words: &[&str]) {
    let mut child = shell.0.contree();
    let mut child = child
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = Vec::new();
    let mut output = BufReader::with_capacity(64, child.stdout.take().unwrap());
    output.read_until(b'\n', &mut first).unwrap();
    assert!(!first.is_empty(), "{words:?} printed nothing");
    drop(output);
    let closed = Instant::now();
    let status = child.wait().unwrap();
    let took = closed.elapsed();
    let mut messages = String::new();
    let mut errors = child.stderr.take().unwrap();
    errors.read_to_string(&mut messages).unwrap();
    assert_eq!(
        (status.code(), messages.as_str()),
        (Some(141), ""),
        "{words:?}"
    );
    assert!(took < PATIENCE, "{words:?} took {took:?}");
}

#[test]
fn a_closed_pipe_ends_each_verb_silently() {
    let shell = Shell::new();
    shell.ok(&["use", "host"]);
    let files = "mkdir /many; cd /many; seq 1 3000 | xargs touch; seq 1 200000 > /lines; \
                 seq -f %0500.0f 1 500 > /long";
    shell.ok(&["run", "-q", "-s", files]);
    closes(&shell, &["run", "-D", "--", "yes"]);
    assert_eq!(
        shell.ok(&["ps", "-q"]),
        "",
        "the sandbox of a run has ended"
    );
    for words in [
        &["cat", "/lines"][..],
        &["export", "/lines"],
        &["export", "--decompress", "/lines"],
        &["cp", "/lines", "-"],
        &["ls", "/many"],
        &["grep", "0", "/long"],
    ] {
        closes(&shell, words);
    }
    let run = shell.ok(&["run", "-d", "-D", "-s", "yes"]);
    let run = run.trim();
    closes(&shell, &["logs", "-f", run]);
    closes(&shell, &["logs", "-f", "--json", run]);
    closes(&shell, &["exec", run, "--", "yes"]);
    assert_eq!(shell.ok(&["ps", "-q"]).trim(), run, "the other run goes on");
    shell.ok(&["kill", run]);
    closes(&shell, &["logs", run]);
}
