//! Compatibility with the reference server: everything that its clients rely on exists.

use crate::support::Home;
use crate::support::raw::RawClient;
use serde_json::{Value, json};

/// Reads a file of `tests/contract`. Also returns its path.
fn contract(name: &str) -> (std::path::PathBuf, Value) {
    let path = crate::support::repository()
        .join("tests/contract")
        .join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    (path, serde_json::from_str(&text).unwrap())
}

/// Runs `contree-mcp tools` and returns the exit status and all output.
fn tools(home: &Home, options: &[&str]) -> (i32, String) {
    let output = home.command().arg("tools").args(options).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), printed + &errors)
}

/// Returns the JSON type for a type of the reference's notation.
fn base_type(notation: &str) -> &str {
    let first = notation.split(['|', '<', '(']).next().unwrap();
    match first {
        "enum" => "string",
        "map" => "object",
        other => other,
    }
}

/// All parameters that the reference's clients send are accepted, and all fields that they read
/// exist.
#[test]
fn nothing_of_the_reference_is_missing() {
    let home = Home::new();
    let mut raw = RawClient::initialized(home.command(), "2025-11-25");
    let mut list = |method: &str, name: &str| -> Vec<Value> {
        let answer = raw.request(method, json!({}));
        answer["result"][name]
            .as_array()
            .unwrap_or_else(|| panic!("{answer}"))
            .clone()
    };
    let tools = list("tools/list", "tools");
    let prompts = list("prompts/list", "prompts");
    let resources = list("resources/list", "resources");
    let templates = list("resources/templates/list", "resourceTemplates");
    let find = |list: &[Value], key: &str, wanted: &Value| -> Value {
        let found = list.iter().find(|entry| entry[key] == wanted[key]);
        found
            .cloned()
            .unwrap_or_else(|| panic!("missing: {}", wanted[key]))
    };
    let (_, reference) = contract("surface-0.5.0.json");
    for wanted in reference["tools"].as_array().unwrap() {
        let tool = find(&tools, "name", wanted);
        let name = wanted["name"].as_str().unwrap();
        let schema = &tool["inputSchema"];
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (parameter, facts) in wanted["parameters"].as_object().unwrap() {
            let shown = &schema["properties"][parameter];
            assert!(shown.is_object(), "{name}.{parameter} is missing");
            assert_eq!(
                shown["type"],
                base_type(facts["type"].as_str().unwrap()),
                "{name}.{parameter}"
            );
            assert_eq!(
                required.contains(&json!(parameter)),
                facts["required"] == true,
                "{name}.{parameter}"
            );
            let default = facts
                .get("default")
                .filter(|value| !value.is_null() && **value != json!(""));
            // If the reference names no default, this server has the API's default.
            if let Some(wanted) = default {
                let known = &shown["default"];
                let same = match (wanted.as_f64(), known.as_f64()) {
                    (Some(wanted), Some(known)) => wanted.total_cmp(&known).is_eq(),
                    _ => wanted == known,
                };
                assert!(
                    same,
                    "{name}.{parameter}: the default is {known}, not {wanted}"
                );
            }
            for choice in facts["type"]
                .as_str()
                .unwrap()
                .split(['(', ')', '|'])
                .filter(|_| facts["type"].as_str().unwrap().starts_with("enum"))
            {
                let known = shown["enum"].as_array().unwrap();
                assert!(
                    ["enum", "", "null"].contains(&choice) || known.contains(&json!(choice)),
                    "{name}.{parameter}: {choice}"
                );
            }
        }
        // Required fields of answers exist. Answers that the reference wraps in `result` are flat
        // here.
        for (field, facts) in wanted["output"].as_object().unwrap() {
            if facts["required"] == true && field != "result" {
                let known = tool["outputSchema"]["required"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                assert!(known.contains(&json!(field)), "{name} -> {field}");
            }
        }
    }
    for wanted in reference["prompts"].as_array().unwrap() {
        let prompt = find(&prompts, "name", wanted);
        let arguments = prompt["arguments"].as_array().unwrap();
        for (name, facts) in wanted["arguments"].as_object().unwrap() {
            let argument = find(arguments, "name", &json!({"name": name}));
            assert_eq!(
                argument["required"], facts["required"],
                "{} {name}",
                wanted["name"]
            );
        }
        assert_eq!(
            arguments.len(),
            wanted["arguments"].as_object().unwrap().len()
        );
    }
    for wanted in reference["resources"].as_array().unwrap() {
        let resource = find(&resources, "uri", wanted);
        assert_eq!(
            (&resource["name"], &resource["mimeType"]),
            (&wanted["name"], &wanted["mimeType"])
        );
    }
    for wanted in reference["templates"].as_array().unwrap() {
        let template = find(&templates, "uriTemplate", wanted);
        assert_eq!(
            (&template["name"], &template["mimeType"]),
            (&wanted["name"], &wanted["mimeType"])
        );
    }

    // Parameter names of the first release are accepted, even if they are not shown.
    let (_, first) = contract("surface-0.1.0.json");
    for wanted in first["tools"].as_array().unwrap() {
        let tool = find(&tools, "name", wanted);
        for parameter in wanted["parameters"].as_object().unwrap().keys() {
            if tool["inputSchema"]["properties"].get(parameter).is_none() {
                let text = raw.call(
                    wanted["name"].as_str().unwrap(),
                    json!({parameter: "no such value"}),
                );
                let text = text.to_string();
                assert!(
                    !text.contains("has no argument"),
                    "{}.{parameter}: {text}",
                    wanted["name"]
                );
            }
        }
    }
    let listed = raw.call_ok("list_operations", json!({"kind": "instance"}));
    assert_eq!(listed["operations"], json!([]));
    let text = raw.call_error(
        "list_operations",
        json!({"kind": "instance", "type": "image_import"}),
    );
    assert!(text.contains("given twice"), "{text}");

    let (path, _) = contract("surface-0.5.0.json");
    let (status, printed) = self::tools(&home, &["--diff", path.to_str().unwrap()]);
    let breaking: Vec<&str> = printed
        .lines()
        .filter(|line| line.starts_with("breaking"))
        .filter(|line| {
            !INTENDED_DIFFERENCES
                .iter()
                .any(|known| line.contains(known))
        })
        .collect();
    assert!(breaking.is_empty(), "{breaking:#?}");
    assert_eq!(status, 5);
}

/// Intended differences from the reference: answers are flat, without a field `result` around them.
const INTENDED_DIFFERENCES: &[&str] = &[
    "run -> result:",
    "rsync -> result:",
    "import_image -> result:",
];
