//! Adds a document of extensions to an API document.
//!
//! The API document describes what every server of the API does. The extensions describe what one
//! server does beyond it. They have paths below `/x/`, new schemas, and fields of the API's schemas
//! whose names begin with `x-`. So they change no answer that a client of the API knows.

use serde_json::{Map, Value};

/// The prefix of the paths of extensions.
const PATH_PREFIX: &str = "/x/";
/// The prefix of fields that extensions add to the schemas of the API.
const FIELD_PREFIX: &str = "x-";

/// An error of adding extensions to a document. Its message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtensionError {
    /// A document is not valid YAML.
    #[error("{0}")]
    Yaml(Box<serde_yaml::Error>),
    /// The merged document cannot be written.
    #[error("the merged document cannot be written: {0}")]
    Write(#[from] serde_json::Error),
    /// A path of the extensions does not begin with `/x/`.
    #[error("the path {0} of the extensions does not begin with /x/ (rename it)")]
    Path(String),
    /// The API document already has a part of this name.
    #[error("the API document already has {0} (rename it in the extensions)")]
    Taken(String),
    /// The name of an added field does not begin with `x-`.
    #[error("the extensions add {schema}.{field}, whose name does not begin with x- (rename it)")]
    Field {
        /// The schema of the API.
        schema: String,
        /// The added field.
        field: String,
    },
    /// The extensions change a keyword of the API's schema other than `properties`.
    #[error(
        "the extensions change `{keyword}` of the API's schema {schema}; they may only add optional properties"
    )]
    Schema {
        /// The schema of the API.
        schema: String,
        /// The changed keyword.
        keyword: String,
    },
}

impl From<serde_yaml::Error> for ExtensionError {
    fn from(error: serde_yaml::Error) -> Self {
        Self::Yaml(Box::new(error))
    }
}

/// Merges two documents in YAML. The result is JSON, which is YAML too.
///
/// # Errors
/// The part of the extensions that does not fit, or a document that cannot be read.
pub fn merge_texts(api: &str, extensions: &str) -> Result<String, ExtensionError> {
    let mut document: Value = serde_yaml::from_str(api)?;
    merge(&mut document, &serde_yaml::from_str(extensions)?)?;
    Ok(serde_json::to_string_pretty(&document)?)
}

/// Adds extensions to a document.
///
/// # Errors
/// The part of the extensions that does not fit.
pub fn merge(document: &mut Value, extensions: &Value) -> Result<(), ExtensionError> {
    let entries = |part: &str| {
        let entries = extensions.pointer(part).and_then(Value::as_object);
        entries.cloned().unwrap_or_default()
    };
    for (path, item) in entries("/paths") {
        if !path.starts_with(PATH_PREFIX) {
            return Err(ExtensionError::Path(path));
        }
        add(document, "paths", path, item)?;
    }
    for (name, schema) in entries("/components/schemas") {
        let known = document.pointer_mut(&format!("/components/schemas/{name}"));
        match known.and_then(Value::as_object_mut) {
            Some(known) => add_fields(&name, known, &schema)?,
            None => add_component(document, "schemas", name, schema)?,
        }
    }
    for part in ["responses", "headers", "parameters"] {
        for (name, value) in entries(&format!("/components/{part}")) {
            add_component(document, part, name, value)?;
        }
    }
    for tag in extensions["tags"].as_array().into_iter().flatten() {
        if let Some(tags) = document["tags"].as_array_mut() {
            tags.push(tag.clone());
        }
    }
    Ok(())
}

fn add_component(
    document: &mut Value,
    part: &str,
    name: String,
    value: Value,
) -> Result<(), ExtensionError> {
    add(&mut document["components"], part, name, value)
}

/// Adds an entry to a part of a document.
fn add(document: &mut Value, part: &str, name: String, value: Value) -> Result<(), ExtensionError> {
    let entries = &mut document[part];
    if !entries[name.as_str()].is_null() {
        return Err(ExtensionError::Taken(name));
    }
    entries[name.as_str()] = value;
    Ok(())
}

/// Adds fields to a schema of the API.
fn add_fields(
    schema: &str,
    known: &mut Map<String, Value>,
    added: &Value,
) -> Result<(), ExtensionError> {
    for (keyword, value) in added.as_object().into_iter().flatten() {
        if keyword != "properties" {
            return Err(ExtensionError::Schema {
                schema: schema.to_owned(),
                keyword: keyword.clone(),
            });
        }
        let properties = known
            .entry("properties")
            .or_insert_with(|| Value::Object(Map::new()));
        for (field, value) in value.as_object().into_iter().flatten() {
            if !field.starts_with(FIELD_PREFIX) {
                return Err(ExtensionError::Field {
                    schema: schema.to_owned(),
                    field: field.clone(),
                });
            }
            if !properties[field.as_str()].is_null() {
                return Err(ExtensionError::Taken(format!("{schema}.{field}")));
            }
            properties[field.as_str()] = value.clone();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const API: &str = "
paths:
  /images: {get: {operationId: listImages}}
components:
  schemas:
    Image: {type: object, properties: {uuid: {type: string}}}
";

    fn merged(extensions: &str) -> Result<Value, String> {
        let text = merge_texts(API, extensions).map_err(|error| error.to_string())?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn extensions_add_paths_schemas_and_fields() {
        let document = merged(
            "
paths:
  /x/logs: {get: {operationId: logs}}
components:
  schemas:
    Log: {type: object}
    Image: {properties: {x-size: {type: integer}}}
  responses:
    Gone: {description: It is gone.}
",
        )
        .unwrap();
        assert_eq!(document["paths"]["/x/logs"]["get"]["operationId"], "logs");
        assert_eq!(
            document["paths"]["/images"]["get"]["operationId"],
            "listImages"
        );
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["Log"], json!({"type": "object"}));
        assert_eq!(schemas["Image"]["properties"]["x-size"]["type"], "integer");
        assert_eq!(schemas["Image"]["properties"]["uuid"]["type"], "string");
        assert!(document["components"]["responses"]["Gone"].is_object());
    }

    #[test]
    fn extensions_that_change_the_api_are_refused() {
        for (extensions, part) in [
            ("paths: {/logs: {get: {}}}", "does not begin with /x/"),
            (
                "components: {schemas: {Image: {properties: {size: {type: integer}}}}}",
                "Image.size",
            ),
            (
                "components: {schemas: {Image: {required: [x-size]}}}",
                "`required`",
            ),
            ("paths: [", "line"),
        ] {
            let error = merged(extensions).unwrap_err();
            assert!(error.contains(part), "{extensions}: {error}");
        }
    }
}
