//! Tests of the program starting itself again as init.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use contree_sandbox::{Error, LaunchError, LayerStore, Sandbox, StoreOptions};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::support::*;

const NAME: &str = "contree-sandbox-init";

fn seqpacket() -> (OwnedFd, OwnedFd) {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap()
}

/// Returns true if the program runs its own `main`, which lists the tests.
fn runs_main(name: &str, stdin: Stdio) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .arg0(name)
        .arg("--list")
        .stdin(stdin)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).contains("init::")
}

#[test]
fn only_the_name_and_the_socket_together_make_an_init() {
    assert!(runs_main("anything", Stdio::null()));
    assert!(runs_main(NAME, Stdio::null()));
    let (_ours, theirs) = seqpacket();
    assert!(runs_main("anything", theirs.into()));
    // With an argument the command line is not an init's.
    let (_ours, theirs) = seqpacket();
    assert!(runs_main(NAME, theirs.into()));
}

#[test]
fn an_init_whose_engine_is_gone_ends() {
    let (ours, theirs) = seqpacket();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg0(NAME)
        .stdin(Stdio::from(theirs))
        .spawn()
        .unwrap();
    drop(ours);
    assert_eq!(child.wait().unwrap().code(), Some(70));
}

fn store_with(program: &str) -> LayerStore {
    let mut options = StoreOptions::default();
    options.init_program = Some(program.into());
    LayerStore::open(store().root(), options).unwrap()
}

#[test]
fn another_program_that_links_the_crate_can_be_the_init() {
    let program = std::env::current_exe().unwrap();
    let store = store_with(program.to_str().unwrap());
    let run = store.create_run(&format!("init-{}", fresh())).unwrap();
    let sandbox = Sandbox::start(&store, &run, &spec()).unwrap();
    assert_eq!(output(&sandbox, &shell("echo here")).stdout, "here\n");
}

#[test]
fn a_program_that_does_not_link_the_crate_is_an_error() {
    let store = store_with("/bin/true");
    let run = store.create_run(&format!("init-{}", fresh())).unwrap();
    match Sandbox::start(&store, &run, &spec()) {
        Err(Error::Launch(error @ LaunchError::NotInit { .. })) => {
            assert!(
                error.to_string().starts_with("/bin/true does not answer"),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
    let store = store_with("/no/such/program");
    let run = store.create_run(&format!("init-{}", fresh())).unwrap();
    let error = Sandbox::start(&store, &run, &spec()).unwrap_err();
    assert!(error.to_string().contains("/no/such/program"), "{error}");
}
