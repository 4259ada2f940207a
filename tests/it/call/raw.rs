//! `contree-mcp call --raw`.

use super::*;

#[test]
fn the_status_is_the_commands() {
    let cloud = CloudSetup::new();
    for (command, status) in [
        ("hello", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("signal 9", 137),
        ("fail", 125),
    ] {
        let output = cloud.call(&[
            "--raw",
            "run",
            "image=tag:base",
            &format!("command={command}"),
        ]);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{command}: {}",
            stderr(&output)
        );
    }
    assert!(
        cloud
            .stub
            .spawned()
            .iter()
            .all(|spawned| spawned["truncate_output_at"] == 10 * 1024 * 1024)
    );
}

#[test]
fn truncated_output_is_reported_on_standard_error() {
    let cloud = CloudSetup::new();
    let output = cloud.call(&["--raw", "run", "image=tag:base", "command=big"]);
    assert_eq!(output.stdout.len(), 8000);
    assert!(
        stderr(&output)
            .contains("the output is incomplete (standard output: truncated from 20000 bytes"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn content_is_printed_unchanged() {
    let cloud = CloudSetup::new();
    let read = |path: &str| {
        cloud
            .call(&[
                "--raw",
                "read_file",
                &format!("image={IMAGE}"),
                &format!("path={path}"),
            ])
            .stdout
    };
    assert_eq!(read("/text"), b"one\ntwo\nthree\n");
    assert_eq!(read("/binary"), [0xff, 0x00, 0x01]);
}

#[test]
fn output_arrives_while_the_command_runs() {
    let cloud = CloudSetup::new();
    let child = endless(&cloud);
    signal(child.id(), "INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(cloud.stub.statuses(), [("CANCELLED".to_owned(), 1)].into());
}

/// Starts a command that writes without end, and returns once it writes.
fn endless(cloud: &CloudSetup) -> Child {
    let mut child = cloud.spawn_call(&["--raw", "run", "image=tag:base", "command=sleep"]);
    let mut first = [0; 7];
    let stdout = child.stdout.as_mut().unwrap();
    stdout.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"line 0\n");
    child
}

#[test]
fn each_signal_has_its_exit_status() {
    let cloud = CloudSetup::new();
    for (name, status) in [("TERM", 143), ("HUP", 129)] {
        let child = endless(&cloud);
        signal(child.id(), name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
    }
}

#[test]
fn a_signal_ends_a_call_without_polling() {
    let cloud = CloudSetup::new();
    let child = cloud.spawn_running_call(&["run", "image=tag:base", "command=linger"]);
    signal(child.id(), "TERM");
    let output = child.wait_with_output().unwrap();
    let said = stderr(&output);
    assert!(said.contains("was stopped"), "{said}");
    assert_eq!(cloud.stub.statuses(), [("CANCELLED".to_owned(), 1)].into());
}

#[test]
fn a_closed_reader_ends_the_command() {
    let cloud = CloudSetup::new();
    let mut child = endless(&cloud);
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(141), "")
    );
    assert_eq!(cloud.stub.statuses(), [("CANCELLED".to_owned(), 1)].into());
}

#[test]
fn failed_writes_are_reported() {
    let cloud = CloudSetup::new();
    for (arguments, status) in [
        (
            &["call", "--raw", "run", "image=tag:base", "command=x"][..],
            125,
        ),
        (
            &["call", "--raw", "read_file", "image=tag:base", "path=/text"][..],
            125,
        ),
        (&["call", "whoami"][..], 1),
        (&["tools", "--format", "json"][..], 1),
        (&["doctor"][..], 1),
    ] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = cloud
            .home
            .command_for(&cloud.url)
            .args(arguments)
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert_eq!(
            stderr(&output)
                .matches("cannot write to standard output: ")
                .count(),
            1,
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn an_interrupt_cancels_and_waits() {
    let cloud = CloudSetup::new();
    let child = cloud.spawn_running_call(&["run", "image=tag:base", "command=sleep"]);
    signal(child.id(), "INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("cancelled"), "{}", stderr(&output));
    assert_eq!(cloud.stub.statuses(), [("CANCELLED".to_owned(), 1)].into());
}

#[test]
fn a_run_that_somebody_else_cancelled_is_no_success() {
    let cloud = CloudSetup::new();
    for (option, status) in [(None, 3), (Some("--raw"), 125)] {
        let mut arguments: Vec<&str> = option.into_iter().collect();
        arguments.extend(["run", "image=tag:base", "command=sleep"]);
        let child = cloud.spawn_running_call(&arguments);
        cloud.stub.cancel_all();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
    }
    // Looking at a cancelled operation succeeds.
    let listed = cloud.call_ok(&["list_operations"]);
    let id = listed["operations"][0]["uuid"].as_str().unwrap().to_owned();
    let shown = cloud.call_ok(&["get_operation", &format!("operation_id={id}")]);
    assert_eq!(shown["status"], "CANCELLED");
}
