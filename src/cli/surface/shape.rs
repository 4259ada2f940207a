//! Types of arguments and fields, from JSON Schema or from the short notation of recorded facts.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

/// What a value may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// The types; nothing means anything.
    pub(super) kinds: BTreeSet<String>,
    /// The allowed values, if they are named.
    pub(super) choices: Option<BTreeSet<String>>,
    /// What an array or map holds.
    pub(super) items: Option<Box<Shape>>,
    /// Whether it may hold something that is not told: the short notation leaves that out.
    vague: bool,
}

impl Shape {
    /// Reads a JSON Schema. Null is left out: it means the same as leaving the value out.
    pub(super) fn of_schema(schema: &Value) -> Self {
        let mut shape = Self::default();
        let branches = ["anyOf", "oneOf"]
            .iter()
            .filter_map(|key| schema[key].as_array());
        for branch in branches.flatten() {
            shape.join(Self::of_schema(branch));
        }
        match &schema["type"] {
            Value::String(kind) => drop(shape.kinds.insert(kind.clone())),
            Value::Array(kinds) => shape
                .kinds
                .extend(kinds.iter().filter_map(Value::as_str).map(str::to_owned)),
            _ => {}
        }
        shape.kinds.remove("null");
        if let Some(choices) = schema["enum"].as_array() {
            let choices = choices.iter().filter(|choice| !choice.is_null());
            shape.choices = Some(choices.map(text).collect());
        }
        for key in ["items", "additionalProperties"] {
            if schema[key].is_object() {
                shape.items = Some(Box::new(Self::of_schema(&schema[key])));
            }
        }
        shape
    }

    /// Reads `string|null`, `array<string>`, `map<integer>`, `enum(a|b)`; a name of its own is an object.
    pub(super) fn of_notation(notation: &str) -> Self {
        let mut shape = Self::default();
        for part in parts(notation) {
            shape.join(Self::of_part(part.trim()));
        }
        shape.kinds.remove("null");
        shape
    }

    fn of_part(part: &str) -> Self {
        let inner = |name: &str, close: char| {
            part.strip_prefix(name)
                .and_then(|rest| rest.strip_suffix(close))
        };
        let mut shape = Self::default();
        let (kind, items) = if let Some(items) = inner("array<", '>') {
            ("array", Some(items))
        } else if let Some(values) = inner("map<", '>') {
            ("object", Some(values))
        } else if let Some(choices) = inner("enum(", ')') {
            shape.choices = Some(choices.split('|').map(str::to_owned).collect());
            ("string", None)
        } else {
            match part {
                "string" | "integer" | "number" | "boolean" | "null" | "array" | "object" => {
                    (part, None)
                }
                _ => ("object", None),
            }
        };
        shape.kinds.insert(kind.to_owned());
        shape.items = items.map(|items| Box::new(Self::of_notation(items)));
        shape.vague = shape.items.is_none() && shape.holds();
        shape
    }

    fn join(&mut self, other: Self) {
        self.kinds.extend(other.kinds);
        self.choices = match (self.choices.take(), other.choices) {
            (Some(mut choices), Some(more)) => {
                choices.extend(more);
                Some(choices)
            }
            (choices, None) | (None, choices) => choices,
        };
        self.items = self.items.take().or(other.items);
        self.vague |= other.vague;
    }

    /// Whether it may be an array or a map.
    fn holds(&self) -> bool {
        self.kinds.is_empty() || self.kinds.contains("array") || self.kinds.contains("object")
    }

    /// Whether every value of `old` is one of these too.
    pub(super) fn takes_all_of(&self, old: &Self) -> bool {
        let takes = |kind: &str| {
            self.kinds.contains(kind) || (kind == "integer" && self.kinds.contains("number"))
        };
        let kinds = self.kinds.is_empty()
            || (!old.kinds.is_empty() && old.kinds.iter().all(|kind| takes(kind)));
        kinds
            && match (&self.items, &old.items) {
                (Some(items), Some(old)) => items.takes_all_of(old),
                (Some(items), None) if old.holds() && !old.vague && !self.vague => {
                    items.takes_all_of(&Self::default())
                }
                _ => true,
            }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<&str> = self.kinds.iter().map(String::as_str).collect();
        match kinds.as_slice() {
            [] => f.write_str("anything")?,
            kinds => f.write_str(&kinds.join(" or "))?,
        }
        match &self.items {
            Some(items) => write!(f, " of {items}"),
            None => Ok(()),
        }
    }
}

/// A value as it stands in a list of choices.
pub(super) fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The alternatives of a notation, which `|` separates outside of brackets.
fn parts(notation: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_u32, 0);
    for (at, c) in notation.char_indices() {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                parts.push(&notation[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&notation[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_notations_say_the_same() {
        for (notation, schema) in [
            ("string|null", json!({"type": "string"})),
            (
                "map<string|null>|null",
                json!({"type": "object", "additionalProperties": {"type": "string"}}),
            ),
            (
                "array<string>",
                json!({"type": ["array", "null"], "items": {"type": "string"}}),
            ),
            (
                "enum(a|b)|null",
                json!({"type": "string", "enum": ["a", "b"]}),
            ),
            (
                "string|integer",
                json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}),
            ),
        ] {
            assert_eq!(
                Shape::of_notation(notation),
                Shape::of_schema(&schema),
                "{notation}"
            );
        }
    }

    #[test]
    fn a_wider_type_takes_all_of_a_narrower() {
        let shape = Shape::of_notation;
        assert!(shape("number").takes_all_of(&shape("integer")));
        assert!(!shape("integer").takes_all_of(&shape("number")));
        assert!(!shape("array<integer>").takes_all_of(&shape("array<string>")));
        assert_eq!(shape("array<string>").to_string(), "array of string");
    }

    #[test]
    fn without_a_type_anything_is_taken() {
        let shape = |schema: Value| Shape::of_schema(&schema);
        let any = || shape(json!({}));
        let text = || shape(json!({"type": "string"}));
        let array = || shape(json!({"type": "array"}));
        let texts = || shape(json!({"type": "array", "items": {"type": "string"}}));
        let all = || shape(json!({"type": "array", "items": {}}));
        for (wide, narrow) in [(any(), text()), (array(), texts()), (all(), texts())] {
            assert!(wide.takes_all_of(&narrow), "{wide}, {narrow}");
            assert!(!narrow.takes_all_of(&wide), "{wide}, {narrow}");
        }
        assert!(array().takes_all_of(&all()) && all().takes_all_of(&array()));
        let either = shape(json!({"type": ["string", "array"], "items": {"type": "string"}}));
        assert!(either.takes_all_of(&text()));
    }

    #[test]
    fn the_short_notation_may_not_tell_what_is_held() {
        let map = Shape::of_notation("map<string>");
        assert_eq!(Shape::of_notation("FileEntry").to_string(), "object");
        assert!(map.takes_all_of(&Shape::of_notation("FileEntry")));
        let object = Shape::of_schema(&json!({"type": "object"}));
        assert!(!map.takes_all_of(&object));
        assert!(Shape::of_notation("Entry|map<string>").takes_all_of(&object));
    }
}
