//! The comparison of arguments and of fields of answers.

use std::collections::BTreeMap;

use super::change::{Changes, Severity};
use super::read::Field;

pub(super) fn report_new_argument(item: &str, new: &Field, changes: &mut Changes) {
    if new.required {
        changes.add(
            Severity::Breaking,
            item,
            "this argument is new, and required",
        );
    } else {
        changes.add(Severity::Behavioural, item, "this argument is new");
    }
}

pub(super) fn compare_arguments(item: &str, old: &Field, new: &Field, changes: &mut Changes) {
    match (old.required, new.required) {
        (false, true) => changes.add(Severity::Breaking, item, "it is required now"),
        (true, false) => changes.add(Severity::Behavioural, item, "it may be left out now"),
        _ => {}
    }
    if old.shape.kinds != new.shape.kinds || old.shape.items != new.shape.items {
        let difference = format!("its type was {}, and is {}", old.shape, new.shape);
        if !new.shape.accepts_all_of(&old.shape) {
            changes.add(Severity::Breaking, item, difference);
        } else if !old.shape.accepts_all_of(&new.shape) {
            changes.add(Severity::Behavioural, item, difference);
        }
    }
    compare_value(item, old, new, changes);
}

/// Compares everything but the types of two versions of an argument, or of a value in one.
fn compare_value(item: &str, old: &Field, new: &Field, changes: &mut Changes) {
    changes.labels(item, &old.labels, &new.labels);
    compare_choices(item, old, new, Severity::Breaking, changes);
    if !equal_defaults(old.default.as_ref(), new.default.as_ref()) {
        let shown = |default: &Option<serde_json::Value>| {
            default
                .as_ref()
                .map_or_else(|| "none".to_owned(), ToString::to_string)
        };
        let difference = format!(
            "its default was {}, and is {}",
            shown(&old.default),
            shown(&new.default)
        );
        changes.add(Severity::Behavioural, item, difference);
    }
    if let (Some(old), Some(new)) = (&old.bounds, &new.bounds) {
        compare_bounds(item, old, new, changes);
    }
    if let (Some(old), Some(new)) = (&old.text_rules, &new.text_rules) {
        compare_text_rules(item, old, new, changes);
    }
    let (Some(old), Some(new)) = (&old.nested, &new.nested) else {
        return;
    };
    for (path, old) in old {
        let item = format!("{item}{path}");
        match new.get(path) {
            Some(new) if is_field(path) => compare_arguments(&item, old, new, changes),
            Some(new) => compare_value(&item, old, new, changes),
            None if is_field(path) => {
                changes.add(Severity::Breaking, item, "this argument is gone");
            }
            None => {}
        }
    }
    for (path, new) in new {
        if is_field(path) && !old.contains_key(path) {
            report_new_argument(&format!("{item}{path}"), new, changes);
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
fn compare_choices(item: &str, old: &Field, new: &Field, removal: Severity, changes: &mut Changes) {
    match (&old.shape.choices, &new.shape.choices) {
        (None, Some(_)) => {
            changes.add(removal, item, "only some values are allowed now");
        }
        (Some(_), None) => changes.add(Severity::Behavioural, item, "any value is allowed now"),
        (Some(old), Some(new)) => {
            let gone: Vec<&str> = old.difference(new).map(String::as_str).collect();
            let added: Vec<&str> = new.difference(old).map(String::as_str).collect();
            if !gone.is_empty() {
                let difference = format!("no longer allowed: {}", gone.join(", "));
                changes.add(removal, item, difference);
            }
            if !added.is_empty() {
                let difference = format!("also allowed: {}", added.join(", "));
                changes.add(Severity::Behavioural, item, difference);
            }
        }
        (None, None) => {}
    }
}

fn compare_bounds(
    item: &str,
    old: &[Option<f64>; 4],
    new: &[Option<f64>; 4],
    changes: &mut Changes,
) {
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
        let difference = format!("its {name} was {}, and is {}", shown(old), shown(new));
        changes.add(severity, item, difference);
    }
}

fn compare_text_rules(
    item: &str,
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
        let difference = format!("its {name} was {}, and is {}", shown(old), shown(new));
        changes.add(severity, item, difference);
    }
}

/// Compares the fields of an answer, or of a value in it. `prefix` precedes their names.
///
/// Clients rely on fields that were always present. Added choices are behavioural, like any other
/// addition. Removed ones are behavioural too, since clients know all choices that remain.
pub(super) fn compare_answers(
    prefix: &str,
    old: &BTreeMap<String, Field>,
    new: &BTreeMap<String, Field>,
    changes: &mut Changes,
) {
    for (field, old) in old {
        let item = format!("{prefix}{field}");
        match new.get(field) {
            None if !is_field(field) => {}
            None if old.required => {
                changes.add(Severity::Breaking, item, "this field of the answer is gone");
            }
            None => {
                changes.add(
                    Severity::Behavioural,
                    item,
                    "this field of the answer is gone; it was not always present",
                );
            }
            Some(new) => {
                changes.labels(&item, &old.labels, &new.labels);
                if old.required && !new.required {
                    changes.add(
                        Severity::Breaking,
                        &item,
                        "this field is no longer always present",
                    );
                }
                if is_field(field) && !old.shape.accepts_all_of(&new.shape) {
                    let difference = format!("its type was {}, and is {}", old.shape, new.shape);
                    changes.add(Severity::Breaking, &item, difference);
                }
                compare_choices(&item, old, new, Severity::Behavioural, changes);
                if let (Some(old), Some(new)) = (&old.nested, &new.nested) {
                    compare_answers(&item, old, new, changes);
                }
            }
        }
    }
    let is_new = |field: &&String| is_field(field) && !old.contains_key(*field);
    for field in new.keys().filter(is_new) {
        let item = format!("{prefix}{field}");
        changes.add(
            Severity::Behavioural,
            item,
            "this field of the answer is new",
        );
    }
}
