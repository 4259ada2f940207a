//! `contree-mcp tools` and `contree-mcp doctor`.

use super::*;

#[test]
fn tools_are_listed_as_text_and_json() {
    let home = Home::new();
    let text = stdout(&home.command().arg("tools").output().unwrap());
    assert!(text.contains("run command image [shell=true]"), "{text}");
    let json: Value = serde_json::from_slice(
        &home
            .command()
            .args(["tools", "--format", "json"])
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap();
    assert!(
        json.as_array()
            .unwrap()
            .iter()
            .any(|tool| tool["name"] == "run" && tool["inputSchema"]["type"] == "object")
    );
}

#[test]
fn the_version_is_printed() {
    let home = Home::new();
    let text = stdout(&home.command().arg("-V").output().unwrap());
    let version = env!("CARGO_PKG_VERSION");
    let commit = text.trim().strip_prefix(&format!("contree-mcp {version}"));
    let is_hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let commit = commit
        .unwrap()
        .trim_start_matches(" (")
        .trim_end_matches(')');
    assert!(is_hexadecimal(commit), "{text}");
    let other = stdout(&home.contree().arg("-V").output().unwrap());
    assert_eq!(other, text.replace("contree-mcp", "contree"));
}

#[test]
fn the_doctor_checks_a_service() {
    let cloud = CloudSetup::new();
    let run = |url: &str| {
        cloud
            .home
            .command_for(url)
            .args(["doctor", "--json"])
            .output()
            .unwrap()
    };
    let output = run(&cloud.url);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &report["backend"], &report["runs"]),
        (Some(0), &json!("cloud"), &json!(true)),
        "{report}"
    );
    assert!(!report.to_string().contains("a-secret-token"));
    // A port without a listener.
    let output = run("http://127.0.0.1:1");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &report["runs"]),
        (Some(1), &json!(false)),
        "{report}"
    );
}

#[test]
fn the_doctor_reports_missing_parts() {
    let home = Home::new();
    let output = home
        .command()
        .env("CONTREE_TOKEN", "secret")
        .arg("doctor")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(
        text.contains("missing") && text.contains("no URL") && !text.contains("secret"),
        "{text}"
    );
    let output = home
        .command()
        .env("CONTREE_DATA_DIR", "/proc/nowhere/data")
        .arg("doctor")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(
        stdout(&output).contains("CONTREE_DATA_DIR"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn the_doctor_makes_a_sandbox() {
    let home = Home::new();
    let output = home.command().args(["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &report["backend"]),
        (Some(0), &json!("local")),
        "{report}"
    );
    for check in report["checks"].as_array().unwrap() {
        assert!(
            ["fine", "degraded", "missing"].contains(&check["state"].as_str().unwrap()),
            "{check}"
        );
        assert!(
            check["state"] == "fine"
                || check["remedy"].is_string()
                || ["note", "network"].contains(&check["name"].as_str().unwrap()),
            "{check}"
        );
    }
}
