//! Tests of commands on terminals.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use contree_sandbox::{
    Command, Error, Exit, Sandbox, Step, Terminal, TerminalProcess, TerminalSize,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::support::*;

const SIZE: TerminalSize = TerminalSize {
    columns: 100,
    rows: 30,
};

/// A command on a terminal, driven like a user does.
struct Session {
    terminal: Terminal,
    file: File,
    exit: tokio::sync::oneshot::Receiver<Exit>,
    seen: String,
}

impl Session {
    fn start(sandbox: &Sandbox, command: &Command) -> Self {
        let TerminalProcess { terminal, exit, .. } =
            sandbox.exec_on_terminal(command, SIZE).unwrap();
        let file = File::from(terminal.as_fd().try_clone_to_owned().unwrap());
        Self {
            terminal,
            file,
            exit,
            seen: String::new(),
        }
    }

    fn shell(sandbox: &Sandbox, script: &str) -> Self {
        Self::start(sandbox, &shell(script))
    }

    fn type_text(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `expected` is there.
    fn wait_for(&mut self, expected: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.seen.contains(expected) {
            let mut polled = [PollFd::new(&self.file, PollFlags::IN)];
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap();
            assert!(
                poll(&mut polled, Some(&left)).unwrap() > 0,
                "{:?}",
                self.seen
            );
            let mut bytes = [0; 4096];
            let read = self.file.read(&mut bytes).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        self.seen.clear();
    }

    /// Reads until no process has the terminal open, and returns how the command ended.
    fn end(mut self) -> (Exit, String) {
        let mut bytes = [0; 65536];
        // The end of a terminal is an error.
        while let Ok(read @ 1..) = self.file.read(&mut bytes) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        (self.exit.blocking_recv().unwrap(), self.seen)
    }
}

#[test]
fn a_command_on_a_terminal_has_one_of_the_sandbox() {
    let (_run, sandbox) = start();
    let session = Session::shell(
        &sandbox,
        "tty; stty size; ls /dev/pts; test -t 0 -a -t 1 -a -t 2 && echo all; : </dev/tty && echo own; exit 7",
    );
    let (exit, output) = session.end();
    assert_eq!(exit.code, Some(7), "{output}");
    let lines: Vec<&str> = output.lines().collect();
    // The first terminal of the sandbox, whatever this machine has.
    assert_eq!(lines[..2], ["/dev/pts/0", "30 100"], "{output}");
    assert!(lines.contains(&"all") && lines.contains(&"own"), "{output}");
    assert!(!lines.contains(&"1"), "{output}");
}

#[test]
fn another_user_gets_a_terminal_that_it_can_reopen() {
    let (_run, sandbox) = start();
    let mut command = shell("id -u; : </dev/tty && echo again >/dev/stdout");
    if !store().id_map().is_single() {
        (command.uid, command.gid) = (1000, 1000);
    }
    let uid = command.uid;
    let (exit, output) = Session::start(&sandbox, &command).end();
    assert_eq!(exit.code, Some(0), "{output}");
    assert_eq!(output, format!("{uid}\r\nagain\r\n"));
}

#[test]
fn keys_interrupt_and_stop_the_foreground_processes() {
    let (_run, sandbox) = start();
    let mut session = Session::start(&sandbox, &command("bash", &["--norc", "--noprofile", "-i"]));
    session.type_text("PS1=; echo re''ady\n");
    session.wait_for("ready\r\n");
    session.type_text("sleep 600; echo interrupted $?\n");
    session.wait_for("interrupted $?");
    // A program that runs is in the foreground already.
    wait_until(&sandbox, "pgrep -f '^sleep 600'");
    session.type_text("\x03");
    session.type_text("echo alive $?\n");
    session.wait_for("alive 130");
    session.type_text("sleep 601\n");
    session.wait_for("sleep 601");
    wait_until(&sandbox, "pgrep -f '^sleep 601'");
    session.type_text("\x1a");
    session.wait_for("Stopped");
    // A shell that still counts the job as stopped refuses to exit once.
    session.type_text("kill -KILL %1; exit 3\nexit 3\n");
    let (exit, output) = session.end();
    assert_eq!(exit.code, Some(3), "{output}");
}

/// Waits until a script succeeds in the sandbox.
fn wait_until(sandbox: &Sandbox, script: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while output(sandbox, &shell(script)).exit.code != Some(0) {
        assert!(Instant::now() < deadline, "{script}");
    }
}

#[test]
fn a_new_size_reaches_the_program() {
    let (_run, sandbox) = start();
    let program = r#"
import os, signal
# Blocked, so that one that comes before the wait is not lost.
signals = {signal.SIGWINCH}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("ready", flush=True)
while True:
    signal.sigwait(signals)
    size = os.get_terminal_size(0)
    os.write(1, f"{size.lines} {size.columns}\n".encode())
"#;
    let mut session = Session::start(&sandbox, &command("python3", &["-c", program]));
    session.wait_for("ready");
    for (columns, rows) in [(132, 50), (1, 1), (65535, 65535)] {
        session
            .terminal
            .resize(TerminalSize { columns, rows })
            .unwrap();
        session.wait_for(&format!("{rows} {columns}\r\n"));
    }
}

#[test]
fn a_terminal_that_is_closed_hangs_its_command_up() {
    let (_run, sandbox) = start();
    let mut session = Session::shell(&sandbox, "echo ready; exec sleep 600");
    session.wait_for("ready");
    let Session {
        terminal,
        file,
        exit,
        ..
    } = session;
    drop((terminal, file));
    assert_eq!(exit.blocking_recv().unwrap().signal, Some(libc::SIGHUP));
}

#[test]
fn ten_thousand_sizes_and_garbage_harm_nothing() {
    let (_run, sandbox) = start();
    let session = Session::shell(
        &sandbox,
        "stty raw -echo; echo ready; head -c 200000 | wc -c",
    );
    let mut session = session;
    session.wait_for("ready");
    let writer = std::thread::spawn({
        let mut file = session.file.try_clone().unwrap();
        move || {
            let garbage: Vec<u8> = (0..200_000_u32).map(|n| ((n * 7919) >> 5) as u8).collect();
            file.write_all(&garbage).unwrap();
        }
    });
    for n in 0..10_000_u16 {
        let size = TerminalSize {
            columns: n % 500 + 1,
            rows: n % 300 + 1,
        };
        session.terminal.resize(size).unwrap();
    }
    session.wait_for("200000");
    writer.join().unwrap();
    assert_eq!(session.end().0.code, Some(0));
    assert_eq!(output(&sandbox, &shell("echo fine")).stdout, "fine\n");
    sandbox.finish(false).unwrap();
}

#[test]
fn terminals_left_open_do_not_delay_the_end_of_a_sandbox() {
    let (_run, sandbox) = start();
    let sessions: Vec<Session> = (0..20).map(|_| Session::shell(&sandbox, "yes")).collect();
    sandbox.finish(false).unwrap();
    for session in sessions {
        // The command is gone, and its output can still be read.
        let mut file = session.file;
        let mut bytes = vec![0; 1 << 20];
        let ended = (0..1000).any(|_| file.read(&mut bytes).is_err());
        assert!(ended);
    }
}

#[test]
fn terminals_without_end_are_refused_with_the_step() {
    let (_run, sandbox) = start();
    let hold = r#"
import os
held = []
try:
    while True: held.append(os.openpty())
except OSError: pass
print(len(held) > 100, flush=True)
input()
"#;
    let holder = sandbox.exec(&command("python3", &["-c", hold])).unwrap();
    let mut stdout = File::from(holder.stdout);
    let mut line = [0; 5];
    stdout.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"True\n");
    match sandbox.exec_on_terminal(&shell("true"), SIZE) {
        Err(Error::Exec {
            step: Step::Terminal,
            error,
            ..
        }) => {
            assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        }
        other => panic!("{other:?}"),
    }
    // Other sandboxes have terminals of their own.
    let (_other_run, other) = start();
    assert_eq!(Session::shell(&other, "true").end().0.code, Some(0));
    drop(OwnedFd::from(File::from(holder.stdin)));
    holder.exit.blocking_recv().unwrap();
    assert_eq!(Session::shell(&sandbox, "true").end().0.code, Some(0));
}

#[test]
fn a_replaced_multiplexer_is_not_used() {
    let (_run, sandbox) = start();
    // Root inside may change the names in /dev, but not the file system of terminals.
    let done = output(
        &sandbox,
        &shell(
            "rm /dev/ptmx && mkfifo /dev/ptmx; mv /dev/pts /dev/other 2>/dev/null; rm -f /dev/pts/ptmx 2>/dev/null; ls -l /dev/pts/ptmx | cut -c1",
        ),
    );
    assert_eq!(done.stdout, "c\n", "{done:?}");
    assert_eq!(Session::shell(&sandbox, "exit 5").end().0.code, Some(5));
}
