//! `contree-mcp tools --diff`: what has changed about the surface, and how much that matters.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use support::Home;

/// The exit status and what was printed.
fn tools(home: &Home, options: &[&str]) -> (i32, String) {
    let output = home.command().arg("tools").args(options).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), printed + &said)
}

/// What the tool `run` was before, the exit status, and what is said.
type Case<'a> = (&'a dyn Fn(&mut Value), i32, &'a str);

#[test]
fn each_change_is_found_and_weighed() {
    let home = Home::new();
    let (_, printed) = tools(&home, &["--format", "surface"]);
    let surface: Value = serde_json::from_str(&printed).unwrap();
    let file = home.path().join("old.json");
    let diff = |old: &Value| {
        std::fs::write(&file, old.to_string()).unwrap();
        tools(&home, &["--diff", file.to_str().unwrap()])
    };
    assert_eq!(diff(&surface), (0, "nothing has changed\n".into()));
    assert_eq!(diff(&json!({"result": surface})).0, 0);
    assert_eq!(diff(&surface["tools"]).0, 0);
    let (_, printed) = tools(&home, &["--format", "json"]);
    assert_eq!(diff(&serde_json::from_str(&printed).unwrap()).0, 0);

    let run = |edit: &dyn Fn(&mut Value)| {
        let mut old = surface.clone();
        let tools = old["tools"].as_array_mut().unwrap();
        edit(tools.iter_mut().find(|tool| tool["name"] == "run").unwrap());
        diff(&old)
    };
    let cases: &[Case<'_>] = &[
        (
            &|run| run["description"] = json!("Runs"),
            3,
            "run: its description reads differently",
        ),
        (
            &|run| run["inputSchema"]["properties"]["timeout"]["description"] = json!("s"),
            3,
            "run.timeout: its description",
        ),
        (
            &|run| run["inputSchema"]["properties"]["timeout"]["default"] = json!(60),
            4,
            "run.timeout: its default was 60, and is 30",
        ),
        (
            &|run| run["inputSchema"]["properties"]["timeout"]["maximum"] = json!(5),
            4,
            "run.timeout: its maximum was 5",
        ),
        (
            &|run| run["inputSchema"]["properties"]["timeout"]["minimum"] = json!(-5),
            5,
            "run.timeout: its minimum was -5, and is 1",
        ),
        (
            &|run| run["inputSchema"]["properties"]["timeout"]["type"] = json!("number"),
            5,
            "run.timeout: its type was number, and is integer",
        ),
        (
            &|run| run["inputSchema"]["properties"]["speed"] = json!({"type": "string"}),
            5,
            "run.speed: this argument is gone",
        ),
        (
            &|run| {
                drop(
                    run["inputSchema"]["properties"]
                        .as_object_mut()
                        .unwrap()
                        .remove("stdin"),
                )
            },
            4,
            "run.stdin: this argument is new",
        ),
        (
            &|run| {
                drop(
                    run["inputSchema"]["properties"]
                        .as_object_mut()
                        .unwrap()
                        .remove("command"),
                )
            },
            5,
            "run.command: this argument is new, and required",
        ),
        (
            &|run| run["inputSchema"]["required"] = json!(["command"]),
            5,
            "run.image: it is required now",
        ),
        (
            &|run| run["annotations"]["readOnlyHint"] = json!(true),
            4,
            "run: its readOnlyHint is no longer true",
        ),
        (
            &|run| run["outputSchema"]["properties"]["stdout"]["type"] = json!("array"),
            5,
            "run -> stdout: its type was array, and is string",
        ),
        (
            &|run| run["name"] = json!("ran"),
            5,
            "ran: this tool is gone",
        ),
    ];
    for (edit, status, expected) in cases {
        let (found, printed) = run(edit);
        assert_eq!(found, *status, "{expected}: {printed}");
        assert!(printed.contains(expected), "{expected}: {printed}");
    }

    let mut old = surface.clone();
    old["prompts"][0]["arguments"][0]["name"] = json!("renamed");
    old["resourceTemplates"][0]["uriTemplate"] = json!("contree://gone/{x}");
    let (status, printed) = diff(&old);
    assert_eq!(status, 5);
    assert!(
        printed.contains("renamed: this argument is gone"),
        "{printed}"
    );
    assert!(
        printed.contains("contree://gone/{x}: this template is gone"),
        "{printed}"
    );
    let (status, printed) = tools(
        &home,
        &["--format", "json", "--diff", file.to_str().unwrap()],
    );
    let changes: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((status, &changes[0]["severity"]), (5, &json!("breaking")));

    // What an offer leaves out is gone for those who had it.
    std::fs::write(&file, surface.to_string()).unwrap();
    let output = home
        .command()
        .args(["--read-only", "tools", "--diff"])
        .arg(&file)
        .output();
    assert_eq!(output.unwrap().status.code(), Some(5));

    for (text, expected) in [("{", "no JSON"), ("{}", "no list of tools")] {
        std::fs::write(&file, text).unwrap();
        let (status, said) = tools(&home, &["--diff", file.to_str().unwrap()]);
        assert_eq!(status, 2, "{said}");
        assert!(said.contains(expected), "{said}");
    }
}
