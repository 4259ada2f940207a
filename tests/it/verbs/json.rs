//! The JSON of each verb has recorded names, so that scripts can rely on them.

use serde_json::Value;

use super::Shell;

/// The file with the names of the fields of each verb's objects.
const RECORDED: &str = "tests/it/verbs/json_fields.txt";

/// The fields of the objects of an output, in order and without repetition.
fn fields(output: &str) -> String {
    let mut names: Vec<String> = Vec::new();
    for line in output.lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        for name in object.as_object().unwrap().keys() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names.join(" ")
}

#[test]
fn the_fields_are_the_recorded_ones() {
    let shell = Shell::new();
    std::fs::create_dir(shell.0.path().join("empty")).unwrap();
    shell.ok(&["run", "-s", "echo one > /f; echo > /etc/added"]);
    shell.ok(&["tag", "t"]);
    shell.ok(&["env", "A=b"]);
    std::fs::write(shell.0.path().join("Dockerfile"), "FROM tag:host\n").unwrap();
    let running = shell.ok(&["run", "-d", "-D", "sleep", "600"]);
    let running = running.trim();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let registry = runtime.block_on(crate::push_registry::PushRegistry::start());
    let registry = registry.url("j:1");
    let mut found = String::new();
    for words in [
        &["run", "-s", "echo x; echo two > /f"][..],
        &["use"],
        &["build", "-t", "b"],
        &["images", "-a"],
        &["images", "--tree"],
        &["ps", "-a"],
        &["show", "@4"],
        &["logs", "@4"],
        &["wait", "@4"],
        &["log"],
        &["diff"],
        &["ls", "/"],
        &["grep", "two", "/f"],
        &["session", "list"],
        &["session", "show"],
        &["session", "branch"],
        &["cd"],
        &["env"],
        &["exec", running, "true"],
        &["publish", running, "8000"],
        &["snapshot", running],
        &["push", "@", &registry],
        &["apply", "@", "/etc", "empty", "-n", "--base", "host"],
        &["auth", "status"],
        &["rmi", "-f", "@"],
    ] {
        let mut json = vec!["--json"];
        json.extend(words);
        let output = shell.ok(&json);
        let verb: Vec<&str> = words
            .iter()
            .copied()
            .filter(|word| word.chars().all(|c| c.is_ascii_lowercase()))
            .take(2)
            .collect();
        let verb = if ["session", "auth"].contains(&verb[0]) {
            verb.join(" ")
        } else {
            verb[0].to_owned()
        };
        found.push_str(&format!("{verb}: {}\n", fields(&output)));
    }
    shell.ok(&["kill", running]);
    let recorded = crate::support::repository().join(RECORDED);
    assert_eq!(found, std::fs::read_to_string(recorded).unwrap());
}
