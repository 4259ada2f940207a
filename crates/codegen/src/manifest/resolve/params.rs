//! Resolves arguments: their types from the API document, and the manifest's changes to them.

use serde_json::Value;

use super::super::model;
use super::super::names::{is_field_name, is_snake_case};
use super::super::shape::{FORMATS, Shape};
use super::super::yaml::Located;
use super::{Param, Problem, Resolver};

impl Resolver<'_> {
    /// Resolves the full type of one argument.
    pub(super) fn param(
        &mut self,
        tool: &Located<String>,
        model: &model::Tool,
        name: &Located<String>,
        param: &Located<model::Param>,
    ) -> Param {
        let label = format!("{}.{}", tool.value, name.value);
        if !is_snake_case(name) {
            self.problem(
                name.line,
                format!(
                    "{label}: `{}` is not a valid name for an argument (write it in snake_case)",
                    name.value
                ),
            );
        }
        if !is_field_name(name) {
            let text = format!(
                "{label}: `{}` is not a valid name for an argument, since Rust reserves it (choose another name)",
                name.value
            );
            self.problem(name.line, text);
        }
        let mut resolved = Param {
            name: name.value.clone(),
            shape: Shape::of("string"),
            required: param
                .required
                .as_ref()
                .is_some_and(|required| required.value),
            aliases: param
                .aliases
                .iter()
                .map(|alias| alias.value.clone())
                .collect(),
            null_values: param.null_values,
            keeps_empty: param.keeps_empty,
            target: None,
        };
        let valid = match &param.from {
            Some(from) => self.inherited(&label, from, param, &mut resolved),
            None => self.defined(&label, param, &mut resolved),
        };
        if let Some(operation) = &model.operation {
            resolved.target = self.find_request_target(&label, operation, name, param);
        }
        if valid {
            self.check_convertible(&label, name.line, &resolved);
            self.check_consistent(&label, name, param, &mut resolved);
        }
        resolved
    }

    /// Resolves a type that the manifest defines. Returns whether it is valid.
    fn defined(
        &mut self,
        label: &str,
        param: &Located<model::Param>,
        resolved: &mut Param,
    ) -> bool {
        if let Some(why) = &param.why {
            self.problem(
                why.line,
                format!("{label}: `why` explains nothing, since there is no `from` (remove it)"),
            );
        }
        let Some(kind) = &param.r#type else {
            self.problem(
                param.line,
                format!("{label}: neither `from` nor `type` (add one)"),
            );
            return false;
        };
        let applied = self.apply_type(label, kind, resolved);
        self.apply_overrides(param, resolved);
        applied
    }

    /// Resolves a type from the API document with the manifest's changes. Returns whether it is
    /// valid.
    fn inherited(
        &mut self,
        label: &str,
        from: &Located<String>,
        param: &Located<model::Param>,
        resolved: &mut Param,
    ) -> bool {
        let field = match self.api.field(from) {
            Ok(field) => field,
            Err(text) => {
                self.problem(from.line, format!("{label}: {text}"));
                return false;
            }
        };
        let original = match (field.shape, &param.r#type) {
            (Ok(shape), _) => Some(shape),
            (Err(_), Some(_)) => None,
            (Err(reason), None) => {
                self.problem(
                    from.line,
                    format!("{label}: `{}` {reason} (give `type` and `why`)", from.value),
                );
                return false;
            }
        };
        resolved.shape = original.clone().unwrap_or_default();
        resolved.required = param
            .required
            .as_ref()
            .map_or(field.required, |required| required.value);
        if let Some(kind) = &param.r#type
            && !self.apply_type(label, kind, resolved)
        {
            return false;
        }
        self.apply_overrides(param, resolved);
        // A default makes an argument optional, so the manifest need not say `required: false` too.
        if param.required.is_none() && resolved.shape.default.is_some() {
            resolved.required = false;
        }
        let differs =
            original.as_ref() != Some(&resolved.shape) || resolved.required != field.required;
        match &param.why {
            None if differs => {
                let key = overridden(param).unwrap_or("type");
                self.problem(
                    param_line(param, key),
                    format!("{label}: `{key}` differs from the API document (add `why`)"),
                );
            }
            Some(why) if !differs => {
                let text = format!(
                    "{label}: `why` explains nothing, since nothing differs from the API document"
                );
                self.problem(why.line, format!("{text} (remove it)"));
            }
            _ => {}
        }
        if !differs && let Some(key) = overridden(param) {
            let text = format!("{label}: the API document says the same `{key}` (remove it)");
            self.problem(param_line(param, key), text);
        }
        true
    }

    fn apply_type(&mut self, label: &str, kind: &Located<String>, resolved: &mut Param) -> bool {
        match Shape::parse(kind) {
            Ok(shape) => {
                // A different type replaces everything, since bounds and choices of another type do
                // not apply.
                resolved.shape = if shape.kind == resolved.shape.kind && shape.items.is_none() {
                    Shape {
                        additional_properties: shape.additional_properties,
                        ..resolved.shape.clone()
                    }
                } else {
                    shape
                };
                true
            }
            Err(text) => {
                self.problem(kind.line, format!("{label}: {text}"));
                false
            }
        }
    }

    fn apply_overrides(&mut self, param: &Located<model::Param>, resolved: &mut Param) {
        let shape = &mut resolved.shape;
        if let Some(format) = &param.format {
            shape.format = Some(format.value.clone());
        }
        if let Some(choices) = &param.r#enum {
            shape.choices = Some(choices.value.clone());
        }
        if let Some(default) = &param.default {
            shape.default = Some(default.value.clone());
        }
        if let Some(min) = &param.min {
            shape.minimum = Some(number(min.value));
        }
        if let Some(max) = &param.max {
            shape.maximum = Some(number(max.value));
        }
        if let Some(length) = &param.min_length {
            shape.min_length = Some(length.value);
        }
    }

    /// Checks that bounds, choices and the default fit the type and each other.
    fn check_consistent(
        &mut self,
        label: &str,
        name: &Located<String>,
        param: &Located<model::Param>,
        resolved: &mut Param,
    ) {
        let shape = &resolved.shape;
        let is_number = matches!(shape.kind.as_str(), "integer" | "number");
        if let Some(bound) = param.min.as_ref().or(param.max.as_ref())
            && !is_number
        {
            let text = format!(
                "{label}: `min` and `max` are only for numbers, and the type is {}",
                shape.kind
            );
            self.problem(bound.line, format!("{text} (remove them)"));
        }
        let shape = &resolved.shape;
        if let Some(format) = &param.format
            && (shape.kind != "string" || !FORMATS.contains(&format.value.as_str()))
        {
            let text = format!(
                "{label}: there is no format `{}` for type {} (a string may have uuid, date-time or password)",
                format.value, shape.kind
            );
            self.problem(format.line, text);
        }
        let shape = &resolved.shape;
        if resolved.null_values && shape.additional_properties.is_none() {
            self.problem(
                name.line,
                format!("{label}: `null_values` is for maps (remove it)"),
            );
        }
        if resolved.keeps_empty && (resolved.required || resolved.shape.kind != "string") {
            self.problem(
                name.line,
                format!("{label}: `keeps_empty` is for optional texts (remove it)"),
            );
        }
        let shape = &resolved.shape;
        for choice in param
            .r#enum
            .iter()
            .flat_map(|choices| choices.value.clone())
        {
            let bare = Shape {
                choices: None,
                ..shape.clone()
            };
            if let Err(text) = bare.admits(&choice) {
                let line = param
                    .r#enum
                    .as_ref()
                    .map_or(name.line, |choices| choices.line);
                self.problems.push(Problem::new(
                    self.file,
                    line,
                    format!("{label}: choice {text} (correct it)"),
                ));
            }
        }
        if let Some(choices) = &param.r#enum {
            let repeated = |(at, choice)| choices.value[..at].contains(choice);
            for (_, choice) in choices
                .value
                .iter()
                .enumerate()
                .filter(|entry| repeated(*entry))
            {
                let text = format!("{label}: choice {choice} occurs twice (remove one)");
                self.problem(choices.line, text);
            }
        }
        let line = param
            .default
            .as_ref()
            .map_or(name.line, |default| default.line);
        if let Some(Err(text)) = shape.default.as_ref().map(|default| shape.admits(default)) {
            self.problem(line, format!("{label}: default {text} (correct it)"));
        }
        if resolved.required && resolved.shape.default.is_some() {
            let text = format!("{label}: it has a default, so it cannot be required (remove one)");
            self.problem(
                param
                    .required
                    .as_ref()
                    .map_or(line, |required| required.line),
                text,
            );
        }
    }
}

/// A bound as a JSON number. A whole number becomes an integer, since `1.0` reads badly in a
/// schema.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to be whole and small"
)]
fn number(bound: f64) -> Value {
    if bound.fract() == 0.0 && bound.abs() < 9e15 {
        Value::from(bound as i64)
    } else {
        Value::from(bound)
    }
}

/// The first key of an argument that overrides the API document.
fn overridden(param: &model::Param) -> Option<&'static str> {
    let keys = [
        (param.r#type.is_some(), "type"),
        (param.format.is_some(), "format"),
        (param.r#enum.is_some(), "enum"),
        (param.default.is_some(), "default"),
        (param.min.is_some(), "min"),
        (param.max.is_some(), "max"),
        (param.min_length.is_some(), "min_length"),
        (param.required.is_some(), "required"),
    ];
    keys.into_iter()
        .find(|(given, _)| *given)
        .map(|(_, name)| name)
}

/// The line of a key of an argument, or of the argument if it does not have the key.
fn param_line(param: &Located<model::Param>, key: &str) -> u64 {
    let line = match key {
        "type" => param.r#type.as_ref().map(|located| located.line),
        "format" => param.format.as_ref().map(|located| located.line),
        "enum" => param.r#enum.as_ref().map(|located| located.line),
        "default" => param.default.as_ref().map(|located| located.line),
        "min" => param.min.as_ref().map(|located| located.line),
        "max" => param.max.as_ref().map(|located| located.line),
        "min_length" => param.min_length.as_ref().map(|located| located.line),
        _ => param.required.as_ref().map(|located| located.line),
    };
    line.unwrap_or(param.line)
}
