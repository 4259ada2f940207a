//! The schemas of a document, with references resolved and parts merged.

use serde_json::{Map, Value};

use super::error::ServerTypesError;
use crate::merge::overlay;
use crate::references;

/// The named schemas of a document.
#[derive(Clone, Copy)]
pub(super) struct Schemas<'a>(pub(super) &'a Value);

/// A property of a struct, or a parameter of a query.
pub(super) struct Property {
    pub(super) name: String,
    pub(super) schema: Value,
    pub(super) required: bool,
    pub(super) description: Option<String>,
}

impl Schemas<'_> {
    /// All schemas, in the order of the document.
    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Value)> {
        let schemas = self.0.pointer("/components/schemas");
        schemas.and_then(Value::as_object).into_iter().flatten()
    }

    /// The name of the schema that this one refers to, if it is only a reference.
    pub(super) fn reference(schema: &Value) -> Option<&str> {
        let only = match schema["allOf"].as_array() {
            Some(parts) if parts.len() == 1 => &parts[0],
            Some(_) => return None,
            None => schema,
        };
        only["$ref"].as_str().map(references::name_of)
    }

    /// The schema called `name`.
    pub(super) fn named(&self, name: &str) -> Result<&Value, ServerTypesError> {
        self.0
            .pointer(&format!("/components/schemas/{name}"))
            .ok_or_else(|| ServerTypesError::UnknownSchema(name.to_owned()))
    }

    /// A schema merged with the schemas that it refers to. Its own keywords replace those of its
    /// parts. Of several properties with one name, its own takes precedence, then that of the last
    /// part.
    pub(super) fn merged(&self, schema: &Value) -> Result<Value, ServerTypesError> {
        if let Some(path) = schema["$ref"].as_str() {
            return self.merged(self.named(references::name_of(path))?);
        }
        let mut merged = Map::new();
        for part in schema["allOf"].as_array().into_iter().flatten() {
            if let Value::Object(part) = self.merged(part)? {
                overlay(&mut merged, part);
            }
        }
        let own = schema.as_object().into_iter().flatten();
        let own = own.filter(|(key, _)| *key != "allOf");
        let own = own.map(|(key, value)| (key.clone(), value.clone()));
        overlay(&mut merged, own.collect());
        Ok(merged.into())
    }
}

/// The properties of an object, in the order of the document.
pub(super) fn properties(merged: &Value) -> Vec<Property> {
    let required = |name: &str| {
        let names = merged["required"].as_array();
        names.is_some_and(|names| names.iter().any(|other| other == name))
    };
    merged["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, schema)| Property {
            name: name.clone(),
            schema: schema.clone(),
            required: required(name),
            description: schema["description"].as_str().map(str::to_owned),
        })
        .collect()
}

/// The query parameters of each operation that has any, in the order of the document. Those that
/// all operations of its path share come last.
pub(super) fn queries(document: &Value) -> Vec<(String, Vec<Property>)> {
    let mut queries = Vec::new();
    for (_, item) in document["paths"].as_object().into_iter().flatten() {
        for (_, operation) in item.as_object().into_iter().flatten() {
            let Some(id) = operation["operationId"].as_str() else {
                continue;
            };
            let lists = [operation, item].map(|owner| owner["parameters"].as_array());
            let mut parameters: Vec<Property> = Vec::new();
            for parameter in lists.into_iter().flatten().flatten() {
                let parameter = resolved(document, parameter);
                let name = parameter["name"].as_str().unwrap_or_default();
                // A parameter of the operation replaces one of its path.
                let is_known = parameters.iter().any(|known| known.name == name);
                if parameter["in"] == "query" && !is_known {
                    parameters.push(query_parameter(name, parameter));
                }
            }
            if !parameters.is_empty() {
                queries.push((id.to_owned(), parameters));
            }
        }
    }
    queries
}

/// The parameter that a chain of references leads to.
fn resolved<'a>(document: &'a Value, mut parameter: &'a Value) -> &'a Value {
    while let Some(reference) = parameter["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        parameter = target.unwrap_or(&Value::Null);
    }
    parameter
}

fn query_parameter(name: &str, parameter: &Value) -> Property {
    let mut schema = parameter["schema"].clone();
    if let (Some(schema), true) = (schema.as_object_mut(), parameter["allowEmptyValue"] == true) {
        schema.insert("allowEmptyValue".to_owned(), true.into());
    }
    Property {
        name: name.to_owned(),
        schema,
        // The server itself reports a missing parameter, with a better message.
        required: false,
        description: parameter["description"].as_str().map(str::to_owned),
    }
}
