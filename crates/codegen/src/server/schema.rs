//! The schemas of a document, with references resolved and parts merged.

use serde_json::{Map, Value};

use super::error::ServerTypesError;

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
        only["$ref"]
            .as_str()
            .map(|path| path.trim_start_matches("#/components/schemas/"))
    }

    /// The schema called `name`.
    pub(super) fn named(&self, name: &str) -> Result<&Value, ServerTypesError> {
        self.0
            .pointer(&format!("/components/schemas/{name}"))
            .ok_or_else(|| ServerTypesError::UnknownSchema(name.to_owned()))
    }

    /// A schema merged with the schemas that it refers to. Its own keywords replace those of its
    /// parts. Of several parts with a property of one name, the last one takes precedence.
    pub(super) fn merged(&self, schema: &Value) -> Result<Value, ServerTypesError> {
        let mut merged = Map::new();
        if let Some(path) = schema["$ref"].as_str() {
            let name = path.trim_start_matches("#/components/schemas/");
            return self.merged(self.named(name)?);
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            for (key, value) in self.merged(part)?.as_object().into_iter().flatten() {
                match (key.as_str(), merged.get_mut(key), value) {
                    ("properties", Some(Value::Object(into)), Value::Object(more)) => {
                        into.extend(more.clone());
                    }
                    ("required", Some(Value::Array(into)), Value::Array(more)) => {
                        into.extend(more.clone());
                    }
                    _ => {
                        merged.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        for (key, value) in schema.as_object().into_iter().flatten() {
            if key != "allOf" {
                merged.insert(key.clone(), value.clone());
            }
        }
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

/// The query parameters of each operation that has any, in the order of the document.
pub(super) fn queries(document: &Value) -> Vec<(String, Vec<Property>)> {
    let mut queries = Vec::new();
    for item in document["paths"].as_object().into_iter().flatten() {
        for operation in item.1.as_object().into_iter().flatten() {
            let Some(id) = operation.1["operationId"].as_str() else {
                continue;
            };
            let parameters = operation.1["parameters"].as_array().into_iter().flatten();
            let parameters: Vec<Property> = parameters
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| {
                    let mut schema = parameter["schema"].clone();
                    if let (Some(schema), true) =
                        (schema.as_object_mut(), parameter["allowEmptyValue"] == true)
                    {
                        schema.insert("allowEmptyValue".to_owned(), true.into());
                    }
                    Property {
                        name: parameter["name"].as_str().unwrap_or_default().to_owned(),
                        schema,
                        // The server itself reports a missing parameter, with a better message.
                        required: false,
                        description: parameter["description"].as_str().map(str::to_owned),
                    }
                })
                .collect();
            if !parameters.is_empty() {
                queries.push((id.to_owned(), parameters));
            }
        }
    }
    queries
}
