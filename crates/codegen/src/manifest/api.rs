//! The operations and schemas of the API document that the manifest can refer to.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::{ReferenceError, ShapeError};
use super::names::suggestion;
use super::problem::{Problem, SourceFile};
use super::shape::Shape;
use crate::expansion::Expansion;
use crate::merge::overlay;
use crate::references;

/// The operations and schemas of the API document.
pub struct Api {
    /// Operations by id.
    pub operations: BTreeMap<String, Operation>,
    document: Value,
}

/// One operation.
pub struct Operation {
    /// The HTTP method in upper case.
    pub method: String,
    /// The name of the file that describes it.
    pub file: String,
    /// The line of its id.
    pub line: u64,
    parameters: Vec<Parameter>,
    body: Option<Value>,
    /// The name of the schema that the body refers to.
    body_name: Option<String>,
    /// The media type of a body that is not JSON.
    other_body: Option<String>,
}

struct Parameter {
    name: String,
    /// The part of the request that has it: `path`, `query`, `header` or `cookie`.
    location: String,
    required: bool,
    schema: Value,
}

/// A field of the JSON body that an operation takes.
#[derive(Clone, Debug, PartialEq)]
pub struct BodyField {
    /// Its name in the body.
    pub name: String,
    /// Whether the body must have it.
    pub required: bool,
    /// Whether the client's type for it is an `Option`, since it may be absent or null.
    pub optional: bool,
    /// Its type, or the type of its items if it is a list. `None` if the tool and the client have
    /// different types for it.
    pub scalar: Option<ScalarType>,
}

/// A type that is the same in the parameter struct of a tool and in the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarType {
    /// `String`
    Text,
    /// `Uuid`
    Uuid,
    /// `bool`
    Boolean,
    /// `f64`
    Number,
    /// `u64`
    Unsigned,
    /// `i64`
    Signed,
}

/// The body that an operation takes.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestBody {
    /// No body.
    None,
    /// A JSON object with these fields.
    Fields(Vec<BodyField>),
    /// A body that is not a JSON object with known fields. The text describes it for messages.
    Other(String),
}

/// A field of a schema or a parameter of an operation.
pub struct ApiField {
    /// Whether it is required.
    pub required: bool,
    /// Its type with all constraints, or the reason why clients cannot read that type.
    pub shape: Result<Shape, ShapeError>,
}

impl Api {
    /// Reads the document.
    ///
    /// # Errors
    /// A syntax error, or every operation without an id.
    pub fn load(source: &SourceFile) -> Result<Self, Vec<Problem>> {
        Self::load_all(source, None)
    }

    /// Reads the document, and adds its extensions if there are any.
    ///
    /// # Errors
    /// A syntax error, a part of the extensions that does not fit, or every operation without an
    /// id.
    pub fn load_all(
        source: &SourceFile,
        extensions: Option<&SourceFile>,
    ) -> Result<Self, Vec<Problem>> {
        let mut document = parse(source)?;
        if let Some(extensions) = extensions {
            crate::extensions::merge(&mut document, &parse(extensions)?)
                .map_err(|error| vec![Problem::new(&extensions.name, 1, error.to_string())])?;
        }
        references::check(&document)
            .map_err(|chain| vec![circular_reference(&chain, source, extensions)])?;
        let mut api = Self {
            operations: BTreeMap::new(),
            document,
        };
        let mut problems = Vec::new();
        for (path, method, item, operation) in operations(&api.document) {
            let is_extension = |extensions: &&SourceFile| {
                path.starts_with("/x/") && extensions.text.contains(&format!("{path}:"))
            };
            let source = extensions.filter(is_extension).unwrap_or(source);
            let Some(id) = operation["operationId"].as_str() else {
                let text = format!(
                    "{} {path} has no `operationId` (add one)",
                    method.to_uppercase()
                );
                problems.push(Problem::new(
                    &source.name,
                    line_of(&source.text, &format!("{path}:")),
                    text,
                ));
                continue;
            };
            let line = line_of(&source.text, &format!("operationId: {id}"));
            let mut operation = api.operation(method, line, item, operation);
            operation.file.clone_from(&source.name);
            api.operations.insert(id.to_owned(), operation);
        }
        if problems.is_empty() {
            Ok(api)
        } else {
            Err(problems)
        }
    }

    fn operation(&self, method: &str, line: u64, item: &Value, operation: &Value) -> Operation {
        let lists = [operation, item].map(|owner| owner["parameters"].as_array());
        let mut parameters: Vec<Parameter> = Vec::new();
        for parameter in lists.into_iter().flatten().flatten() {
            let parameter = self.follow(parameter);
            let text = |key: &str| parameter[key].as_str().unwrap_or_default().to_owned();
            let (name, location) = (text("name"), text("in"));
            // A parameter of the operation replaces one of its path (OpenAPI 3.0.3, "Path Item
            // Object").
            let is_same = |known: &Parameter| known.name == name && known.location == location;
            if !parameters.iter().any(is_same) {
                parameters.push(Parameter {
                    name,
                    location,
                    required: parameter["required"].as_bool().unwrap_or(false),
                    schema: parameter["schema"].clone(),
                });
            }
        }
        let content = &self.follow(&operation["requestBody"])["content"];
        let body = content["application/json"]["schema"].clone();
        let body_name = body["$ref"]
            .as_str()
            .and_then(|path| path.rsplit('/').next());
        let media_types = content.as_object().into_iter().flatten();
        let mut others = media_types.map(|(name, _)| name).filter(|_| body.is_null());
        Operation {
            method: method.to_uppercase(),
            file: String::new(),
            line,
            parameters,
            body_name: body_name.map(str::to_owned),
            other_body: others.next().cloned(),
            body: (!body.is_null()).then_some(body),
        }
    }

    /// Finds `Schema.field`, `operationId.parameter`, or a field of the operation's body.
    ///
    /// # Errors
    /// The part of the reference that does not exist, with the closest known name.
    pub fn field(&self, reference: &str) -> Result<ApiField, ReferenceError> {
        let (owner, name) = reference
            .split_once('.')
            .ok_or_else(|| ReferenceError::Syntax(reference.to_owned()))?;
        let schemas = self.document["components"]["schemas"].as_object();
        if let Some(schema) = schemas.and_then(|schemas| schemas.get(owner)) {
            return self.property(reference, owner, schema, name, &[]);
        }
        let Some(operation) = self.operations.get(owner) else {
            let known: Vec<_> = schemas
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .collect();
            let known = known
                .into_iter()
                .chain(self.operations.keys().map(String::as_str));
            let hint = suggestion(owner, known);
            return Err(ReferenceError::UnknownOwner {
                reference: reference.to_owned(),
                owner: owner.to_owned(),
                hint,
            });
        };
        if let Some(parameter) = operation
            .parameters
            .iter()
            .find(|parameter| parameter.name == name)
        {
            return Ok(ApiField {
                required: parameter.required,
                shape: self.shape(&parameter.schema),
            });
        }
        let others: Vec<_> = operation
            .parameters
            .iter()
            .map(|parameter| parameter.name.as_str())
            .collect();
        match &operation.body {
            Some(body) => self.property(reference, owner, body, name, &others),
            None => Err(ReferenceError::UnknownField {
                reference: reference.to_owned(),
                owner: owner.to_owned(),
                field: name.to_owned(),
                hint: suggestion(name, others),
            }),
        }
    }

    /// The names of the required parameters of an operation.
    pub fn required_parameters(&self, id: &str) -> Vec<&str> {
        let parameters = self
            .operations
            .get(id)
            .into_iter()
            .flat_map(|operation| &operation.parameters);
        parameters
            .filter(|parameter| parameter.required)
            .map(|parameter| parameter.name.as_str())
            .collect()
    }

    /// Whether the operation has a parameter with this name.
    pub fn has_parameter(&self, id: &str, name: &str) -> bool {
        let operation = self.operations.get(id);
        operation.is_some_and(|operation| {
            let mut parameters = operation.parameters.iter();
            parameters.any(|parameter| parameter.name == name)
        })
    }

    /// The name of the schema that the body of the operation refers to.
    pub fn body_name(&self, id: &str) -> Option<&str> {
        self.operations.get(id)?.body_name.as_deref()
    }

    /// The body that the operation takes.
    pub fn body(&self, id: &str) -> RequestBody {
        let Some(operation) = self.operations.get(id) else {
            return RequestBody::None;
        };
        let Some(body) = &operation.body else {
            let other = operation.other_body.as_ref();
            return other.map_or(RequestBody::None, |kind| {
                RequestBody::Other(format!("of type {kind}"))
            });
        };
        let merged = match self.merged(body) {
            Ok(merged) => merged,
            Err(reason) => return RequestBody::Other(format!("that {reason}")),
        };
        let Some(properties) = merged.get("properties").and_then(Value::as_object) else {
            return RequestBody::Other("without fields".to_owned());
        };
        let required = merged.get("required").and_then(Value::as_array);
        let fields = properties.iter().map(|(name, schema)| {
            let required = required.is_some_and(|names| names.iter().any(|other| other == name));
            BodyField {
                name: name.clone(),
                required,
                optional: self.is_nullable(schema) || !required,
                scalar: self.scalar(schema),
            }
        });
        RequestBody::Fields(fields.collect())
    }

    /// The client's type for a field with this schema. Patterns, bounds, time formats and defaults
    /// do not matter, since the transforms of [`crate::api`] remove them from the client.
    fn scalar(&self, schema: &Value) -> Option<ScalarType> {
        let schema = Value::Object(self.merged(schema).ok()?);
        let bare = |keys: &[&str]| keys.iter().all(|key| schema.get(key).is_none());
        let at_least_zero = schema["minimum"].as_f64().is_some_and(|least| least >= 0.0);
        match (schema["type"].as_str()?, schema["format"].as_str()) {
            ("array", _) => {
                let items = self.merged(&schema["items"]).ok()?;
                let is_array = items.get("type").is_some_and(|kind| kind == "array");
                if is_array {
                    None
                } else {
                    self.scalar(&schema["items"])
                }
            }
            ("string", Some("uuid")) => Some(ScalarType::Uuid),
            ("string", None | Some("date-time" | "password")) => {
                bare(&["enum", "minLength", "maxLength"]).then_some(ScalarType::Text)
            }
            ("boolean", _) => Some(ScalarType::Boolean),
            ("number", _) => Some(ScalarType::Number),
            ("integer", _) if at_least_zero => Some(ScalarType::Unsigned),
            ("integer", None | Some("int64")) => Some(ScalarType::Signed),
            _ => None,
        }
    }

    fn is_nullable(&self, schema: &Value) -> bool {
        let schema = self.follow(schema);
        let mut parts = schema["allOf"].as_array().into_iter().flatten();
        schema["nullable"] == true || parts.any(|part| self.is_nullable(part))
    }

    fn property(
        &self,
        reference: &str,
        owner: &str,
        schema: &Value,
        name: &str,
        others: &[&str],
    ) -> Result<ApiField, ReferenceError> {
        let merged = self
            .merged(schema)
            .map_err(|source| ReferenceError::Schema {
                reference: reference.to_owned(),
                owner: owner.to_owned(),
                source: Box::new(source),
            })?;
        let properties = merged.get("properties").and_then(Value::as_object);
        let Some(property) = properties.and_then(|properties| properties.get(name)) else {
            let known = properties
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str());
            let known: Vec<_> = known.chain(others.iter().copied()).collect();
            return Err(ReferenceError::UnknownField {
                reference: reference.to_owned(),
                owner: owner.to_owned(),
                field: name.to_owned(),
                hint: suggestion(name, known),
            });
        };
        let required = merged.get("required").and_then(Value::as_array);
        let required = required.is_some_and(|required| required.iter().any(|other| other == name));
        Ok(ApiField {
            required,
            shape: self.shape(property),
        })
    }

    /// Reduces a schema to the part that every client can read. Fails if there is no such part.
    fn shape(&self, schema: &Value) -> Result<Shape, ShapeError> {
        self.shape_within(schema, &Expansion::default())
    }

    /// Reduces a schema that is the item or the value of others.
    fn shape_within(&self, schema: &Value, outer: &Expansion) -> Result<Shape, ShapeError> {
        let expansion = outer.enter(schema).map_err(ShapeError::CircularReference)?;
        let merged = self.merged(schema)?;
        if merged.contains_key("properties") {
            return Err(ShapeError::Fields);
        }
        let Some(kind) = merged.get("type").and_then(Value::as_str) else {
            return Err(ShapeError::NoType);
        };
        let mut shape = Shape::of(kind);
        for (key, value) in &merged {
            match key.as_str() {
                "type" => {}
                "items" => shape.items = Some(Box::new(self.shape_within(value, &expansion)?)),
                "additionalProperties" if value.is_object() => {
                    shape.additional_properties =
                        Some(Box::new(self.shape_within(value, &expansion)?));
                }
                _ => shape.set(key, value)?,
            }
        }
        Ok(shape)
    }

    /// The schema with references resolved and the parts of `allOf` merged. Its own keywords
    /// replace those of its parts.
    fn merged(&self, schema: &Value) -> Result<Map<String, Value>, ShapeError> {
        let mut merged = Map::new();
        let schema = self.follow(schema);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            overlay(&mut merged, self.merged(part)?);
        }
        for (key, value) in schema.as_object().into_iter().flatten() {
            match key.as_str() {
                "allOf" => {}
                "oneOf" | "anyOf" | "not" => return Err(ShapeError::Combinator(key.clone())),
                "nullable" | "example" | "title" | "deprecated" | "readOnly" | "writeOnly" => {}
                _ => overlay(&mut merged, Map::from_iter([(key.clone(), value.clone())])),
            }
        }
        Ok(merged)
    }

    fn follow<'a>(&'a self, value: &'a Value) -> &'a Value {
        let mut value = value;
        while let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            value = self
                .document
                .pointer(reference.trim_start_matches('#'))
                .unwrap_or(&Value::Null);
        }
        value
    }
}

fn parse(source: &SourceFile) -> Result<Value, Vec<Problem>> {
    serde_yaml::from_str(&source.text).map_err(|error| {
        let line = error.location().map_or(1, |place| place.line());
        let text = error.without_snippet().to_string();
        let text = text.split(", set ").next().unwrap_or_default();
        let text = text.split(" at line ").next().unwrap_or_default();
        let text = format!("{text} (correct the YAML)");
        vec![Problem::new(&source.name, line, text)]
    })
}

/// The problem of a reference that leads back to itself.
fn circular_reference(
    chain: &[String],
    source: &SourceFile,
    extensions: Option<&SourceFile>,
) -> Problem {
    let first = chain.first().map(String::as_str).unwrap_or_default();
    let name = format!("{}:", first.rsplit('/').next().unwrap_or_default());
    let is_elsewhere = |_: &&SourceFile| !source.text.contains(&name);
    let source = extensions.filter(is_elsewhere).unwrap_or(source);
    let text = format!(
        "the reference {} leads back to itself (remove one of its parts)",
        references::chain_text(chain)
    );
    Problem::new(&source.name, line_of(&source.text, &name), text)
}

fn operations(document: &Value) -> Vec<(&str, &str, &Value, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths
        .flat_map(|(path, item)| {
            let methods = ["get", "head", "post", "put", "patch", "delete"];
            methods
                .into_iter()
                .filter_map(move |method| Some((path.as_str(), method, item, item.get(method)?)))
        })
        .collect()
}

/// The number of the first line with `wanted`, without a letter or digit after it; 1 if there is
/// none.
fn line_of(text: &str, wanted: &str) -> u64 {
    let has_word = |line: &str| {
        line.match_indices(wanted).any(|(start, _)| {
            let next = line[start + wanted.len()..].chars().next();
            next.is_none_or(|next| !next.is_ascii_alphanumeric())
        })
    };
    let position = text.lines().position(has_word);
    position.map_or(1, |position| position as u64 + 1)
}
