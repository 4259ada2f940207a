//! The types of arguments and fields, from JSON Schema or from the short notation of recorded
//! facts.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

/// The type of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// The JSON types; an empty set allows any type.
    pub(super) kinds: BTreeSet<String>,
    /// The allowed values, if they are listed.
    pub(super) choices: Option<BTreeSet<String>>,
    /// The type of the elements of an array or the values of a map.
    pub(super) items: Option<Box<Shape>>,
    /// Whether the type of the elements is unknown, since the short notation omits it.
    elements_unknown: bool,
}

impl Shape {
    /// Reads a JSON Schema. Null is ignored, since it means the same as an absent value.
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

    /// Reads `string|null`, `array<string>`, `map<integer>`, `enum(a|b)`; any other name is an
    /// object.
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
        shape.elements_unknown = shape.items.is_none() && shape.may_have_elements();
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
        self.elements_unknown |= other.elements_unknown;
    }

    /// Whether the value may be an array or a map.
    fn may_have_elements(&self) -> bool {
        self.kinds.is_empty() || self.kinds.contains("array") || self.kinds.contains("object")
    }

    /// Whether every value of the type `old` is also of this type.
    pub(super) fn accepts_all_of(&self, old: &Self) -> bool {
        let accepts = |kind: &str| {
            self.kinds.contains(kind) || (kind == "integer" && self.kinds.contains("number"))
        };
        let kinds = self.kinds.is_empty()
            || (!old.kinds.is_empty() && old.kinds.iter().all(|kind| accepts(kind)));
        kinds
            && match (&self.items, &old.items) {
                (Some(items), Some(old)) => items.accepts_all_of(old),
                (Some(items), None)
                    if old.may_have_elements()
                        && !old.elements_unknown
                        && !self.elements_unknown =>
                {
                    items.accepts_all_of(&Self::default())
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

/// A value as text in a list of choices.
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
    fn both_notations_have_the_same_meaning() {
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
    fn a_wider_type_accepts_all_values_of_a_narrower_one() {
        let shape = Shape::of_notation;
        assert!(shape("number").accepts_all_of(&shape("integer")));
        assert!(!shape("integer").accepts_all_of(&shape("number")));
        assert!(!shape("array<integer>").accepts_all_of(&shape("array<string>")));
        assert_eq!(shape("array<string>").to_string(), "array of string");
    }

    #[test]
    fn without_a_type_any_value_is_accepted() {
        let shape = |schema: Value| Shape::of_schema(&schema);
        let any = || shape(json!({}));
        let text = || shape(json!({"type": "string"}));
        let array = || shape(json!({"type": "array"}));
        let texts = || shape(json!({"type": "array", "items": {"type": "string"}}));
        let all = || shape(json!({"type": "array", "items": {}}));
        for (wide, narrow) in [(any(), text()), (array(), texts()), (all(), texts())] {
            assert!(wide.accepts_all_of(&narrow), "{wide}, {narrow}");
            assert!(!narrow.accepts_all_of(&wide), "{wide}, {narrow}");
        }
        assert!(array().accepts_all_of(&all()) && all().accepts_all_of(&array()));
        let either = shape(json!({"type": ["string", "array"], "items": {"type": "string"}}));
        assert!(either.accepts_all_of(&text()));
    }

    #[test]
    fn the_short_notation_may_omit_the_type_of_elements() {
        let map = Shape::of_notation("map<string>");
        assert_eq!(Shape::of_notation("FileEntry").to_string(), "object");
        assert!(map.accepts_all_of(&Shape::of_notation("FileEntry")));
        let object = Shape::of_schema(&json!({"type": "object"}));
        assert!(!map.accepts_all_of(&object));
        assert!(Shape::of_notation("Entry|map<string>").accepts_all_of(&object));
    }
}
