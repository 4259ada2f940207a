//! Tests of argument conversion: single cases, and properties that hold for all tools.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Arguments, TOOLS, Tool};

fn tool(name: &str) -> &'static Tool {
    TOOLS.iter().find(|tool| tool.name == name).unwrap()
}

fn object(value: Value) -> Arguments {
    value.as_object().unwrap().clone()
}

fn normalised(name: &str, sent: Value) -> Value {
    Value::Object(tool(name).normalise(object(sent)).unwrap())
}

fn refused(name: &str, sent: Value) -> String {
    tool(name).normalise(object(sent)).unwrap_err().to_string()
}

#[test]
fn defaults_are_filled_in_and_null_counts_as_absent() {
    let expected = json!({
        "command": "ls", "image": "tag:host", "shell": true, "preserve_env": false, "cwd": "", "uid": 0, "gid": 0,
        "timeout": 30, "disposable": true, "stdin_open": false, "wait": true,
        "truncate_output_at": 8000, "network": "default",
    });
    assert_eq!(
        normalised("run", json!({"command": "ls", "image": "tag:host"})),
        expected
    );
    let nulls = json!({"command": "ls", "image": "tag:host", "timeout": null, "env": null, "files": null, "stdin": null});
    assert_eq!(normalised("run", nulls), expected);
}

/// Some clients fill in every argument.
#[test]
fn placeholders_of_optional_arguments_count_as_absent() {
    let given = json!({"command": "ls", "image": "tag:host"});
    let mut filled = given.clone();
    for (name, placeholder) in [
        ("env", json!({})),
        ("files", json!([])),
        ("stdin", json!("")),
        ("cwd", json!("")),
        ("timeout", json!(0)),
        ("directory_state_id", json!(0)),
        ("max_layer_bytes", json!(0)),
        ("truncate_output_at", json!("")),
    ] {
        filled[name] = placeholder;
    }
    let mut expected = normalised("run", given);
    expected["env"] = json!({});
    assert_eq!(normalised("run", filled), expected);
    let filled = json!({"image": "tag:a", "pattern": "x", "path": "", "glob": "", "max_count": 0, "max_total": 0, "case": ""});
    let given = json!({"image": "tag:a", "pattern": "x"});
    assert_eq!(normalised("grep", filled), normalised("grep", given));
    let filled = json!({"status": "", "type": "", "since": "", "limit": 0});
    assert_eq!(
        normalised("list_operations", filled),
        normalised("list_operations", json!({}))
    );
    // An untagged image is not what an empty tag asks for.
    assert!(
        refused(
            "set_tag",
            json!({"image_uuid": "6f9619ff-8b86-d011-b42d-00c04fc964ff", "tag": ""})
        )
        .contains("tag")
    );
    // An empty file is.
    let empty = json!({"content": ""});
    assert_eq!(normalised("upload", empty.clone()), empty);
    // Required arguments and wrong values are refused as before.
    assert!(refused("get_image", json!({"image": 0.5})).contains("image"));
    assert!(
        refused(
            "run",
            json!({"command": "ls", "image": "tag:a", "timeout": -1})
        )
        .contains("timeout")
    );
}

#[test]
fn lossless_spellings_are_converted() {
    let sent = json!({
        "command": 42, "image": true, "timeout": "45", "uid": 12.0, "shell": "False", "disposable": 0,
        "env": "{\"A\": 1, \"B\": null}", "files": {"/a": "b"},
    });
    let got = normalised("run", sent);
    assert_eq!(got["command"], "42");
    assert_eq!(got["image"], "true");
    assert_eq!(got["timeout"], 45);
    assert_eq!(got["uid"], json!(12));
    assert_eq!(got["shell"], false);
    assert_eq!(got["disposable"], false);
    assert_eq!(got["env"], json!({"A": "1", "B": null}));
    let list = normalised(
        "wait_operations",
        json!({"operation_ids": "[\"a\", \"b\"]", "timeout": "1.5", "mode": "ANY"}),
    );
    assert_eq!(
        list,
        json!({"operation_ids": ["a", "b"], "timeout": 1.5, "mode": "any", "tail": 2000})
    );
    assert_eq!(
        normalised("wait_operations", json!({"operation_ids": "a"}))["operation_ids"],
        json!(["a"])
    );
    let id = "6F9619FF8B86D011B42D00C04FC964FF";
    assert_eq!(
        normalised("get_operation", json!({"operation_id": id}))["operation_id"],
        "6f9619ff-8b86-d011-b42d-00c04fc964ff"
    );
}

#[test]
fn lossy_spellings_are_refused() {
    for (name, sent, expected) in [
        (
            "run",
            json!({"timeout": "soon"}),
            "`timeout` must be of type integer, not \"soon\"",
        ),
        (
            "run",
            json!({"timeout": 1.5}),
            "`timeout` must be of type integer, not 1.5",
        ),
        (
            "run",
            json!({"command": 3.10}),
            "`command` must be of type string, not 3.1",
        ),
        (
            "run",
            json!({"command": ["ls"]}),
            "`command` must be of type string, not [\"ls\"]",
        ),
        (
            "run",
            json!({"shell": "yes"}),
            "`shell` must be of type boolean, not \"yes\"",
        ),
        (
            "run",
            json!({"env": "A=1"}),
            "`env` must be of type object, not \"A=1\"",
        ),
        (
            "run",
            json!({"env": {"A": [1]}}),
            "`env.A` must be of type string, not [1]",
        ),
        (
            "run",
            json!({"files": {"/a": null}}),
            "`files./a` must be of type string, not null",
        ),
        (
            "wait_operations",
            json!({"operation_ids": "[\"a\""}),
            "`operation_ids` must be of type array, not \"[\\\"a\\\"\"",
        ),
        (
            "wait_operations",
            json!({"operation_ids": ["a", {}]}),
            "`operation_ids[1]` must be of type string, not {}",
        ),
        (
            "run",
            json!({"timeout": -1}),
            "`timeout` must be at least 1, not -1",
        ),
        (
            "list_images",
            json!({"limit": 1001}),
            "`limit` must be at most 1000, not 1001",
        ),
        (
            "run",
            json!({"cwd": "relative"}),
            "`cwd` must match ^((/[^/]*)+/?)?$, not \"relative\"",
        ),
        (
            "get_operation",
            json!({"operation_id": "1"}),
            "`operation_id` must be a UUID, not \"1\"",
        ),
        (
            "set_tag",
            json!({"tag": ""}),
            "`tag` must have at least 1 character(s), not 0",
        ),
        (
            "wait_operations",
            json!({"mode": "some"}),
            "`mode` must be one of all, any, not \"some\"",
        ),
    ] {
        assert_eq!(refused(name, sent), expected);
    }
}

#[test]
fn an_unknown_argument_is_refused_with_the_nearest_name() {
    let error = refused("get_image", json!({"imge": "x"}));
    assert_eq!(
        error,
        "`get_image` has no argument `imge`; did you mean `image`? It takes: image"
    );
    assert_eq!(
        refused("whoami", json!({"a": 1})),
        "`whoami` takes no arguments; leave out `a`"
    );
    // An unknown name is an error even if its value is null.
    assert!(
        refused("get_image", json!({"image": "x", "tags": null})).contains("no argument `tags`")
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let error = refused("run", json!({"timeout": "soon", "uid": -1, "comand": "ls"}));
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert_eq!(
        refused("run", json!({})),
        "`run` needs `command` and `image`"
    );
}

#[test]
fn an_alias_sets_its_argument() {
    let got = normalised("list_operations", json!({"kind": "instance"}));
    assert_eq!(got, json!({"limit": 100, "type": "instance"}));
    assert_eq!(
        normalised(
            "list_operations",
            json!({"kind": "instance", "type": "instance"})
        ),
        got
    );
    let error = refused(
        "list_operations",
        json!({"kind": "instance", "type": "image_import"}),
    );
    assert_eq!(
        error,
        "`type` is given twice, under two names and with different values; give it once"
    );
    for (tool, target) in [
        ("run", json!({"image": "x"})),
        (
            "exec",
            json!({"operation_id": "44444444-4444-4444-8444-444444444444"}),
        ),
    ] {
        let with = |name: &str| {
            let mut sent = target.clone();
            sent[name] = json!("ls");
            normalised(tool, sent)
        };
        assert_eq!(with("cmd"), with("command"));
        assert_eq!(with("cmd")["command"], "ls");
    }
}

#[test]
fn large_numbers_are_compared_exactly() {
    let sent = json!({"command": "ls", "image": "x", "max_layer_bytes": u64::MAX, "uid": "18446744073709551615"});
    let got = normalised("run", sent);
    assert_eq!(got["max_layer_bytes"], json!(u64::MAX));
    assert_eq!(got["uid"], json!(u64::MAX));
}

/// Generates any JSON value of little depth.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        prop_oneof![
            "true",
            "false",
            "[0-9]{1,20}",
            "-?[0-9]{1,3}\\.[0-9]",
            "\\[\"a\"\\]",
            "all|any|ANY"
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,4}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

/// Generates a tool with arguments, most of them known to it.
fn any_call() -> impl Strategy<Value = (&'static Tool, Arguments)> {
    (0..TOOLS.len()).prop_flat_map(|index| {
        let tool = &TOOLS[index];
        let schema = tool.input_schema();
        let mut names: Vec<_> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        names.extend(
            tool.param_aliases
                .iter()
                .map(|(alias, _)| (*alias).to_owned()),
        );
        names.push("surprise".to_owned());
        let arguments = prop::collection::btree_map(prop::sample::select(names), any_json(), 0..5);
        arguments.prop_map(move |arguments| (tool, arguments.into_iter().collect()))
    })
}

proptest! {
    #[test]
    fn normalising_is_idempotent((tool, sent) in any_call()) {
        if let Ok(once) = tool.normalise(sent) {
            prop_assert_eq!(tool.normalise(once.clone()).unwrap(), once);
        }
    }

    #[test]
    fn accepted_arguments_match_the_published_schema((tool, sent) in any_call()) {
        let schema = tool.input_schema();
        if let Ok(arguments) = tool.normalise(sent) {
            for (name, value) in arguments {
                let property = &schema["properties"][&name];
                prop_assert!(value.is_boolean() == (property["type"] == "boolean"), "{}: {}", name, value);
                prop_assert!(value.is_number() == (property["type"] == "integer" || property["type"] == "number"));
                prop_assert!(value.is_string() == (property["type"] == "string"));
                if let Some(choices) = property["enum"].as_array() {
                    prop_assert!(choices.contains(&value));
                }
            }
        }
    }
}
