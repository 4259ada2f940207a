//! The shipped manifest: budgets, the subset of JSON Schema, and the entry for the MCP registry.

use std::fs;
use std::sync::LazyLock;

use contree_codegen::manifest::Output;
use contree_xtask::generated::compile_shipped;
use serde_json::{Value, json};

use super::root;

static OUTPUT: LazyLock<Output> =
    LazyLock::new(|| compile_shipped(root()).unwrap_or_else(|problems| panic!("{problems}")));

/// Bytes that a model reads of one tool.
const TOOL: usize = 2_000;
/// Bytes that a model reads of `run`, which has twice as many parameters as any other tool.
const RUN: usize = 3_000;
/// Bytes that a model reads of the tools in [`FIRST_TOOLS`], with parameters that later releases
/// add.
const FIRST: usize = 15_000;
/// Bytes that a model reads of all tools, with those that later releases add.
const ALL: usize = 24_000;
/// Bytes of the instructions.
const INSTRUCTIONS: usize = 2_500;

/// The tools of the first release.
const FIRST_TOOLS: [&str; 19] = [
    "cancel_operation",
    "download",
    "get_guide",
    "get_image",
    "get_operation",
    "grep",
    "import_image",
    "list_files",
    "list_images",
    "list_operations",
    "read_file",
    "registry_auth",
    "registry_token_obtain",
    "rsync",
    "run",
    "set_tag",
    "upload",
    "wait_operations",
    "whoami",
];

/// Size of what clients pass to a model from an entry of `tools/list`: name, description and input
/// schema. They keep the title, the hints and the output schema to themselves.
fn model_bytes(tool: &Value) -> usize {
    let parts = json!([tool["name"], tool["description"], tool["inputSchema"]]);
    parts.to_string().len()
}

#[test]
fn tools_stay_within_their_budgets() {
    let sizes: Vec<(&str, usize)> = OUTPUT
        .surface
        .iter()
        .map(|(name, tool)| (name.as_str(), model_bytes(tool)))
        .collect();
    for (name, size) in &sizes {
        let budget = if *name == "run" { RUN } else { TOOL };
        assert!(
            *size <= budget,
            "{name} has {size} bytes, more than {budget}: shorten its description and docs"
        );
    }
    let first = sizes.iter().filter(|(name, _)| FIRST_TOOLS.contains(name));
    let first: Vec<usize> = first.map(|(_, size)| *size).collect();
    assert_eq!(
        first.len(),
        FIRST_TOOLS.len(),
        "a tool was renamed or removed"
    );
    let first: usize = first.iter().sum();
    assert!(
        first <= FIRST,
        "the first {} tools have {first} bytes, more than {FIRST}: {sizes:?}",
        FIRST_TOOLS.len()
    );
    let all: usize = sizes.iter().map(|(_, size)| size).sum();
    assert!(
        all <= ALL,
        "all tools have {all} bytes, more than {ALL}: {sizes:?}"
    );
}

#[test]
fn every_text_for_models_is_a_full_one() {
    for (name, tool) in &OUTPUT.surface {
        let description = tool["description"].as_str().unwrap();
        let summary = description.lines().next().unwrap();
        assert!(
            summary.ends_with('.') && summary.split(' ').count() >= 5,
            "the first line of {name} is not a sentence: {summary}"
        );
        for (parameter, schema) in tool["inputSchema"]["properties"].as_object().unwrap() {
            let doc = schema["description"].as_str().unwrap_or_default();
            assert!(
                doc.split(' ').count() >= 3,
                "{name}.{parameter} has keywords instead of a meaning: {doc:?}"
            );
        }
    }
}

#[test]
fn input_schemas_stay_in_the_subset_that_every_client_reads() {
    for (name, tool) in &OUTPUT.surface {
        let schema = &tool["inputSchema"];
        assert_eq!(schema["type"], "object", "{name}");
        assert_eq!(schema["additionalProperties"], false, "{name}");
        for (param, property) in schema["properties"].as_object().unwrap() {
            portable(&format!("{name}.{param}"), property);
            assert!(
                property["description"].is_string(),
                "{name}.{param} has no description"
            );
        }
    }
}

/// Checks that each node has one type, and neither references nor combinations.
fn portable(path: &str, schema: &Value) {
    let known = [
        "type",
        "description",
        "format",
        "pattern",
        "enum",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "items",
        "additionalProperties",
        "default",
    ];
    for key in schema.as_object().unwrap().keys() {
        assert!(known.contains(&key.as_str()), "{path} has `{key}`");
    }
    // One big provider refuses a tool with any other format.
    let format = schema.get("format").and_then(Value::as_str);
    assert!(
        format.is_none_or(|format| format == "date-time"),
        "{path} has format {format:?}"
    );
    let kind = schema["type"]
        .as_str()
        .unwrap_or_else(|| panic!("{path} has no single type"));
    assert!(
        ["string", "integer", "number", "boolean", "array", "object"].contains(&kind),
        "{path}: {kind}"
    );
    assert_eq!(kind == "array", schema.get("items").is_some(), "{path}");
    for inner in ["items", "additionalProperties"]
        .iter()
        .filter_map(|key| schema.get(key))
    {
        portable(path, inner);
    }
}

#[test]
fn server_json_fits_the_mcp_registry() {
    let (_, text) = OUTPUT
        .documents
        .iter()
        .find(|(name, _)| name == "server.json")
        .unwrap();
    let server: Value = serde_json::from_str(text).unwrap();
    let name = server["name"].as_str().unwrap();
    let (namespace, server_name) = name.split_once('/').unwrap();
    let allowed = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    assert!(
        allowed(namespace) && allowed(server_name) && name.len() <= 200,
        "{name}"
    );
    let length = |key: &str| server[key].as_str().unwrap().chars().count();
    assert!((1..=100).contains(&length("description")));
    assert!((1..=100).contains(&length("title")));
    assert_eq!(server["version"], env!("CARGO_PKG_VERSION"));
    let package = &server["packages"][0];
    assert_eq!(package["identifier"], env!("CARGO_PKG_NAME"));
    assert_eq!(package["version"], server["version"]);
    // The registry looks for this name on the page of crates.io, which shows the README.
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&format!("`mcp-name: {name}`")));
}

#[test]
fn editors_find_the_schema_of_the_manifest() {
    let manifest = fs::read_to_string(root().join("tools.yaml")).unwrap();
    let first = manifest.lines().next();
    assert_eq!(
        first,
        Some("# yaml-language-server: $schema=./tools.schema.json")
    );
}

#[test]
fn instructions_stay_within_their_budget() {
    let size = OUTPUT.instructions.len();
    assert!(
        size <= INSTRUCTIONS,
        "the instructions have {size} bytes, more than {INSTRUCTIONS}"
    );
}
