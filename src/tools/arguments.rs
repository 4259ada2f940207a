//! Converts arguments that agents send to what the published schema requires.
//!
//! Agents quote numbers, send null for "not given", pass JSON as text and misspell names. A value
//! is converted if its meaning is certain. All other problems are reported together in one error.

use serde_json::{Map, Number, Value};
use uuid::Uuid;

use super::ToolError;
use super::argument_problem::{ArgumentProblem, ArgumentProblems};
use super::error_details::ErrorDetails;
use super::schema::required_names;
use super::suggestion::{brief, nearest};

/// Arguments of a call.
pub type Arguments = serde_json::Map<String, Value>;

/// The rules of the manifest for a tool's arguments, beside their schema.
#[derive(Clone, Copy)]
pub(super) struct ArgumentRules<'a> {
    /// Accepted names that are not shown, each with the name of the real argument.
    pub(super) aliases: &'a [(&'a str, &'a str)],
    /// Arguments that are maps whose values may be null.
    pub(super) null_values: &'a [&'a str],
    /// Optional arguments for which an empty text has a meaning of its own.
    pub(super) keeps_empty: &'a [&'a str],
}

/// Converts `sent` to what `schema` requires: names, types, bounds and defaults.
///
/// Some clients fill in every optional argument. So null and an empty text count as left out, and
/// so do a zero and an empty list or map that the schema does not allow.
///
/// # Errors
/// Lists every problem with the name of its argument.
pub(super) fn normalise(
    tool: &str,
    schema: &Value,
    rules: ArgumentRules<'_>,
    sent: Arguments,
) -> Result<Arguments, ToolError> {
    let empty = Map::new();
    let required = required_names(schema);
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let mut accepted = Arguments::new();
    let mut problems = Vec::new();
    for (name, value) in sent {
        let alias = rules.aliases.iter().find(|(alias, _)| *alias == name);
        let name = alias.map_or(name, |(_, meant)| (*meant).to_owned());
        let Some(property) = properties.get(&name) else {
            problems.push(unknown(tool, &name, properties));
            continue;
        };
        if value.is_null() {
            continue;
        }
        let may_be_placeholder = is_empty(&value)
            && !required.contains(&name.as_str())
            && !rules.keeps_empty.contains(&name.as_str());
        if may_be_placeholder && value.is_string() {
            continue;
        }
        let nulls = rules.null_values.contains(&name.as_str());
        match convert(&name, property, value, nulls) {
            Ok(value) => match accepted.get(&name) {
                Some(other) if *other != value => {
                    problems.push(ArgumentProblem::GivenTwice(name));
                }
                _ => {
                    accepted.insert(name, value);
                }
            },
            Err(_) if may_be_placeholder => {}
            Err(problem) => problems.push(problem),
        }
    }
    let missing: Vec<_> = required
        .into_iter()
        .filter(|name| !accepted.contains_key(*name))
        .collect();
    if problems.is_empty() && !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|name| format!("`{name}`")).collect();
        problems.push(ArgumentProblem::Missing {
            tool: tool.to_owned(),
            names: names.join(" and "),
        });
    }
    if !problems.is_empty() {
        let details = ErrorDetails::of(ArgumentProblems(problems));
        return Err(ToolError::InvalidArgument(details));
    }
    // In the schema's order, independent of the order sent.
    Ok(properties
        .iter()
        .filter_map(|(name, property)| {
            let value = accepted
                .remove(name)
                .or_else(|| property.get("default").cloned())?;
            Some((name.clone(), value))
        })
        .collect())
}

/// Reports whether a value is one that clients fill in for "not given".
fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Null | Value::Bool(_) => false,
    }
}

fn unknown(tool: &str, name: &str, properties: &Map<String, Value>) -> ArgumentProblem {
    let (tool, name) = (tool.to_owned(), brief(name));
    if properties.is_empty() {
        return ArgumentProblem::NoneTaken { tool, name };
    }
    let meant = nearest(&name, properties.keys().map(String::as_str)).map(str::to_owned);
    let known: Vec<_> = properties.keys().map(String::as_str).collect();
    ArgumentProblem::Unknown {
        tool,
        name,
        meant,
        known: known.join(", "),
    }
}

/// Converts one value, or returns the problem with it. `path` names the value in messages. With
/// `nulls`, the value may be a map with null values.
fn convert(
    path: &str,
    schema: &Value,
    value: Value,
    nulls: bool,
) -> Result<Value, ArgumentProblem> {
    let kind = schema["type"].as_str().unwrap_or_default();
    let value = match kind {
        "string" => text(value),
        "integer" => integer(value),
        "number" => number(value),
        "boolean" => boolean(value),
        "array" => array(value, &schema["items"]),
        "object" => object(value),
        _ => Ok(value),
    };
    let value = value.map_err(|value| {
        let shown = match schema["format"] == "password" {
            true => "something else".to_owned(),
            false => short(&value),
        };
        ArgumentProblem::WrongType {
            path: path.to_owned(),
            kind: kind.to_owned(),
            shown,
        }
    })?;
    let value = match value {
        Value::Array(items) => {
            let items = items.into_iter().enumerate();
            let items = items.map(|(index, item)| {
                convert(&format!("{path}[{index}]"), &schema["items"], item, false)
            });
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, field)| {
                if nulls && field.is_null() {
                    return Ok((key, field));
                }
                let field = convert(
                    &format!("{path}.{key}"),
                    &schema["additionalProperties"],
                    field,
                    false,
                )?;
                Ok((key, field))
            });
            Value::Object(fields.collect::<Result<_, ArgumentProblem>>()?)
        }
        value => value,
    };
    let value = choice(path, schema, value)?;
    let value = formatted(path, schema, value)?;
    bounds(path, schema, &value)?;
    Ok(value)
}

/// Converts a value to a string. Numbers with a fraction are refused: a version `3.10` would become
/// `3.1`.
fn text(value: Value) -> Result<Value, Value> {
    match value {
        Value::String(_) => Ok(value),
        Value::Bool(flag) => Ok(Value::String(flag.to_string())),
        Value::Number(ref number) if number.is_i64() || number.is_u64() => {
            Ok(Value::String(number.to_string()))
        }
        _ => Err(value),
    }
}

fn integer(value: Value) -> Result<Value, Value> {
    let whole = match &value {
        Value::Number(number) if number.is_i64() || number.is_u64() => return Ok(value),
        Value::Number(number) => number.as_f64().and_then(whole),
        Value::String(text) => {
            let text = text.trim();
            let parsed = text
                .parse()
                .map(|number: i64| number.into())
                .or_else(|_| text.parse().map(|number: u64| number.into()));
            parsed.ok().or_else(|| text.parse().ok().and_then(whole))
        }
        _ => None,
    };
    whole.map(Value::Number).ok_or(value)
}

/// Converts a float to an integer, if it is whole and floats represent it exactly.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to be whole and in range"
)]
fn whole(number: f64) -> Option<Number> {
    (number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0)
        .then(|| Number::from(number as i64))
}

fn number(value: Value) -> Result<Value, Value> {
    match &value {
        Value::Number(_) => Ok(value),
        Value::String(text) => {
            let parsed = text.trim().parse().ok().and_then(Number::from_f64);
            parsed.map(Value::Number).ok_or(value)
        }
        _ => Err(value),
    }
}

fn boolean(value: Value) -> Result<Value, Value> {
    let flag = match &value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
        Value::Number(number) if number.as_u64() == Some(1) => Some(true),
        Value::Number(number) if number.as_u64() == Some(0) => Some(false),
        _ => None,
    };
    flag.map(Value::Bool).ok_or(value)
}

/// Converts JSON text to a list, or one bare string to a list of strings.
fn array(value: Value, items: &Value) -> Result<Value, Value> {
    match &value {
        Value::Array(_) => Ok(value),
        Value::String(text) if text.trim_start().starts_with('[') => {
            match serde_json::from_str(text) {
                Ok(Value::Array(items)) => Ok(Value::Array(items)),
                _ => Err(value),
            }
        }
        Value::String(_) if items["type"] == "string" => Ok(Value::Array(vec![value])),
        _ => Err(value),
    }
}

fn object(value: Value) -> Result<Value, Value> {
    match &value {
        Value::Object(_) => Ok(value),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(Value::Object(fields)),
            _ => Err(value),
        },
        _ => Err(value),
    }
}

/// Returns the choice that a value names, ignoring case.
fn choice(path: &str, schema: &Value, value: Value) -> Result<Value, ArgumentProblem> {
    let Some(choices) = schema["enum"].as_array() else {
        return Ok(value);
    };
    let same = |choice: &&Value| match (choice.as_str(), value.as_str()) {
        (Some(choice), Some(value)) => choice.eq_ignore_ascii_case(value.trim()),
        _ => **choice == value,
    };
    if let Some(choice) = choices.iter().find(same) {
        return Ok(choice.clone());
    }
    let known: Vec<_> = choices
        .iter()
        .map(|choice| choice.as_str().map_or(choice.to_string(), str::to_owned))
        .collect();
    Err(ArgumentProblem::UnknownChoice {
        path: path.to_owned(),
        choices: known.join(", "),
        shown: short(&value),
    })
}

/// Converts a UUID to its standard spelling, and checks times and patterns.
fn formatted(path: &str, schema: &Value, value: Value) -> Result<Value, ArgumentProblem> {
    let Some(text) = value.as_str() else {
        return Ok(value);
    };
    if schema["format"] == "uuid" {
        let parsed = Uuid::try_parse(text.trim());
        let parsed = parsed.map_err(|_| ArgumentProblem::InvalidUuid {
            path: path.to_owned(),
            shown: short(&value),
        })?;
        return Ok(Value::String(parsed.to_string()));
    }
    if schema["format"] == "date-time" && chrono::DateTime::parse_from_rfc3339(text.trim()).is_err()
    {
        return Err(ArgumentProblem::InvalidTime {
            path: path.to_owned(),
            shown: short(&value),
        });
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let fits = regress::Regex::new(pattern).is_ok_and(|regex| regex.find(text).is_some());
        if !fits {
            return Err(ArgumentProblem::NoMatch {
                path: path.to_owned(),
                pattern: pattern.to_owned(),
                shown: short(&value),
            });
        }
    }
    Ok(value)
}

fn bounds(path: &str, schema: &Value, value: &Value) -> Result<(), ArgumentProblem> {
    let below = |least: &Value| compare(value, least).is_some_and(std::cmp::Ordering::is_lt);
    let above = |most: &Value| compare(value, most).is_some_and(std::cmp::Ordering::is_gt);
    if let Some(least) = schema.get("minimum").filter(|least| below(least)) {
        return Err(ArgumentProblem::TooSmall {
            path: path.to_owned(),
            least: least.to_string(),
            value: value.to_string(),
        });
    }
    if let Some(most) = schema.get("maximum").filter(|most| above(most)) {
        return Err(ArgumentProblem::TooLarge {
            path: path.to_owned(),
            most: most.to_string(),
            value: value.to_string(),
        });
    }
    let Some(length) = value.as_str().map(|text| text.chars().count() as u64) else {
        return Ok(());
    };
    let least = schema["minLength"].as_u64();
    if let Some(least) = least.filter(|least| length < *least) {
        return Err(ArgumentProblem::TooShort {
            path: path.to_owned(),
            least,
            length,
        });
    }
    let most = schema["maxLength"].as_u64();
    if let Some(most) = most.filter(|most| length > *most) {
        return Err(ArgumentProblem::TooLong {
            path: path.to_owned(),
            most,
            length,
        });
    }
    Ok(())
}

/// Compares two numbers. Integers are compared exactly, since floats would round large ones.
fn compare(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    let whole = |value: &Value| {
        value
            .as_i64()
            .map(i128::from)
            .or_else(|| value.as_u64().map(i128::from))
    };
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// Shows a value in a message, shortened if it is long.
fn short(value: &Value) -> String {
    brief(&value.to_string())
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
