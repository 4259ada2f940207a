//! Tests of a sandbox's network and its side files.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use contree_sandbox::{
    Error, LayerId, LayerStore, Network, Sandbox, SandboxSpec, SideFile, SideFileContent,
};

use crate::support::{HOST, command, fresh, options, output, run, shell, spec, start_with, store};

const PORT: u16 = 3128;

fn with_listener() -> SandboxSpec {
    SandboxSpec {
        network: Network::Listener { port: PORT },
        ..spec()
    }
}

fn side(name: &str, content: &str) -> SideFile {
    SideFile {
        name: name.into(),
        content: SideFileContent::new(content.as_bytes()).unwrap(),
        unless_exists: Vec::new(),
        mount_over: None,
        after: Vec::new(),
    }
}

/// Sends `hello` on the first `times` connections.
fn greet(listener: TcpListener, times: usize) -> thread::JoinHandle<usize> {
    listener.set_nonblocking(false).unwrap();
    thread::spawn(move || {
        for _ in 0..times {
            let (mut to, from) = listener.accept().unwrap();
            assert!(from.ip().is_loopback(), "{from}");
            to.write_all(b"hello\n").unwrap();
            let _ = to.read(&mut [0; 16]);
        }
        times
    })
}

#[test]
fn the_caller_listens_on_the_sandboxs_loopback() {
    let (_run, sandbox) = start_with(&with_listener());
    let listener = sandbox.take_listener().unwrap();
    assert_eq!(listener.local_addr().unwrap().port(), PORT);
    assert!(sandbox.take_listener().is_none());
    // The same port on this machine is independent.
    let greeter = greet(listener, 1);
    let script =
        format!("read line </dev/tcp/127.0.0.1/{PORT} && echo \"$line\"; ls /proc/self/fd");
    let done = output(&sandbox, &command("bash", &["-c", &script]));
    let mut lines = done.stdout.lines();
    assert_eq!(lines.next(), Some("hello"), "{done:?}");
    // ls itself opens the directory.
    assert_eq!(lines.collect::<Vec<_>>(), ["0", "1", "2", "3"], "{done:?}");
    assert_eq!(greeter.join().unwrap(), 1);
    sandbox.finish(false).unwrap();
}

#[test]
fn two_sandboxes_have_separate_listeners() {
    let (_one, first) = start_with(&with_listener());
    let (_two, second) = start_with(&with_listener());
    let _unused = first.take_listener().unwrap();
    let greeter = greet(second.take_listener().unwrap(), 1);
    let script = format!("read line </dev/tcp/127.0.0.1/{PORT} && echo \"$line\"");
    let done = output(&second, &command("bash", &["-c", &script]));
    assert_eq!(done.stdout, "hello\n", "{done:?}");
    greeter.join().unwrap();
}

#[test]
fn without_a_listener_nothing_answers() {
    let (_run, sandbox) = start_with(&spec());
    assert!(sandbox.take_listener().is_none());
    let script = format!("read line </dev/tcp/127.0.0.1/{PORT}");
    let done = output(&sandbox, &command("bash", &["-c", &script]));
    assert_ne!(done.exit.code, Some(0));
    assert!(done.stderr.contains("refused"), "{done:?}");
}

#[test]
fn an_open_listener_does_not_delay_the_end_of_a_sandbox() {
    let (_run, sandbox) = start_with(&with_listener());
    let listener = sandbox.take_listener().unwrap();
    sandbox.finish(false).unwrap();
    assert!(listener.accept().is_err());
}

#[test]
fn a_shared_network_reaches_this_machine() {
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    outside.set_nonblocking(true).unwrap();
    let port = outside.local_addr().unwrap().port();
    let shared = SandboxSpec {
        network: Network::Host,
        ..spec()
    };
    let (_run, sandbox) = start_with(&shared);
    let script = format!(": </dev/tcp/127.0.0.1/{port} && readlink /proc/self/ns/net");
    let done = output(&sandbox, &command("bash", &["-c", &script]));
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(done.stdout.trim(), own.to_str().unwrap(), "{done:?}");
    let deadline = Instant::now() + Duration::from_secs(30);
    while outside.accept().is_err() {
        assert!(Instant::now() < deadline, "nobody came");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn side_files_can_be_read_and_are_not_part_of_the_image() {
    let with = SandboxSpec {
        side_files: vec![
            side("one.conf", "first\n"),
            side("large", &"x".repeat(300_000)),
            SideFile {
                unless_exists: vec!["/etc/hosts".into()],
                ..side("needless", "not there\n")
            },
            SideFile {
                unless_exists: vec!["/nowhere".into(), "/etc/resolv.conf".into()],
                mount_over: Some("/etc/resolv.conf".into()),
                ..side("over", "covers\n")
            },
        ],
        ..spec()
    };
    let run = run();
    let sandbox = Sandbox::start(store(), &run, &with).unwrap();
    assert_eq!(sandbox.side_files(), ["one.conf", "large", "over"]);
    let script = "cat /dev/side-files/one.conf /etc/resolv.conf; wc -c </dev/side-files/large; ls /dev/side-files; \
                  echo x >/dev/side-files/one.conf || rm -f /dev/side-files/one.conf || \
                  echo x >/etc/resolv.conf || rm /etc/resolv.conf || touch /dev/side-files/new || rmdir /dev/side-files || echo held";
    let done = output(&sandbox, &shell(script));
    assert_eq!(
        done.stdout.lines().collect::<Vec<_>>(),
        [
            "first", "covers", "300000", "large", "one.conf", "over", "held"
        ],
        "{done:?}"
    );
    let finished = sandbox.finish(true).unwrap();
    assert_eq!(finished.changed, Some(false), "{finished:?}");
    store().remove_run(run.name()).unwrap();
}

#[test]
fn a_caller_chooses_the_directory_of_side_files() {
    let with = SandboxSpec {
        side_files: vec![side("one.conf", "first\n")],
        ..spec()
    };
    let mut options = options();
    options.side_directory = "beside".into();
    let store = LayerStore::open(store().root(), options.clone()).unwrap();
    let run = store.create_run(&format!("run-{}", fresh())).unwrap();
    let sandbox = Sandbox::start(&store, &run, &with).unwrap();
    let done = output(&sandbox, &shell("cat /dev/beside/one.conf"));
    assert_eq!(done.stdout, "first\n", "{done:?}");
    sandbox.finish(false).unwrap();
    for name in ["", "..", "a/b"] {
        options.side_directory = name.into();
        let store = LayerStore::open(store.root(), options.clone()).unwrap();
        let refused = Sandbox::start(&store, &run, &with);
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    store.remove_run(run.name()).unwrap();
}

#[test]
fn side_files_do_not_follow_links_of_the_image() {
    // An image whose files are links to other places.
    let (_, layer) = crate::support::commit(
        &[HOST],
        "rm -f /etc/resolv.conf && ln -s /dev/null /etc/resolv.conf && ln -s /proc/self/environ /etc/environ && mkdir -p /etc/there",
    );
    let with = SandboxSpec {
        layers: vec![layer.unwrap(), HOST],
        side_files: vec![
            SideFile {
                mount_over: Some("/etc/resolv.conf".into()),
                ..side("over-a-link", "covers\n")
            },
            SideFile {
                mount_over: Some("/etc/there".into()),
                ..side("over-a-directory", "covers\n")
            },
            SideFile {
                unless_exists: vec![PathBuf::from("/etc/environ")],
                ..side("past-a-magic-link", "there\n")
            },
        ],
        ..spec()
    };
    let (_run, sandbox) = start_with(&with);
    let done = output(
        &sandbox,
        &shell("readlink /etc/resolv.conf; test -d /etc/there && ls /dev/side-files"),
    );
    let lines: Vec<_> = done.stdout.lines().collect();
    assert_eq!(lines[0], "/dev/null", "{done:?}");
    assert!(lines.contains(&"over-a-link"), "{done:?}");
}

#[test]
fn invalid_side_files_and_listeners_are_refused() {
    let run = store().create_run(&format!("run-{}", fresh())).unwrap();
    let refused = |spec: &SandboxSpec| match Sandbox::start(store(), &run, spec) {
        Err(Error::Invalid(why)) => why,
        other => panic!("{other:?}"),
    };
    for name in ["", "..", ".hidden", "a/b", "a b", "\n"] {
        let bad = SandboxSpec {
            side_files: vec![side(name, "")],
            ..spec()
        };
        assert!(refused(&bad).contains("side file"), "{name}");
    }
    let twice = SandboxSpec {
        side_files: vec![side("a", ""), side("a", "")],
        ..spec()
    };
    assert!(refused(&twice).contains("two"));
    let many = (0..=SideFile::MAX_COUNT)
        .map(|n| side(&n.to_string(), ""))
        .collect();
    let many = SandboxSpec {
        side_files: many,
        layers: vec![LayerId(1)],
        ..spec()
    };
    assert!(refused(&many).contains("at most"));
    let portless = SandboxSpec {
        network: Network::Listener { port: 0 },
        ..spec()
    };
    assert!(refused(&portless).contains("port"));
}
