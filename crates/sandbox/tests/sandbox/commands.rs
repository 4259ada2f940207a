//! Tests of commands in a sandbox: streams, users, failures, signals.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;

use contree_sandbox::{Command, Error, Step};

use crate::support::*;

#[test]
fn a_command_gets_exactly_the_requested_environment() {
    let (_run, sandbox) = start();
    let mut env = command("/usr/bin/env", &[]);
    let raw = OsString::from_vec(b"caf\xe9 \n=".to_vec());
    env.env = vec![("A".into(), "1 2".into()), ("B".into(), raw)];
    let process = sandbox.exec(&env).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(process.stdout), &mut bytes).unwrap();
    assert_eq!(bytes, b"A=1 2\nB=caf\xe9 \n=\n");
}

#[test]
fn large_input_is_passed_in_full() {
    let (_run, sandbox) = start();
    let input: Vec<u8> = (0..8 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
    let done = collect(sandbox.exec(&shell("wc -c; echo rest")).unwrap(), input);
    assert_eq!(
        done.stdout.split_whitespace().collect::<Vec<_>>(),
        ["8388608", "rest"]
    );
}

#[test]
fn large_arguments_are_passed_and_too_large_ones_are_refused() {
    let (_run, sandbox) = start();
    let many: Vec<String> = (0..3000).map(|i| format!("{i:0100}")).collect();
    let mut count = command("/bin/sh", &["-c", "echo $# ${#1}", "sh"]);
    count.args.extend(many.iter().map(OsString::from));
    assert_eq!(output(&sandbox, &count).stdout, "3000 100\n");
    let mut large = command("/bin/true", &[]);
    large.env = vec![("X".into(), "x".repeat(200_000).into())];
    match sandbox.exec(&large) {
        Err(Error::Exec {
            step: Step::Execute,
            error,
            ..
        }) if error.raw_os_error() == Some(libc::E2BIG) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(
        output(&sandbox, &shell("echo still here")).stdout,
        "still here\n"
    );
}

#[test]
fn commands_run_side_by_side() {
    let (_run, sandbox) = start();
    let first = sandbox.exec(&shell("read x; echo first $x")).unwrap();
    let second = sandbox.exec(&shell("read x; echo second $x")).unwrap();
    assert_ne!(first.pid, second.pid);
    let mut to_second = std::fs::File::from(second.stdin);
    to_second.write_all(b"b\n").unwrap();
    assert_eq!(read(second.stdout), "second b\n");
    let mut to_first = std::fs::File::from(first.stdin);
    to_first.write_all(b"a\n").unwrap();
    assert_eq!(read(first.stdout), "first a\n");
}

#[test]
fn standard_streams_can_be_opened_again() {
    let (_run, sandbox) = start();
    let done = output(
        &sandbox,
        &shell("echo out >/dev/stdout; echo err >/dev/stderr; cat </dev/stdin"),
    );
    assert_eq!(
        (done.stdout.as_str(), done.stderr.as_str()),
        ("out\n", "err\n")
    );
    if !store().id_map().is_single() {
        let mut other = shell("echo out >/dev/stdout; echo err >/dev/stderr");
        (other.uid, other.gid) = (1000, 1000);
        let done = output(&sandbox, &other);
        assert_eq!(
            (done.stdout.as_str(), done.stderr.as_str()),
            ("out\n", "err\n")
        );
    }
}

#[test]
fn another_user_has_no_rights() {
    let (_run, sandbox) = start();
    let mut other = shell(
        "id -u; id -g; id -G; grep CapEff /proc/self/status; touch /x 2>/dev/null || echo refused",
    );
    (other.uid, other.gid) = (1000, 1001);
    if store().id_map().is_single() {
        let error = sandbox.exec(&other).unwrap_err();
        assert!(
            matches!(error, Error::Invalid(_))
                && error.to_string().contains("usermod --add-subuids"),
            "{error}"
        );
        return;
    }
    let done = output(&sandbox, &other);
    assert_eq!(
        done.stdout, "1000\n1001\n1001\nCapEff:\t0000000000000000\nrefused\n",
        "{done:?}"
    );
    other.uid = 70_000;
    assert!(matches!(sandbox.exec(&other), Err(Error::Invalid(_))));
}

#[test]
fn a_failed_start_names_the_failed_step() {
    let (_run, sandbox) = start();
    let try_it = |change: &dyn Fn(&mut Command)| {
        let mut command = command("/bin/true", &[]);
        change(&mut command);
        match sandbox.exec(&command) {
            Err(Error::Exec { step, error, .. }) => (step, error.raw_os_error().unwrap()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        try_it(&|c| c.program = "/no/such".into()),
        (Step::Execute, libc::ENOENT)
    );
    assert_eq!(
        try_it(&|c| c.program = "no-such-program".into()),
        (Step::Execute, libc::ENOENT)
    );
    assert_eq!(
        try_it(&|c| c.program = "/etc/passwd".into()),
        (Step::Execute, libc::EACCES)
    );
    assert_eq!(
        try_it(&|c| c.program = "/etc".into()),
        (Step::Execute, libc::EACCES)
    );
    assert_eq!(
        try_it(&|c| c.program = "".into()),
        (Step::Request, libc::ENOENT)
    );
    assert_eq!(
        try_it(&|c| c.cwd = "/nowhere".into()),
        (Step::ChangeDirectory, libc::ENOENT)
    );
    assert_eq!(
        try_it(&|c| c.args = vec![OsString::from_vec(vec![b'a', 0])]),
        (Step::Request, libc::EINVAL)
    );
    let message = sandbox
        .exec(&command("no-such-program", &[]))
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("cannot start no-such-program: execute it: No such file"),
        "{message}"
    );
    let mut elsewhere = command("/bin/true", &[]);
    elsewhere.cwd = "/nowhere".into();
    let message = sandbox.exec(&elsewhere).unwrap_err().to_string();
    assert!(
        message.starts_with("cannot start /bin/true: change to its directory /nowhere: No such"),
        "{message}"
    );
    // A status of 127 is not a failure to start.
    assert_eq!(output(&sandbox, &shell("exit 127")).exit.code, Some(127));
}

#[test]
fn a_program_is_looked_up_in_the_path_of_the_request() {
    let (_run, sandbox) = start();
    let script = "mkdir -p /a /b; printf '#!/bin/sh\\necho from a' >/a/tool; printf '#!/bin/sh\\necho from b' >/b/tool; chmod +x /b/tool";
    assert_eq!(output(&sandbox, &shell(script)).exit.code, Some(0));
    let mut tool = command("tool", &[]);
    // The first match is not executable; like execvp, the lookup continues.
    tool.env = vec![("PATH".into(), "/a:/b:/usr/bin:/bin".into())];
    assert_eq!(output(&sandbox, &tool).stdout, "from b\n");
    tool.program = "b/tool".into();
    assert_eq!(output(&sandbox, &tool).stdout, "from b\n");
}

#[test]
fn a_signal_reaches_the_whole_group_of_a_command() {
    let (_run, sandbox) = start();
    let process = sandbox
        .exec(&shell(
            "trap 'echo caught; exit 5' TERM; sleep 1000 & echo up; wait",
        ))
        .unwrap();
    let id = process.id;
    let mut stdout = std::io::BufReader::new(std::fs::File::from(process.stdout));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    sandbox.signal(id, libc::SIGTERM).unwrap();
    let exit = process.exit.blocking_recv().unwrap();
    assert_eq!(exit.code, Some(5));
    assert!(matches!(
        sandbox.signal(id, libc::SIGTERM),
        Err(Error::NoProcess(_))
    ));
    assert!(matches!(
        sandbox.signal(12_345, libc::SIGTERM),
        Err(Error::NoProcess(_))
    ));
    let killed = sandbox
        .exec(&shell("kill -SEGV $$"))
        .unwrap()
        .exit
        .blocking_recv()
        .unwrap();
    assert_eq!(
        (killed.code, killed.signal, killed.core_dump),
        (None, Some(libc::SIGSEGV), false)
    );
}

#[test]
fn killing_all_leaves_the_sandbox_and_its_files() {
    let (_run, sandbox) = start();
    let script = "trap '' TERM INT HUP; for i in 1 2 3 4; do setsid sh -c 'while :; do :; done' & done; echo kept >/kept; echo up; wait";
    let process = sandbox.exec(&shell(script)).unwrap();
    let mut stdout = std::io::BufReader::new(std::fs::File::from(process.stdout));
    std::io::BufRead::read_line(&mut stdout, &mut String::new()).unwrap();
    sandbox.kill_all().unwrap();
    assert_eq!(
        process.exit.blocking_recv().unwrap().signal,
        Some(libc::SIGKILL)
    );
    let done = output(&sandbox, &shell("cat /kept; echo /proc/[0-9]*"));
    assert!(
        done.stdout.starts_with("kept\n/proc/1 /proc/")
            && done.stdout.split_whitespace().count() == 3,
        "{done:?}"
    );
    assert_eq!(sandbox.finish(true).unwrap().changed, Some(true));
}

/// Starts a shell script, and waits until it has written its first line.
fn start_script(sandbox: &contree_sandbox::Sandbox, script: &str) -> contree_sandbox::Process {
    let mut process = sandbox.exec(&shell(script)).unwrap();
    let stdout = process.stdout.try_clone().unwrap();
    let mut stdout = std::io::BufReader::with_capacity(1, std::fs::File::from(stdout));
    std::io::BufRead::read_line(&mut stdout, &mut String::new()).unwrap();
    process.stdout = stdout.into_inner().into();
    process
}

const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

#[test]
fn processes_get_time_to_end_after_sigterm() {
    let (_run, sandbox) = start();
    let saves =
        "trap 'sleep 0.2; echo saved >/saved; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let process = start_script(&sandbox, saves);
    let left = start_script(&sandbox, &format!("(setsid sh -c \"{saves}\" &)"));
    assert_eq!(left.exit.blocking_recv().unwrap().code, Some(0));
    let begun = std::time::Instant::now();
    sandbox.end_all(MINUTE).unwrap();
    assert!(begun.elapsed() < MINUTE / 10, "it ends as soon as all have");
    assert_eq!(process.exit.blocking_recv().unwrap().code, Some(3));
    let done = output(&sandbox, &shell("cat /saved; rm /saved"));
    assert_eq!(done.stdout, "saved\n");
    // Nothing is left that could take time.
    let begun = std::time::Instant::now();
    sandbox.end_all(MINUTE).unwrap();
    assert!(begun.elapsed() < MINUTE / 10);
}

#[test]
fn processes_that_ignore_sigterm_are_killed_after_their_time() {
    let (_run, sandbox) = start();
    let stays = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    let process = start_script(&sandbox, stays);
    let begun = std::time::Instant::now();
    let grace = std::time::Duration::from_millis(300);
    sandbox.end_all(grace).unwrap();
    assert!(begun.elapsed() >= grace);
    let exit = process.exit.blocking_recv().unwrap();
    assert_eq!(exit.signal, Some(libc::SIGKILL));
    // Killing all cuts the time short.
    let process = start_script(
        &sandbox,
        "trap 'echo ending' TERM; echo up; while :; do sleep 0.05; done",
    );
    std::thread::scope(|scope| {
        let ending = scope.spawn(|| sandbox.end_all(MINUTE));
        let mut stdout = std::io::BufReader::new(std::fs::File::from(process.stdout));
        std::io::BufRead::read_line(&mut stdout, &mut String::new()).unwrap();
        let begun = std::time::Instant::now();
        sandbox.kill_all().unwrap();
        ending.join().unwrap().unwrap();
        assert!(begun.elapsed() < MINUTE / 10);
    });
}

#[test]
fn nothing_of_the_engine_is_inherited() {
    use std::os::fd::AsRawFd;
    let leak = std::fs::File::open("/etc/passwd").unwrap();
    // SAFETY: the descriptor is our own; it becomes inheritable.
    unsafe { libc::fcntl(leak.as_raw_fd(), libc::F_SETFD, 0) };
    let (_run, sandbox) = start();
    let done = output(
        &sandbox,
        &shell(
            "ls /proc/self/fd | tr '\\n' ' '; umask; ulimit -c; grep -E 'SigBlk|SigIgn|SigCgt' /proc/self/status",
        ),
    );
    // ls itself opens 3.
    assert!(done.stdout.starts_with("0 1 2 3 0022\n0\n"), "{done:?}");
    assert!(
        done.stdout
            .contains("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000"),
        "{done:?}"
    );
}
