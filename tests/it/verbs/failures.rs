//! Exit statuses and messages of verbs whose surroundings fail, and the files that killed ones
//! leave.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use super::{Shell, stderr, stdout};

/// The exit status of a run whose command could not run, or whose result is lost.
const FAILED: i32 = 125;

#[test]
fn a_run_whose_result_is_lost_fails() {
    let shell = Shell::new();
    shell.ok(&["use", "host"]);
    let mut run = shell.0.contree();
    let mut run = run
        .args([
            "run",
            "-i",
            "-s",
            "echo begun; read line; echo $line > /kept",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(run.stdout.take().unwrap());
    let mut begun = String::new();
    output.read_line(&mut begun).unwrap();
    assert_eq!(begun, "begun\n");
    // A layer never replaces what stands in its place.
    for id in 1..20 {
        let _ = fs::create_dir(shell.0.path().join(format!("data/layers/{id}")));
    }
    run.stdin.take().unwrap().write_all(b"end\n").unwrap();
    let ended = run.wait_with_output().unwrap();
    let message = stderr(&ended);
    assert_eq!(ended.status.code(), Some(FAILED), "{message}");
    assert!(
        message.starts_with("contree: the command ran, but its result could not be committed"),
        "{message}"
    );
}

#[test]
fn a_command_whose_engine_cannot_be_opened_has_the_status_of_one_that_could_not_run() {
    let shell = Shell::new();
    fs::create_dir(shell.0.path().join("data")).unwrap();
    fs::write(shell.0.path().join("data/VERSION"), "999\n").unwrap();
    let id = "00000000-0000-4000-8000-000000000000";
    for words in [&["run", "true"][..], &["exec", id, "true"]] {
        let message = shell.fails(FAILED, words);
        assert!(message.contains("[data-directory-newer]"), "{message}");
    }
    // Other verbs have no command whose status it could be.
    shell.fails(1, &["images"]);
    // Words that cannot be meant stay errors of usage.
    shell.fails(2, &["-S", "", "run", "true"]);
    let tools = shell.0.path().join("no-such-directory");
    let tools = tools.to_str().unwrap();
    shell.fails(FAILED, &["--allow-path", tools, "run", "true"]);
}

#[test]
fn a_log_that_cannot_be_written_is_a_failure() {
    let shell = Shell::new();
    shell.ok(&["run", "-D", "seq", "3"]);
    for words in [&["logs"][..], &["logs", "-f"], &["logs", "--tail", "2"]] {
        let mut logs = shell.0.contree();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let logs = logs.args(words).stdout(full).output().unwrap();
        let message = stderr(&logs);
        assert_eq!(logs.status.code(), Some(1), "{words:?}: {message}");
        assert!(message.contains("[disk-full]"), "{message}");
    }
}

#[test]
fn files_that_cannot_be_sent_are_named() {
    use std::os::unix::ffi::OsStrExt as _;
    let shell = Shell::new();
    let directory = shell.0.path().join("d");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("ok"), "").unwrap();
    let bad = std::ffi::OsStr::from_bytes(b"bad\xff");
    fs::write(directory.join(bad), "").unwrap();
    let pipe = std::process::Command::new("mkfifo")
        .arg(directory.join("pipe"))
        .status();
    assert!(pipe.unwrap().success());
    let sent = shell.run(&["run", "-D", "-F", "d:/b", "ls", "/b"]);
    let message = stderr(&sent);
    assert_eq!(stdout(&sent), "ok\n", "{message}");
    assert!(
        message.contains("2 files below d could not be sent: "),
        "{message}"
    );
    for named in ["pipe (pipe)", "(name is not UTF-8)"] {
        assert!(message.contains(named), "{message}");
    }
}

/// A file that is being exported has no name, so a killed export leaves nothing.
#[test]
fn an_export_has_no_file_until_it_is_complete() {
    let shell = Shell::new();
    shell.ok(&["use", "host"]);
    let directory = shell.0.path().join("exported");
    fs::create_dir(&directory).unwrap();
    let mut export = shell.0.contree();
    let mut export = export
        .args(["export", "-F", "exported/all.tar.gz", "/"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let open_files = format!("/proc/{}/fd", export.id());
    let is_writing = || {
        let files = fs::read_dir(&open_files).into_iter().flatten().flatten();
        let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        targets.any(|target| target.starts_with(&directory))
    };
    while !is_writing() {
        assert!(
            export.try_wait().unwrap().is_none(),
            "it was not seen to write"
        );
    }
    export.kill().unwrap();
    export.wait().unwrap();
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    shell.ok(&["export", "-F", "exported/all.tar", "/etc/passwd"]);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}
