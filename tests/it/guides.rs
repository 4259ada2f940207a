//! Runs every example of every guide on the embedded engine.

use std::collections::BTreeMap;

use crate::support::Home;
use crate::support::raw::RawClient;
use serde_json::{Map, Value, json};

/// The calls in the code blocks of a guide, in order.
fn examples(guide: &str) -> Vec<String> {
    let blocks = guide.split("```").skip(1).step_by(2);
    blocks
        .flat_map(str::lines)
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Splits a call's arguments at commas outside of quotes and brackets.
fn split_arguments(text: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Parses the text of an argument's value. Placeholders such as `RESULT_IMAGE_UUID` are replaced
/// from earlier answers.
fn parse_value(text: &str, known: &BTreeMap<String, Value>) -> Value {
    let mut text = text.trim().to_owned();
    let mut names: Vec<&String> = known.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in names {
        let mut written = String::new();
        let (mut quoted, mut rest) = (false, text.as_str());
        while let Some(c) = rest.chars().next() {
            quoted ^= c == '"';
            if !quoted && rest.starts_with(name.as_str()) {
                written.push_str(&known[name].to_string());
                rest = &rest[name.len()..];
            } else {
                written.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        text = written;
    }
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Parses a call: the name of the tool, and its arguments.
fn parse_call(example: &str, known: &BTreeMap<String, Value>) -> (String, Map<String, Value>) {
    let (name, rest) = example
        .split_once('(')
        .unwrap_or_else(|| panic!("{example}"));
    let inner = rest
        .strip_suffix(')')
        .unwrap_or_else(|| panic!("{example}"));
    let arguments = split_arguments(inner).into_iter().map(|argument| {
        let (name, text) = argument
            .split_once('=')
            .unwrap_or_else(|| panic!("{example}"));
        (name.trim().to_owned(), parse_value(text, known))
    });
    (name.to_owned(), arguments.collect())
}

#[test]
fn every_example_of_every_guide_works() {
    let home = Home::new();
    let project = home.path().join("project");
    std::fs::create_dir_all(project.join("src")).unwrap();
    std::fs::write(project.join("src/main.py"), "print('hi')\n").unwrap();
    let mut raw = RawClient::initialized(home.command(), "2025-11-25");
    let listed = raw.request("resources/list", json!({}));
    let mut executed = 0;
    for guide in listed["result"]["resources"].as_array().unwrap() {
        let read = raw.request("resources/read", json!({"uri": guide["uri"]}));
        let text = read["result"]["contents"][0]["text"].as_str().unwrap();
        // Later calls refer to the fields of an answer by their names in capitals.
        let mut known = BTreeMap::new();
        for example in examples(text) {
            let (tool, arguments) = parse_call(&example, &known);
            let answer = if tool == "import_image" {
                tag_instead_of_import(&mut raw, &arguments)
            } else {
                raw.call_ok(&tool, Value::Object(arguments))
            };
            for (name, value) in answer.as_object().unwrap() {
                known.insert(name.to_uppercase(), value.clone());
            }
            executed += 1;
        }
    }
    assert!(executed > 30, "{executed}");
}

/// Stands in for an import: no registry is available, so `tag:host` gets the tag of the import.
fn tag_instead_of_import(raw: &mut RawClient, arguments: &Map<String, Value>) -> Value {
    assert!(
        arguments["registry_url"]
            .as_str()
            .unwrap()
            .starts_with("docker://")
    );
    let host = raw.call_ok("get_image", json!({"image": "tag:host"}));
    raw.call_ok(
        "set_tag",
        json!({"image_uuid": host["uuid"], "tag": arguments["tag"]}),
    )
}
