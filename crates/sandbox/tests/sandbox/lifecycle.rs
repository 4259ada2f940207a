//! Tests of starting and ending sandboxes.

use std::thread;

use contree_sandbox::{Error, LayerId, Sandbox, SandboxSpec};

use crate::support::*;

#[test]
fn a_command_runs_as_root_of_its_own_system() {
    let (run, sandbox) = start();
    let done = output(
        &sandbox,
        &shell("id -u; hostname; echo $((6*7)); echo oops >&2; exit 3"),
    );
    assert_eq!(done.stdout, "0\nbox\n42\n", "{done:?}");
    assert_eq!(done.stderr, "oops\n");
    assert_eq!((done.exit.code, done.exit.signal), (Some(3), None));
    let finished = sandbox.finish(true).unwrap();
    assert_eq!(finished.changed, Some(false), "{finished:?}");
    store().remove_run(run.name()).unwrap();
}

#[test]
fn nothing_but_the_init_and_the_command_is_there() {
    let (_run, sandbox) = start();
    let done = output(
        &sandbox,
        &shell("echo /proc/[0-9]*; tr '\\0' ' ' </proc/1/comm; cat /proc/net/dev | grep -c :"),
    );
    assert_eq!(
        done.stdout, "/proc/1 /proc/2\ncontree-init\n1\n",
        "{done:?}"
    );
}

#[test]
fn the_usage_of_the_whole_tree_is_reported() {
    let (_run, sandbox) = start();
    // The busy loop runs in a child of the command.
    let busy = "(i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done) & wait";
    let done = output(&sandbox, &shell(busy));
    assert_eq!(done.exit.code, Some(0));
    let finished = sandbox.finish(false).unwrap();
    assert_eq!(finished.changed, None);
    assert!(
        finished.usage.user + finished.usage.system >= done.exit.usage.user,
        "{finished:?}"
    );
    assert!(finished.usage.max_rss_kb > 0 && finished.usage.minor_faults > 0);
}

#[test]
fn finishing_ends_what_still_runs() {
    let (_run, sandbox) = start();
    let process = sandbox
        .exec(&shell("trap '' TERM HUP; setsid sleep 1000 & sleep 1000"))
        .unwrap();
    sandbox.finish(false).unwrap();
    let exit = process.exit.blocking_recv().unwrap();
    assert_eq!(exit.signal, Some(9), "{exit:?}");
    assert_eq!(read(process.stdout), "");
}

#[test]
fn dropping_a_sandbox_ends_it() {
    let (_run, sandbox) = start();
    let process = sandbox.exec(&shell("sleep 1000")).unwrap();
    drop(sandbox);
    // The stream ends only when no process can write to it.
    assert_eq!(read(process.stdout), "");
}

#[test]
fn calls_on_a_killed_sandbox_fail() {
    let (_run, sandbox) = start();
    let process = sandbox.exec(&shell("sleep 1000")).unwrap();
    sandbox.hard_kill();
    assert!(process.exit.blocking_recv().is_err());
    assert!(matches!(sandbox.exec(&shell("true")), Err(Error::Gone)));
    assert!(matches!(sandbox.finish(true), Err(Error::Gone)));
}

#[test]
fn a_sandbox_outlives_the_thread_that_started_it() {
    let (_run, sandbox) = thread::spawn(start).join().unwrap();
    assert_eq!(output(&sandbox, &shell("echo here")).stdout, "here\n");
}

#[test]
fn sandboxes_run_at_the_same_time() {
    store();
    let threads: Vec<_> = (0..8)
        .map(|number| {
            thread::spawn(move || {
                for round in 0..3 {
                    let (run, sandbox) = start();
                    let done = output(
                        &sandbox,
                        &shell(&format!("echo {number} {round} >/x; cat /x")),
                    );
                    assert_eq!(done.stdout, format!("{number} {round}\n"), "{done:?}");
                    assert_eq!(sandbox.finish(true).unwrap().changed, Some(true));
                    store().remove_run(run.name()).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn an_invalid_description_is_refused() {
    let run = run();
    let refuse = |spec: SandboxSpec| {
        Sandbox::start(store(), &run, &spec)
            .unwrap_err()
            .to_string()
    };
    let without_layers = SandboxSpec {
        layers: Vec::new(),
        ..spec()
    };
    assert!(refuse(without_layers).contains("without layers"));
    let missing = SandboxSpec {
        layers: vec![LayerId(999_999)],
        ..spec()
    };
    assert!(refuse(missing).contains("layer 999999 of the image is missing"));
    let too_many_layers = SandboxSpec {
        layers: vec![HOST; 481],
        ..spec()
    };
    assert!(refuse(too_many_layers).contains("481 layers"));
    let long_hostname = SandboxSpec {
        hostname: "x".repeat(65),
        ..spec()
    };
    assert!(refuse(long_hostname).contains("1 to 64 bytes"));
}
