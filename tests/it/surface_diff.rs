//! `contree-mcp tools --diff`: changes of the surface, and their severity.

use crate::support::Home;
use serde_json::{Value, json};

/// Runs `contree-mcp tools` and returns the exit status and all output.
fn tools(home: &Home, options: &[&str]) -> (i32, String) {
    let output = home.command().arg("tools").args(options).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), printed + &errors)
}

/// Compares with a surface in which `edit` has changed a tool. Returns the exit status and the
/// output.
fn since(home: &Home, tool: &str, edit: &dyn Fn(&mut Value)) -> (i32, String) {
    let (_, printed) = tools(home, &["--format", "surface"]);
    let mut old: Value = serde_json::from_str(&printed).unwrap();
    let list = old["tools"].as_array_mut().unwrap();
    edit(list.iter_mut().find(|known| known["name"] == tool).unwrap());
    let file = home.path().join("old.json");
    std::fs::write(&file, old.to_string()).unwrap();
    tools(home, &["--diff", file.to_str().unwrap()])
}

fn check(cases: &[(&str, Case<'_>)]) {
    let home = Home::new();
    for (tool, (edit, status, expected)) in cases {
        let (found, printed) = since(&home, tool, edit);
        assert_eq!(found, *status, "{expected}: {printed}");
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
}

fn remove(object: &mut Value, key: &str) {
    object.as_object_mut().unwrap().remove(key).unwrap();
}

/// The edit of the old tool, the expected exit status, and the expected output.
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

    // A tool that is no longer offered counts as removed.
    std::fs::write(&file, surface.to_string()).unwrap();
    let output = home
        .command()
        .args(["--read-only", "tools", "--diff"])
        .arg(&file)
        .output();
    assert_eq!(output.unwrap().status.code(), Some(5));

    for (text, expected) in [("{", "not valid JSON"), ("{}", "no list of tools")] {
        std::fs::write(&file, text).unwrap();
        let (status, said) = tools(&home, &["--diff", file.to_str().unwrap()]);
        assert_eq!(status, 2, "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn fields_within_fields_are_compared() {
    check(&[
        (
            "list_files",
            (
                &|tool| {
                    let items = &mut tool["outputSchema"]["properties"]["files"]["items"];
                    items["properties"]["inode"] = json!({"type": "integer"});
                    items["required"] = json!(["name", "path", "type", "size", "inode"]);
                },
                5,
                "list_files -> files[].inode: this field of the answer is gone\n",
            ),
        ),
        (
            "list_files",
            (
                &|tool| {
                    let items = &mut tool["outputSchema"]["properties"]["files"]["items"];
                    remove(&mut items["properties"], "size");
                },
                4,
                "list_files -> files[].size: this field of the answer is new",
            ),
        ),
        (
            "wait_operations",
            (
                &|tool| {
                    let results = &mut tool["outputSchema"]["properties"]["results"];
                    results["additionalProperties"]["properties"]["stdout"]["type"] =
                        json!("array");
                },
                5,
                "wait_operations -> results{}.stdout: its type was array, and is string",
            ),
        ),
        (
            "run",
            (
                &|tool| {
                    let env = &mut tool["inputSchema"]["properties"]["env"];
                    env["properties"] = json!({"HOME": {"type": "string"}});
                },
                5,
                "run.env.HOME: this argument is gone",
            ),
        ),
    ]);
}

#[test]
fn formats_and_patterns_of_arguments_are_compared() {
    check(&[
        (
            "run",
            (
                &|tool| remove(&mut tool["inputSchema"]["properties"]["cwd"], "pattern"),
                5,
                "run.cwd: its pattern was none, and is ^",
            ),
        ),
        (
            "run",
            (
                &|tool| tool["inputSchema"]["properties"]["cwd"]["pattern"] = json!("^/"),
                5,
                "run.cwd: its pattern was ^/, and is ^",
            ),
        ),
        (
            "run",
            (
                &|tool| tool["inputSchema"]["properties"]["image"]["pattern"] = json!("^tag:"),
                4,
                "run.image: its pattern was ^tag:, and is none",
            ),
        ),
        (
            "set_tag",
            (
                &|tool| {
                    tool["inputSchema"]["properties"]["image_uuid"]["format"] = json!("uuid");
                },
                4,
                "set_tag.image_uuid: its format was uuid, and is none",
            ),
        ),
        (
            "wait_operations",
            (
                &|tool| {
                    let ids = &mut tool["inputSchema"]["properties"]["operation_ids"];
                    ids["items"]["format"] = json!("uuid");
                },
                4,
                "wait_operations.operation_ids[]: its format was uuid, and is none",
            ),
        ),
    ]);
}

#[test]
fn a_type_where_there_was_none_breaks() {
    check(&[
        (
            "run",
            (
                &|tool| remove(&mut tool["inputSchema"]["properties"]["command"], "type"),
                5,
                "run.command: its type was anything, and is string",
            ),
        ),
        (
            "wait_operations",
            (
                &|tool| {
                    let ids = &mut tool["inputSchema"]["properties"]["operation_ids"];
                    remove(ids, "items");
                },
                5,
                "wait_operations.operation_ids: its type was array, and is array of string",
            ),
        ),
    ]);
}

#[test]
fn choices_of_answers_are_compared() {
    check(&[(
        "list_files",
        (
            &|tool| {
                let items = &mut tool["outputSchema"]["properties"]["files"]["items"];
                items["properties"]["type"]["enum"] = json!(["file", "directory"]);
                tool["outputSchema"]["properties"]["path"]["enum"] = json!(["/"]);
            },
            4,
            "list_files -> path: any value is allowed now",
        ),
    )]);
}
