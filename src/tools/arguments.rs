//! Arguments as agents send them, made into what the published schema says.
//!
//! Agents quote numbers, send null for "not given", pass JSON as text and misspell names. Whatever can be understood
//! without guessing is converted; the rest is refused with everything that is wrong in one answer.

use serde_json::{Map, Number, Value};
use uuid::Uuid;

use super::ToolError;

/// The arguments of a call.
pub type Arguments = serde_json::Map<String, Value>;

/// Makes `sent` what `schema` says: names, types, bounds, defaults.
///
/// # Errors
/// Says everything that is wrong, naming each argument.
pub(super) fn normalise(
    tool: &str,
    schema: &Value,
    aliases: &[(&str, &str)],
    null_values: &[&str],
    sent: Arguments,
) -> Result<Arguments, ToolError> {
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    let mut given = Arguments::new();
    let mut problems = Vec::new();
    for (name, value) in sent {
        let alias = aliases.iter().find(|(alias, _)| *alias == name);
        let name = alias.map_or(name, |(_, meant)| (*meant).to_owned());
        let Some(property) = properties.get(&name) else {
            problems.push(unknown(tool, &name, properties));
            continue;
        };
        if value.is_null() {
            continue;
        }
        let nulls = null_values.contains(&name.as_str());
        match convert(&name, property, value, nulls) {
            Ok(value) => match given.get(&name) {
                Some(other) if *other != value => {
                    problems.push(format!(
                        "`{name}` is given twice, under two names and with different values"
                    ));
                }
                _ => {
                    given.insert(name, value);
                }
            },
            Err(problem) => problems.push(problem),
        }
    }
    let required = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let missing: Vec<_> = required.filter(|name| !given.contains_key(*name)).collect();
    if problems.is_empty() && !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|name| format!("`{name}`")).collect();
        problems.push(format!("`{tool}` needs {}", names.join(" and ")));
    }
    if !problems.is_empty() {
        return Err(ToolError::new(problems.join("\n")));
    }
    // In the order of the schema, whatever order they came in.
    Ok(properties
        .iter()
        .filter_map(|(name, property)| {
            let value = given
                .remove(name)
                .or_else(|| property.get("default").cloned())?;
            Some((name.clone(), value))
        })
        .collect())
}

/// The known name that `wrong` most resembles, if any does.
pub(super) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The time to compare grows with the product of the lengths.
    let wrong = brief(wrong);
    known
        .map(|name| (strsim::jaro_winkler(&wrong, name), name))
        .filter(|(score, _)| *score > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn unknown(tool: &str, name: &str, properties: &Map<String, Value>) -> String {
    let shown = brief(name);
    let name = shown.as_str();
    let meant = nearest(name, properties.keys().map(String::as_str));
    let meant = meant
        .map(|meant| format!("; did you mean `{meant}`?"))
        .unwrap_or_else(|| ".".to_owned());
    if properties.is_empty() {
        return format!("`{tool}` takes no arguments, so no `{name}`");
    }
    let known: Vec<_> = properties.keys().map(String::as_str).collect();
    format!(
        "`{tool}` has no argument `{name}`{meant} It takes: {}",
        known.join(", ")
    )
}

/// Converts one value, or says what is wrong with it at `path`.
fn convert(path: &str, schema: &Value, value: Value, nulls: bool) -> Result<Value, String> {
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
        format!("`{path}` must be of type {kind}, not {shown}")
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
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
        value => value,
    };
    let value = choice(path, schema, value)?;
    let value = formatted(path, schema, value)?;
    bounds(path, schema, &value)?;
    Ok(value)
}

/// Whole numbers and booleans have one spelling each; `3.10` would become another version number.
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

/// A float as an integer, if it is one that floats hold exactly.
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

/// JSON text, or one bare text for a list of texts.
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

/// One of the choices, in whatever case it came.
fn choice(path: &str, schema: &Value, value: Value) -> Result<Value, String> {
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
    Err(format!(
        "`{path}` must be one of {}, not {}",
        known.join(", "),
        short(&value)
    ))
}

/// A text in the one spelling of its format, that matches its pattern.
fn formatted(path: &str, schema: &Value, value: Value) -> Result<Value, String> {
    let Some(text) = value.as_str() else {
        return Ok(value);
    };
    if schema["format"] == "uuid" {
        let parsed = Uuid::try_parse(text.trim());
        let parsed =
            parsed.map_err(|_| format!("`{path}` must be a UUID, not {}", short(&value)))?;
        return Ok(Value::String(parsed.to_string()));
    }
    if schema["format"] == "date-time" && chrono::DateTime::parse_from_rfc3339(text.trim()).is_err()
    {
        return Err(format!(
            "`{path}` must be a time such as 2030-12-31T23:59:59Z, not {}",
            short(&value)
        ));
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let fits = regress::Regex::new(pattern).is_ok_and(|regex| regex.find(text).is_some());
        if !fits {
            return Err(format!(
                "`{path}` must match {pattern}, not {}",
                short(&value)
            ));
        }
    }
    Ok(value)
}

fn bounds(path: &str, schema: &Value, value: &Value) -> Result<(), String> {
    let below = |least: &Value| compare(value, least).is_some_and(std::cmp::Ordering::is_lt);
    let above = |most: &Value| compare(value, most).is_some_and(std::cmp::Ordering::is_gt);
    if let Some(least) = schema.get("minimum").filter(|least| below(least)) {
        return Err(format!("`{path}` must be at least {least}, not {value}"));
    }
    if let Some(most) = schema.get("maximum").filter(|most| above(most)) {
        return Err(format!("`{path}` must be at most {most}, not {value}"));
    }
    let Some(length) = value.as_str().map(|text| text.chars().count() as u64) else {
        return Ok(());
    };
    if schema["minLength"]
        .as_u64()
        .is_some_and(|least| length < least)
    {
        let least = &schema["minLength"];
        return Err(format!(
            "`{path}` must have at least {least} character(s), not {length}"
        ));
    }
    if schema["maxLength"]
        .as_u64()
        .is_some_and(|most| length > most)
    {
        let most = &schema["maxLength"];
        return Err(format!(
            "`{path}` must have at most {most} character(s), not {length}"
        ));
    }
    Ok(())
}

/// Compares exactly where both are whole: floats would round large numbers.
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

/// A value for a message: its beginning if it is long.
fn short(value: &Value) -> String {
    brief(&value.to_string())
}

/// The beginning of a text that is long.
pub(super) fn brief(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some(_) => text.chars().take(59).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
