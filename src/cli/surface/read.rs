//! Reading of surfaces in three forms: our own, the answer of `tools/list`, and recorded facts.

use std::collections::BTreeMap;

use serde_json::Value;

use super::shape::Shape;
use crate::tools::required_names;

/// Everything that clients see. A part that is not in the file is `None` and is not compared.
#[derive(Debug, Default)]
pub(in crate::cli) struct Surface {
    pub(super) tools: Option<BTreeMap<String, Tool>>,
    pub(super) prompts: Option<BTreeMap<String, Prompt>>,
    pub(super) resources: Option<BTreeMap<String, Resource>>,
    pub(super) templates: Option<BTreeMap<String, Resource>>,
    pub(super) instructions: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Tool {
    pub(super) labels: Labels,
    pub(super) hints: BTreeMap<String, bool>,
    pub(super) parameters: BTreeMap<String, Field>,
    pub(super) output: Option<BTreeMap<String, Field>>,
}

/// An argument, or a field of an answer.
#[derive(Debug, Default)]
pub(super) struct Field {
    pub(super) labels: Labels,
    pub(super) shape: Shape,
    pub(super) required: bool,
    pub(super) default: Option<Value>,
    /// Smallest and largest number, least and greatest length; `None` if the form of the file has
    /// no bounds.
    pub(super) bounds: Option<[Option<f64>; 4]>,
    /// Format and pattern of a text; `None` if the form of the file has neither.
    pub(super) text_rules: Option<[Option<String>; 2]>,
    /// The nested fields by path: `.name` for a field of an object, `[]` for the elements of an
    /// array, `{}` for the values of a map. `None` if the form of the file has no nested fields.
    pub(super) nested: Option<BTreeMap<String, Field>>,
}

#[derive(Debug, Default)]
pub(super) struct Prompt {
    pub(super) labels: Labels,
    pub(super) arguments: BTreeMap<String, Field>,
}

#[derive(Debug, Default)]
pub(super) struct Resource {
    pub(super) labels: Labels,
    pub(super) name: String,
    pub(super) mime: Option<String>,
}

/// The texts for people and models; `None` if the file has none.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Labels {
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
}

/// An error in a surface.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum SurfaceError {
    #[error(
        "it has no list of tools: give what `contree-mcp tools --format surface` printed, or the answer of \
         tools/list"
    )]
    NoTools,
    #[error("an entry has no `{key}`: {entry}")]
    NoKey { key: &'static str, entry: Value },
}

/// Reads a surface.
///
/// # Errors
/// If the value has none of the known forms.
pub(in crate::cli) fn read(value: &Value) -> Result<Surface, SurfaceError> {
    let value = value.get("result").unwrap_or(value);
    if value.is_array() {
        return Ok(Surface {
            tools: Some(named(value, "name", tool)?),
            ..Surface::default()
        });
    }
    let list = |name: &str| value.get(name).filter(|list| list.is_array());
    let templates = list("resourceTemplates").or_else(|| list("templates"));
    let surface = Surface {
        tools: list("tools")
            .map(|list| named(list, "name", tool))
            .transpose()?,
        prompts: list("prompts")
            .map(|list| named(list, "name", prompt))
            .transpose()?,
        resources: list("resources")
            .map(|list| named(list, "uri", resource))
            .transpose()?,
        templates: templates
            .map(|list| named(list, "uriTemplate", resource))
            .transpose()?,
        instructions: value["instructions"].as_str().map(str::to_owned),
    };
    if surface.tools.is_none() && surface.prompts.is_none() && surface.resources.is_none() {
        return Err(SurfaceError::NoTools);
    }
    Ok(surface)
}

fn named<T>(
    list: &Value,
    key: &'static str,
    read: impl Fn(&Value) -> T,
) -> Result<BTreeMap<String, T>, SurfaceError> {
    let entries = list.as_array().into_iter().flatten();
    entries
        .map(|entry| match entry[key].as_str() {
            Some(name) => Ok((name.to_owned(), read(entry))),
            None => Err(SurfaceError::NoKey {
                key,
                entry: entry.clone(),
            }),
        })
        .collect()
}

fn labels(entry: &Value) -> Labels {
    let text = |key: &str| entry[key].as_str().map(str::to_owned);
    Labels {
        title: text("title"),
        description: text("description"),
    }
}

fn tool(entry: &Value) -> Tool {
    let hints = entry["annotations"].as_object().into_iter().flatten();
    let output = match (&entry["outputSchema"], &entry["output"]) {
        (Value::Null, Value::Null) => None,
        (Value::Null, facts) => Some(facts_of(facts)),
        (schema, _) => Some(fields_of(schema)),
    };
    Tool {
        labels: labels(entry),
        hints: hints
            .filter_map(|(name, hint)| Some((name.clone(), hint.as_bool()?)))
            .collect(),
        parameters: match &entry["inputSchema"] {
            Value::Null => facts_of(&entry["parameters"]),
            schema => fields_of(schema),
        },
        output,
    }
}

/// The properties of a schema.
fn fields_of(schema: &Value) -> BTreeMap<String, Field> {
    let required = required_names(schema);
    let properties = schema["properties"].as_object().into_iter().flatten();
    let field = |(name, property): (&String, &Value)| {
        let required = required.contains(&name.as_str());
        (name.clone(), field_of(property, required))
    };
    properties.map(field).collect()
}

fn field_of(schema: &Value, required: bool) -> Field {
    let bounds = ["minimum", "maximum", "minLength", "maxLength"];
    let text_rules = ["format", "pattern"];
    Field {
        labels: labels(schema),
        shape: Shape::of_schema(schema),
        required,
        default: schema
            .get("default")
            .filter(|value| !value.is_null())
            .cloned(),
        bounds: Some(bounds.map(|key| schema[key].as_f64())),
        text_rules: Some(text_rules.map(|key| schema[key].as_str().map(str::to_owned))),
        nested: Some(nested_of(schema)),
    }
}

/// The nested fields of a schema, over all of its alternatives.
fn nested_of(schema: &Value) -> BTreeMap<String, Field> {
    let branches = ["anyOf", "oneOf"]
        .iter()
        .filter_map(|key| schema[key].as_array());
    let mut nested: BTreeMap<_, _> = branches.flatten().flat_map(nested_of).collect();
    let fields = fields_of(schema).into_iter();
    nested.extend(fields.map(|(name, field)| (format!(".{name}"), field)));
    for (key, path) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            nested.insert(path.to_owned(), field_of(&schema[key], false));
        }
    }
    nested
}

/// Recorded facts of parameters or fields.
fn facts_of(facts: &Value) -> BTreeMap<String, Field> {
    let field = |(name, fact): (&String, &Value)| {
        let field = Field {
            labels: labels(fact),
            shape: Shape::of_notation(fact["type"].as_str().unwrap_or("string")),
            required: fact["required"] == true,
            default: fact
                .get("default")
                .filter(|value| !value.is_null())
                .cloned(),
            ..Field::default()
        };
        (name.clone(), field)
    };
    facts.as_object().into_iter().flatten().map(field).collect()
}

fn prompt(entry: &Value) -> Prompt {
    let arguments = match &entry["arguments"] {
        Value::Array(list) => list
            .iter()
            .filter_map(|argument| {
                let field = Field {
                    labels: labels(argument),
                    required: argument["required"] == true,
                    default: argument
                        .get("default")
                        .filter(|value| !value.is_null())
                        .cloned(),
                    ..Field::default()
                };
                Some((argument["name"].as_str()?.to_owned(), field))
            })
            .collect(),
        facts => facts_of(facts),
    };
    Prompt {
        labels: labels(entry),
        arguments,
    }
}

fn resource(entry: &Value) -> Resource {
    Resource {
        labels: labels(entry),
        name: entry["name"].as_str().unwrap_or_default().to_owned(),
        mime: entry["mimeType"].as_str().map(str::to_owned),
    }
}
