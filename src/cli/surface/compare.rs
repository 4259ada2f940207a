//! What has changed between two surfaces, and how much that matters to those who use them.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::read::{Field, Prompt, Resource, Surface, Tool, Words};

/// How much a change matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Severity {
    /// Models read another text; what they do with it may differ.
    Wording,
    /// Calls that were right are right, and may do something else; or there is more.
    Behavioural,
    /// Calls that were right are refused, or answers lack what they had.
    Breaking,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(in crate::cli) struct Change {
    pub(in crate::cli) severity: Severity,
    /// What has changed, such as `run.timeout`.
    pub(in crate::cli) what: String,
    /// How.
    pub(in crate::cli) how: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Wording => "wording",
            Severity::Behavioural => "behavioural",
            Severity::Breaking => "breaking",
        };
        write!(f, "{severity:<12} {}: {}", self.what, self.how)
    }
}

/// All changes, the worst first. `today` tells the name of the tool that a former name is accepted for, and `alias` the
/// argument of a tool.
pub(in crate::cli) fn compare(
    old: &Surface,
    new: &Surface,
    today: impl Fn(&str) -> Option<&'static str>,
    alias: impl Fn(&str, &str) -> Option<&'static str>,
) -> Vec<Change> {
    let mut changes = Changes(Vec::new());
    if let (Some(old), Some(new)) = (&old.tools, &new.tools) {
        let old = renamed(old, new, today, &mut changes);
        each(
            "tool",
            &old,
            new,
            &mut changes,
            |name, old, new, changes| {
                tool(name, old, new, &|argument| alias(name, argument), changes);
            },
        );
    }
    if let (Some(old), Some(new)) = (&old.prompts, &new.prompts) {
        each("prompt", old, new, &mut changes, prompt);
    }
    for (kind, old, new) in [
        ("resource", &old.resources, &new.resources),
        ("template", &old.templates, &new.templates),
    ] {
        if let (Some(old), Some(new)) = (old, new) {
            each(kind, old, new, &mut changes, resource);
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
            .then_with(|| a.what.cmp(&b.what))
    });
    changes
}

struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, severity: Severity, what: impl Into<String>, how: impl Into<String>) {
        self.0.push(Change {
            severity,
            what: what.into(),
            how: how.into(),
        });
    }

    fn words(&mut self, what: &str, old: &Words, new: &Words) {
        for (name, old, new) in [
            ("title", &old.title, &new.title),
            ("description", &old.description, &new.description),
        ] {
            if let Some(old) = old
                && Some(old) != new.as_ref()
            {
                self.add(
                    Severity::Wording,
                    what,
                    format!("its {name} reads differently"),
                );
            }
        }
    }
}

/// The old tools under the names of today.
fn renamed<'a>(
    old: &'a BTreeMap<String, Tool>,
    new: &BTreeMap<String, Tool>,
    today: impl Fn(&str) -> Option<&'static str>,
    changes: &mut Changes,
) -> BTreeMap<String, &'a Tool> {
    let mut tools = BTreeMap::new();
    for (name, tool) in old {
        let successor =
            today(name).filter(|today| !new.contains_key(name) && new.contains_key(*today));
        let Some(successor) = successor else {
            tools.insert(name.clone(), tool);
            continue;
        };
        let how = format!("it is shown as `{successor}` now; this name is accepted too");
        changes.add(Severity::Behavioural, name, how);
        if !old.contains_key(successor) {
            tools.insert(successor.to_owned(), tool);
        }
    }
    tools
}

fn each<T, O: Borrow<T>>(
    kind: &str,
    old: &BTreeMap<String, O>,
    new: &BTreeMap<String, T>,
    changes: &mut Changes,
    both: impl Fn(&str, &T, &T, &mut Changes),
) {
    for (name, old) in old {
        match new.get(name) {
            Some(new) => both(name, old.borrow(), new, changes),
            None => changes.add(Severity::Breaking, name, format!("this {kind} is gone")),
        }
    }
    for name in new.keys().filter(|name| !old.contains_key(*name)) {
        changes.add(Severity::Behavioural, name, format!("this {kind} is new"));
    }
}

fn tool(
    name: &str,
    old: &Tool,
    new: &Tool,
    alias: &dyn Fn(&str) -> Option<&'static str>,
    changes: &mut Changes,
) {
    changes.words(name, &old.words, &new.words);
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
        let what = format!("{name}.{argument}");
        if let Some(new) = new.parameters.get(argument) {
            field(&what, old, new, changes);
            continue;
        }
        match alias(argument).and_then(|meant| Some((meant, new.parameters.get(meant)?))) {
            Some((meant, renamed)) => {
                let how = format!("it is shown as `{meant}` now; this name is accepted too");
                changes.add(Severity::Behavioural, &what, how);
                field(&what, old, renamed, changes);
            }
            None => changes.add(Severity::Breaking, what, "this argument is gone"),
        }
    }
    for (argument, new) in &new.parameters {
        let renamed = old
            .parameters
            .keys()
            .any(|old| alias(old) == Some(argument));
        if !old.parameters.contains_key(argument) && !renamed {
            added(&format!("{name}.{argument}"), new, changes);
        }
    }
    if let (Some(old), Some(new)) = (&old.output, &new.output) {
        answer(&format!("{name} -> "), old, new, changes);
    }
}

fn added(what: &str, new: &Field, changes: &mut Changes) {
    if new.required {
        changes.add(
            Severity::Breaking,
            what,
            "this argument is new, and required",
        );
    } else {
        changes.add(Severity::Behavioural, what, "this argument is new");
    }
}

fn field(what: &str, old: &Field, new: &Field, changes: &mut Changes) {
    match (old.required, new.required) {
        (false, true) => changes.add(Severity::Breaking, what, "it is required now"),
        (true, false) => changes.add(Severity::Behavioural, what, "it may be left out now"),
        _ => {}
    }
    if old.shape.kinds != new.shape.kinds || old.shape.items != new.shape.items {
        let how = format!("its type was {}, and is {}", old.shape, new.shape);
        if !new.shape.takes_all_of(&old.shape) {
            changes.add(Severity::Breaking, what, how);
        } else if !old.shape.takes_all_of(&new.shape) {
            changes.add(Severity::Behavioural, what, how);
        }
    }
    value(what, old, new, changes);
}

/// All but the type of an argument, or of what one holds.
fn value(what: &str, old: &Field, new: &Field, changes: &mut Changes) {
    changes.words(what, &old.words, &new.words);
    choices(what, old, new, Severity::Breaking, changes);
    if !same(old.default.as_ref(), new.default.as_ref()) {
        let shown = |default: &Option<serde_json::Value>| {
            default
                .as_ref()
                .map_or_else(|| "none".to_owned(), ToString::to_string)
        };
        let how = format!(
            "its default was {}, and is {}",
            shown(&old.default),
            shown(&new.default)
        );
        changes.add(Severity::Behavioural, what, how);
    }
    if let (Some(old), Some(new)) = (&old.bounds, &new.bounds) {
        bounds(what, old, new, changes);
    }
    if let (Some(old), Some(new)) = (&old.spelling, &new.spelling) {
        spelling(what, old, new, changes);
    }
    let (Some(old), Some(new)) = (&old.inner, &new.inner) else {
        return;
    };
    for (path, old) in old {
        let what = format!("{what}{path}");
        match new.get(path) {
            Some(new) if is_field(path) => field(&what, old, new, changes),
            Some(new) => value(&what, old, new, changes),
            None if is_field(path) => {
                changes.add(Severity::Breaking, what, "this argument is gone");
            }
            None => {}
        }
    }
    for (path, new) in new {
        if is_field(path) && !old.contains_key(path) {
            added(&format!("{what}{path}"), new, changes);
        }
    }
}

/// Whether a path leads to a field of its own; the type of elements belongs to that of the whole.
fn is_field(path: &str) -> bool {
    !["[]", "{}"].contains(&path)
}

/// Numbers are the same however they are written.
fn same(old: Option<&serde_json::Value>, new: Option<&serde_json::Value>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => match (old.as_f64(), new.as_f64()) {
            (Some(old), Some(new)) => old.total_cmp(&new).is_eq(),
            _ => old == new,
        },
        // An empty text says as much as none.
        (Some(value), None) | (None, Some(value)) => value == "",
        (None, None) => true,
    }
}

/// `fewer` is how much it matters that values are no longer allowed.
fn choices(what: &str, old: &Field, new: &Field, fewer: Severity, changes: &mut Changes) {
    match (&old.shape.choices, &new.shape.choices) {
        (None, Some(_)) => {
            changes.add(fewer, what, "only some values are allowed now");
        }
        (Some(_), None) => changes.add(Severity::Behavioural, what, "any value is allowed now"),
        (Some(old), Some(new)) => {
            let gone: Vec<&str> = old.difference(new).map(String::as_str).collect();
            let more: Vec<&str> = new.difference(old).map(String::as_str).collect();
            if !gone.is_empty() {
                let how = format!("no longer allowed: {}", gone.join(", "));
                changes.add(fewer, what, how);
            }
            if !more.is_empty() {
                let how = format!("also allowed: {}", more.join(", "));
                changes.add(Severity::Behavioural, what, how);
            }
        }
        (None, None) => {}
    }
}

fn bounds(what: &str, old: &[Option<f64>; 4], new: &[Option<f64>; 4], changes: &mut Changes) {
    let names = ["minimum", "maximum", "least length", "greatest length"];
    for (at, name) in names.into_iter().enumerate() {
        let (old, new) = (old[at], new[at]);
        if old == new {
            continue;
        }
        let shown =
            |bound: Option<f64>| bound.map_or_else(|| "none".to_owned(), |bound| bound.to_string());
        let is_least = at % 2 == 0;
        let tighter = match (old, new) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(old), Some(new)) if is_least => new > old,
            (Some(old), Some(new)) => new < old,
        };
        let severity = if tighter {
            Severity::Breaking
        } else {
            Severity::Behavioural
        };
        let how = format!("its {name} was {}, and is {}", shown(old), shown(new));
        changes.add(severity, what, how);
    }
}

fn spelling(
    what: &str,
    old: &[Option<String>; 2],
    new: &[Option<String>; 2],
    changes: &mut Changes,
) {
    for (name, (old, new)) in ["format", "pattern"].into_iter().zip(old.iter().zip(new)) {
        if old == new {
            continue;
        }
        let severity = match new {
            Some(_) => Severity::Breaking,
            None => Severity::Behavioural,
        };
        let shown = |rule: &Option<String>| rule.clone().unwrap_or_else(|| "none".to_owned());
        let how = format!("its {name} was {}, and is {}", shown(old), shown(new));
        changes.add(severity, what, how);
    }
}

/// The fields of an answer, or what one of them holds; `before` stands before their names.
///
/// Readers rely on the fields that were always there. More choices are an addition, and fewer are values that readers know: both are behavioural.
fn answer(
    before: &str,
    old: &BTreeMap<String, Field>,
    new: &BTreeMap<String, Field>,
    changes: &mut Changes,
) {
    for (field, old) in old {
        let what = format!("{before}{field}");
        match new.get(field) {
            None if !is_field(field) => {}
            None if old.required => {
                changes.add(Severity::Breaking, what, "this field of the answer is gone");
            }
            None => {
                changes.add(
                    Severity::Behavioural,
                    what,
                    "this field of the answer is gone; it was not always there",
                );
            }
            Some(new) => {
                changes.words(&what, &old.words, &new.words);
                if old.required && !new.required {
                    changes.add(
                        Severity::Breaking,
                        &what,
                        "this field is not always there any more",
                    );
                }
                if is_field(field) && !old.shape.takes_all_of(&new.shape) {
                    let how = format!("its type was {}, and is {}", old.shape, new.shape);
                    changes.add(Severity::Breaking, &what, how);
                }
                choices(&what, old, new, Severity::Behavioural, changes);
                if let (Some(old), Some(new)) = (&old.inner, &new.inner) {
                    answer(&what, old, new, changes);
                }
            }
        }
    }
    let more = |field: &&String| is_field(field) && !old.contains_key(*field);
    for field in new.keys().filter(more) {
        let what = format!("{before}{field}");
        changes.add(
            Severity::Behavioural,
            what,
            "this field of the answer is new",
        );
    }
}

fn prompt(name: &str, old: &Prompt, new: &Prompt, changes: &mut Changes) {
    changes.words(name, &old.words, &new.words);
    for (argument, old) in &old.arguments {
        let what = format!("{name}.{argument}");
        match new.arguments.get(argument) {
            None => changes.add(Severity::Breaking, what, "this argument is gone"),
            Some(new) => {
                changes.words(&what, &old.words, &new.words);
                match (old.required, new.required) {
                    (false, true) => changes.add(Severity::Breaking, &what, "it is required now"),
                    (true, false) => {
                        changes.add(Severity::Behavioural, &what, "it may be left out now");
                    }
                    _ => {}
                }
                if old.default.is_some() && old.default != new.default {
                    changes.add(Severity::Behavioural, &what, "its default is another");
                }
            }
        }
    }
    for (argument, new) in &new.arguments {
        if !old.arguments.contains_key(argument) {
            added(&format!("{name}.{argument}"), new, changes);
        }
    }
}

fn resource(uri: &str, old: &Resource, new: &Resource, changes: &mut Changes) {
    changes.words(uri, &old.words, &new.words);
    if old.name != new.name {
        let how = format!("its name was `{}`, and is `{}`", old.name, new.name);
        changes.add(Severity::Behavioural, uri, how);
    }
    if old.mime.is_some() && old.mime != new.mime {
        changes.add(Severity::Behavioural, uri, "its type is another");
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::read;
    use super::*;
    use serde_json::{Value, json};

    /// The changes of a tool `t` with the field or argument `x`.
    fn since(side: &str, old: &Value, new: &Value) -> Vec<String> {
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
            let today = |name: &str| match name {
                "retitle" | "rename" => Some("rename"),
                _ => None,
            };
            let alias =
                |tool: &str, argument: &str| (tool == "rename" && argument == "x").then_some("y");
            let changes = compare(&old, &new, today, alias);
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
        let output = |old, new| since("outputSchema", &old, &new);
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
    fn what_an_argument_holds_is_compared() {
        let object = |field: &str, required: &[&str]| json!({"type": "object", "properties": {field: {"type": "string"}}, "required": required});
        let input = |old, new| since("inputSchema", &old, &new);
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
        // Once for the whole, not again for its elements.
        let array = |kind: &str| json!({"type": "array", "items": {"type": kind}});
        assert_eq!(
            input(array("string"), array("integer")),
            ["breaking     t.x: its type was array of string, and is array of integer"]
        );
    }
}
