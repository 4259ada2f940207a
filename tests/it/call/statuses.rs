//! Exit statuses of `contree-mcp call`.

use super::*;

#[test]
fn a_command_that_fails_is_a_result() {
    let cloud = CloudSetup::new();
    let output = cloud.call(&["run", "image=tag:base", "command=exit 7"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        serde_json::from_str::<Value>(&stdout(&output)).unwrap()["exit_code"],
        7
    );
}

#[test]
fn a_failing_tool_is_status_1_with_a_message() {
    let cloud = CloudSetup::new();
    for (arguments, expected) in [
        (&["run", "image=tag:missing", "command=x"][..], "404"),
        (
            &["run", "image=tag:base", "command=fail"][..],
            "FAILED: the init process broke",
        ),
        (&["run", "image=base", "command=x"][..], "tag:base"),
        (
            &["run", "imge=tag:base", "command=x"][..],
            "did you mean `image`?",
        ),
        (
            &["get_operation", "operation_id=nonsense"][..],
            "operation_id",
        ),
        (&["upload"][..], "exactly one"),
    ] {
        let output = cloud.call(arguments);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(expected),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_wrong_command_line_is_status_2() {
    let cloud = CloudSetup::new();
    for arguments in [
        &["no_such_tool"][..],
        &["run", "image"][..],
        &["run", "image=tag:base", "command=x", "timeout=soon"][..],
        &["run", "image=tag:base", "image=tag:base"][..],
        &["run", "{not json"][..],
        &["run", "command=@/no/such/file"][..],
        &["--no-such-option", "run"][..],
        &["--backend", "clowd", "run"][..],
        &["--raw", "list_operations"][..],
        &["--raw", "run", "image=tag:base", "command=x", "wait=false"][..],
    ] {
        let output = cloud.call(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(!output.stderr.is_empty());
    }
    assert!(cloud.stub.spawned().is_empty());
    let output = cloud
        .home
        .command()
        .args(["--mode", "sse"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_missing_backend_is_reported() {
    let home = Home::new();
    let run = |arguments: &[&str]| {
        home.command()
            .env("CONTREE_URL", "https://c.example")
            .args(arguments)
            .output()
            .unwrap()
    };
    let output = run(&["call", "whoami"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("there is a URL (CONTREE_URL) but no token"),
        "{}",
        stderr(&output)
    );
    let output = run(&["call", "--raw", "run", "image=tag:x", "command=x"]);
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn an_unreachable_backend_is_named() {
    let home = Home::new();
    // A port without a listener.
    let url = "http://127.0.0.1:1";
    for (arguments, expected) in [
        (&["list_images"][..], "The backend is at http://127.0.0.1:1"),
        (&["whoami"][..], "The backend in use is cloud (found "),
    ] {
        let output = home
            .command_for(url)
            .arg("call")
            .args(arguments)
            .output()
            .unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains(expected) && said.contains(url) && !said.contains("a-secret-token"),
            "{said}"
        );
    }
}
