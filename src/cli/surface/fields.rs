//! The comparison of arguments and of fields of answers.

use std::collections::BTreeMap;

use super::change::{Changes, Severity};
use super::read::Field;

pub(super) fn added(what: &str, new: &Field, changes: &mut Changes) {
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

pub(super) fn field(what: &str, old: &Field, new: &Field, changes: &mut Changes) {
    match (old.required, new.required) {
        (false, true) => changes.add(Severity::Breaking, what, "it is required now"),
        (true, false) => changes.add(Severity::Behavioural, what, "it may be left out now"),
        _ => {}
    }
    if old.shape.kinds != new.shape.kinds || old.shape.items != new.shape.items {
        let how = format!("its type was {}, and is {}", old.shape, new.shape);
        if !new.shape.accepts_all_of(&old.shape) {
            changes.add(Severity::Breaking, what, how);
        } else if !old.shape.accepts_all_of(&new.shape) {
            changes.add(Severity::Behavioural, what, how);
        }
    }
    value(what, old, new, changes);
}

/// Compares an argument or a value in one, except for the type.
fn value(what: &str, old: &Field, new: &Field, changes: &mut Changes) {
    changes.labels(what, &old.labels, &new.labels);
    choices(what, old, new, Severity::Breaking, changes);
    if !equal_defaults(old.default.as_ref(), new.default.as_ref()) {
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
    if let (Some(old), Some(new)) = (&old.text_rules, &new.text_rules) {
        text_rules(what, old, new, changes);
    }
    let (Some(old), Some(new)) = (&old.nested, &new.nested) else {
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

/// Whether a path leads to a field. The type of elements belongs to the type of their list or map.
fn is_field(path: &str) -> bool {
    !["[]", "{}"].contains(&path)
}

/// Whether two defaults are equal. Numbers are equal however they are written.
fn equal_defaults(old: Option<&serde_json::Value>, new: Option<&serde_json::Value>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => match (old.as_f64(), new.as_f64()) {
            (Some(old), Some(new)) => old.total_cmp(&new).is_eq(),
            _ => old == new,
        },
        // An empty text means the same as no default.
        (Some(value), None) | (None, Some(value)) => value == "",
        (None, None) => true,
    }
}

/// Compares the allowed values. `removal` is the severity if a value is no longer allowed.
fn choices(what: &str, old: &Field, new: &Field, removal: Severity, changes: &mut Changes) {
    match (&old.shape.choices, &new.shape.choices) {
        (None, Some(_)) => {
            changes.add(removal, what, "only some values are allowed now");
        }
        (Some(_), None) => changes.add(Severity::Behavioural, what, "any value is allowed now"),
        (Some(old), Some(new)) => {
            let gone: Vec<&str> = old.difference(new).map(String::as_str).collect();
            let added: Vec<&str> = new.difference(old).map(String::as_str).collect();
            if !gone.is_empty() {
                let how = format!("no longer allowed: {}", gone.join(", "));
                changes.add(removal, what, how);
            }
            if !added.is_empty() {
                let how = format!("also allowed: {}", added.join(", "));
                changes.add(Severity::Behavioural, what, how);
            }
        }
        (None, None) => {}
    }
}

fn bounds(what: &str, old: &[Option<f64>; 4], new: &[Option<f64>; 4], changes: &mut Changes) {
    let names = ["minimum", "maximum", "least length", "greatest length"];
    for (index, name) in names.into_iter().enumerate() {
        let (old, new) = (old[index], new[index]);
        if old == new {
            continue;
        }
        let shown =
            |bound: Option<f64>| bound.map_or_else(|| "none".to_owned(), |bound| bound.to_string());
        let is_lower_bound = index % 2 == 0;
        let tighter = match (old, new) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(old), Some(new)) if is_lower_bound => new > old,
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

fn text_rules(
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

/// Compares the fields of an answer, or of a value in it. `prefix` precedes their names.
///
/// Clients rely on fields that were always present. Added choices are an addition, and after a
/// removal, clients know all choices that are left: both are behavioural.
pub(super) fn answer(
    prefix: &str,
    old: &BTreeMap<String, Field>,
    new: &BTreeMap<String, Field>,
    changes: &mut Changes,
) {
    for (field, old) in old {
        let what = format!("{prefix}{field}");
        match new.get(field) {
            None if !is_field(field) => {}
            None if old.required => {
                changes.add(Severity::Breaking, what, "this field of the answer is gone");
            }
            None => {
                changes.add(
                    Severity::Behavioural,
                    what,
                    "this field of the answer is gone; it was not always present",
                );
            }
            Some(new) => {
                changes.labels(&what, &old.labels, &new.labels);
                if old.required && !new.required {
                    changes.add(
                        Severity::Breaking,
                        &what,
                        "this field is no longer always present",
                    );
                }
                if is_field(field) && !old.shape.accepts_all_of(&new.shape) {
                    let how = format!("its type was {}, and is {}", old.shape, new.shape);
                    changes.add(Severity::Breaking, &what, how);
                }
                choices(&what, old, new, Severity::Behavioural, changes);
                if let (Some(old), Some(new)) = (&old.nested, &new.nested) {
                    answer(&what, old, new, changes);
                }
            }
        }
    }
    let is_new = |field: &&String| is_field(field) && !old.contains_key(*field);
    for field in new.keys().filter(is_new) {
        let what = format!("{prefix}{field}");
        changes.add(
            Severity::Behavioural,
            what,
            "this field of the answer is new",
        );
    }
}
