//! Arguments of `contree-mcp call`.

use super::*;

#[test]
fn pairs_objects_files_and_standard_input() {
    let cloud = CloudSetup::new();
    std::fs::write(cloud.home.path().join("script"), "exit 4").unwrap();
    let forms: &[&[&str]] = &[
        &["run", "image=tag:base", "command=exit 4", "timeout=5"],
        &[
            "run",
            r#"{"image": "tag:base", "command": "exit 4", "timeout": 5}"#,
        ],
        &[
            "run",
            r#"{"image": "tag:base"}"#,
            "command=@script",
            "timeout=5",
        ],
        &["run", "image=tag:base", "command=@~/script", "timeout=5"],
    ];
    for form in forms {
        let result = cloud.call_ok(form);
        assert_eq!(
            (&result["exit_code"], &result["stdout"]),
            (&json!(4), &json!("exit 4\n")),
            "{form:?}"
        );
    }
    for spawned in cloud.stub.spawned() {
        assert_eq!(
            (&spawned["image"], &spawned["timeout"]),
            (&json!("tag:base"), &json!(5)),
            "{spawned}"
        );
    }

    let mut child = cloud
        .home
        .command_for(&cloud.url)
        .args(["call", "run", "image=tag:base", "command=@-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"from stdin")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        stdout(&output).contains("from stdin\\n"),
        "{}",
        stdout(&output)
    );

    assert_eq!(
        cloud.call_ok(&["run", "image=tag:base", "command=@@x"])["stdout"],
        "@x\n"
    );
}

#[test]
fn options_may_stand_anywhere() {
    let cloud = CloudSetup::new();
    for line in [
        [
            "--backend",
            "cloud",
            "call",
            "--raw",
            "run",
            "image=tag:base",
            "command=exit 9",
        ],
        [
            "call",
            "--backend",
            "cloud",
            "run",
            "--raw",
            "image=tag:base",
            "command=exit 9",
        ],
        [
            "call",
            "run",
            "image=tag:base",
            "command=exit 9",
            "--raw",
            "--backend",
            "cloud",
        ],
    ] {
        let output = cloud
            .home
            .command_for(&cloud.url)
            .args(line)
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(9),
            "{line:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn an_array_grows_by_repetition() {
    let cloud = CloudSetup::new();
    let id = |command: &str| {
        cloud.call_ok(&[
            "run",
            "image=tag:base",
            &format!("command={command}"),
            "wait=false",
        ])["operation_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (a, b) = (id("one"), id("two"));
    let result = cloud.call_ok(&[
        "wait_operations",
        &format!("operation_ids={a}"),
        &format!("operation_ids={b}"),
    ]);
    assert_eq!(result["completed"].as_array().unwrap().len(), 2, "{result}");
}

#[test]
fn obsolete_options_are_accepted_with_one_warning() {
    let cloud = CloudSetup::new();
    let output = cloud
        .home
        .command_for(&cloud.url)
        .args([
            "--cache-files",
            "/x",
            "--cache-prune-days",
            "5",
            "--http-port",
            "1",
            "call",
            "whoami",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stderr(&output).matches("--cache-files").count(),
        1,
        "{}",
        stderr(&output)
    );
    let help = stdout(&cloud.home.command().arg("--help").output().unwrap());
    assert!(
        help.contains("--backend") && !help.contains("--cache"),
        "{help}"
    );
}
