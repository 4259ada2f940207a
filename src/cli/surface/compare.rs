//! The comparison of two surfaces: tools, prompts, resources and instructions.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use super::change::{Change, Changes, Severity};
use super::fields::{compare_answers, compare_arguments, report_new_argument};
use super::read::{Prompt, Resource, Surface, Tool};

/// Returns all changes, the most severe first.
///
/// `current_name` maps a former name of a tool to its current name. `alias` maps a tool and a
/// former name of an argument to the current name of the argument.
pub(in crate::cli) fn compare(
    old: &Surface,
    new: &Surface,
    current_name: impl Fn(&str) -> Option<&'static str>,
    alias: impl Fn(&str, &str) -> Option<&'static str>,
) -> Vec<Change> {
    let mut changes = Changes(Vec::new());
    if let (Some(old), Some(new)) = (&old.tools, &new.tools) {
        let old = under_current_names(old, new, current_name, &mut changes);
        compare_maps(
            "tool",
            &old,
            new,
            &mut changes,
            |name, old, new, changes| {
                compare_tool(name, old, new, &|argument| alias(name, argument), changes);
            },
        );
    }
    if let (Some(old), Some(new)) = (&old.prompts, &new.prompts) {
        compare_maps("prompt", old, new, &mut changes, compare_prompt);
    }
    for (kind, old, new) in [
        ("resource", &old.resources, &new.resources),
        ("template", &old.templates, &new.templates),
    ] {
        if let (Some(old), Some(new)) = (old, new) {
            compare_maps(kind, old, new, &mut changes, compare_resource);
        }
    }
    if let (Some(old), Some(new)) = (&old.instructions, &new.instructions)
        && old != new
    {
        changes.add(Severity::Wording, "instructions", "they read differently");
    }
    let mut changes = changes.0;
    changes.sort_by(|a, b| {
        b.severity
            .cmp(&a.severity)
            .then_with(|| a.item.cmp(&b.item))
    });
    changes
}

/// The old tools under their current names.
fn under_current_names<'a>(
    old: &'a BTreeMap<String, Tool>,
    new: &BTreeMap<String, Tool>,
    current_name: impl Fn(&str) -> Option<&'static str>,
    changes: &mut Changes,
) -> BTreeMap<String, &'a Tool> {
    let mut tools = BTreeMap::new();
    for (name, tool) in old {
        let successor = current_name(name)
            .filter(|current| !new.contains_key(name) && new.contains_key(*current));
        let Some(successor) = successor else {
            tools.insert(name.clone(), tool);
            continue;
        };
        let difference = format!("it is shown as `{successor}` now; this name is accepted too");
        changes.add(Severity::Behavioural, name, difference);
        if !old.contains_key(successor) {
            tools.insert(successor.to_owned(), tool);
        }
    }
    tools
}

fn compare_maps<T, O: Borrow<T>>(
    kind: &str,
    old: &BTreeMap<String, O>,
    new: &BTreeMap<String, T>,
    changes: &mut Changes,
    compare: impl Fn(&str, &T, &T, &mut Changes),
) {
    for (name, old) in old {
        match new.get(name) {
            Some(new) => compare(name, old.borrow(), new, changes),
            None => changes.add(Severity::Breaking, name, format!("this {kind} is gone")),
        }
    }
    for name in new.keys().filter(|name| !old.contains_key(*name)) {
        changes.add(Severity::Behavioural, name, format!("this {kind} is new"));
    }
}

fn compare_tool(
    name: &str,
    old: &Tool,
    new: &Tool,
    alias: &dyn Fn(&str) -> Option<&'static str>,
    changes: &mut Changes,
) {
    changes.labels(name, &old.labels, &new.labels);
    for (hint, value) in &old.hints {
        if new.hints.get(hint).is_some_and(|new| new != value) {
            changes.add(
                Severity::Behavioural,
                name,
                format!("its {hint} is no longer {value}"),
            );
        }
    }
    for (argument, old) in &old.parameters {
        let item = format!("{name}.{argument}");
        if let Some(new) = new.parameters.get(argument) {
            compare_arguments(&item, old, new, changes);
            continue;
        }
        match alias(argument).and_then(|current| Some((current, new.parameters.get(current)?))) {
            Some((current, renamed)) => {
                let difference =
                    format!("it is shown as `{current}` now; this name is accepted too");
                changes.add(Severity::Behavioural, &item, difference);
                compare_arguments(&item, old, renamed, changes);
            }
            None => changes.add(Severity::Breaking, item, "this argument is gone"),
        }
    }
    for (argument, new) in &new.parameters {
        let renamed = old
            .parameters
            .keys()
            .any(|old| alias(old) == Some(argument));
        if !old.parameters.contains_key(argument) && !renamed {
            report_new_argument(&format!("{name}.{argument}"), new, changes);
        }
    }
    if let (Some(old), Some(new)) = (&old.output, &new.output) {
        compare_answers(&format!("{name} -> "), old, new, changes);
    }
}

fn compare_prompt(name: &str, old: &Prompt, new: &Prompt, changes: &mut Changes) {
    changes.labels(name, &old.labels, &new.labels);
    for (argument, old) in &old.arguments {
        let item = format!("{name}.{argument}");
        match new.arguments.get(argument) {
            None => changes.add(Severity::Breaking, item, "this argument is gone"),
            Some(new) => {
                changes.labels(&item, &old.labels, &new.labels);
                match (old.required, new.required) {
                    (false, true) => changes.add(Severity::Breaking, &item, "it is required now"),
                    (true, false) => {
                        changes.add(Severity::Behavioural, &item, "it may be left out now");
                    }
                    _ => {}
                }
                if old.default.is_some() && old.default != new.default {
                    changes.add(Severity::Behavioural, &item, "its default has changed");
                }
            }
        }
    }
    for (argument, new) in &new.arguments {
        if !old.arguments.contains_key(argument) {
            report_new_argument(&format!("{name}.{argument}"), new, changes);
        }
    }
}

fn compare_resource(uri: &str, old: &Resource, new: &Resource, changes: &mut Changes) {
    changes.labels(uri, &old.labels, &new.labels);
    if old.name != new.name {
        let difference = format!("its name was `{}`, and is `{}`", old.name, new.name);
        changes.add(Severity::Behavioural, uri, difference);
    }
    if old.mime.is_some() && old.mime != new.mime {
        changes.add(Severity::Behavioural, uri, "its type has changed");
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::read;
    use super::*;
    use serde_json::{Value, json};

    /// Returns the changes of a tool `t` whose field or argument `x` changes.
    fn changes_of(side: &str, old: &Value, new: &Value) -> Vec<String> {
        let surface = |x: &Value| {
            let schema = json!({"type": "object", "properties": {"x": x}});
            read(&json!([{"name": "t", side: schema}]))
        };
        let (Ok(old), Ok(new)) = (surface(old), surface(new)) else {
            panic!("no surface: {old}, {new}");
        };
        let changes = compare(&old, &new, |_| None, |_, _| None);
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_tool_that_keeps_its_former_name_is_not_gone() {
        let surface = |names: &[&str], argument: &str| {
            let schema = json!({"type": "object", "properties": {argument: {"type": "string"}}});
            let tools = names
                .iter()
                .map(|name| json!({"name": name, "inputSchema": schema}));
            let Ok(surface) = read(&Value::Array(tools.collect())) else {
                panic!("no surface: {names:?}");
            };
            surface
        };
        let changes = |old: &[&str], new: &[&str], argument: &str| -> Vec<String> {
            let (old, new) = (surface(old, "x"), surface(new, argument));
            let current_name = |name: &str| match name {
                "retitle" | "rename" => Some("rename"),
                _ => None,
            };
            let alias =
                |tool: &str, argument: &str| (tool == "rename" && argument == "x").then_some("y");
            let changes = compare(&old, &new, current_name, alias);
            changes.iter().map(ToString::to_string).collect()
        };
        let shown = "behavioural  retitle: it is shown as `rename` now; this name is accepted too";
        assert_eq!(changes(&["retitle"], &["rename"], "x"), [shown]);
        assert_eq!(changes(&["retitle", "rename"], &["rename"], "x"), [shown]);
        assert_eq!(
            changes(&["retitle"], &["rename"], "y"),
            [
                "behavioural  rename.x: it is shown as `y` now; this name is accepted too",
                shown
            ]
        );
        assert_eq!(
            changes(&["other"], &["rename"], "x"),
            [
                "breaking     other: this tool is gone",
                "behavioural  rename: this tool is new"
            ]
        );
    }

    #[test]
    fn choices_of_answers_are_compared() {
        let of = |choices: &[&str]| json!({"type": "string", "enum": choices});
        let array = |items: Value| json!({"type": "array", "items": items});
        let output = |old, new| changes_of("outputSchema", &old, &new);
        assert_eq!(
            output(of(&["a", "b"]), of(&["a", "c"])),
            [
                "behavioural  t -> x: no longer allowed: b",
                "behavioural  t -> x: also allowed: c"
            ]
        );
        assert_eq!(
            output(json!({"type": "string"}), of(&["a"])),
            ["behavioural  t -> x: only some values are allowed now"]
        );
        assert_eq!(
            output(array(of(&["a"])), array(of(&["a", "b"]))),
            ["behavioural  t -> x[]: also allowed: b"]
        );
    }

    #[test]
    fn nested_fields_of_arguments_are_compared() {
        let object = |field: &str, required: &[&str]| json!({"type": "object", "properties": {field: {"type": "string"}}, "required": required});
        let input = |old, new| changes_of("inputSchema", &old, &new);
        assert_eq!(
            input(object("a", &[]), object("a", &["a"])),
            ["breaking     t.x.a: it is required now"]
        );
        let map = |values: Value| json!({"anyOf": [{"type": "object", "additionalProperties": values}, {"type": "null"}]});
        assert_eq!(
            input(map(object("a", &[])), map(object("b", &["b"]))),
            [
                "breaking     t.x{}.a: this argument is gone",
                "breaking     t.x{}.b: this argument is new, and required",
            ]
        );
        // Reported once for the array, not again for its elements.
        let array = |kind: &str| json!({"type": "array", "items": {"type": kind}});
        assert_eq!(
            input(array("string"), array("integer")),
            ["breaking     t.x: its type was array of string, and is array of integer"]
        );
    }
}
