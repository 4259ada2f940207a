//! The part of JSON Schema that every client understands.

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::ShapeError;

/// A portable schema, which clients receive in serialised form. Each node has one type, no
/// references and no combinators.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shape {
    /// The type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A format that the server checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// A regular expression (ECMAScript).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The allowed values.
    #[serde(rename = "enum", skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<Value>>,
    /// The smallest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Value>,
    /// The largest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Value>,
    /// The least length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u64>,
    /// The greatest length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    /// The schema of the items of an array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Box<Shape>>,
    /// The schema of the values of a map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_properties: Option<Box<Shape>>,
    /// The value if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// The formats that are useful to a client. The others only state the size of a number.
pub(super) const FORMATS: [&str; 3] = ["uuid", "date-time", "password"];

impl Shape {
    /// Creates a schema with only a type.
    pub fn of(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            ..Self::default()
        }
    }

    /// Reads `string`, `array of string`, `map of integer` and so on.
    ///
    /// # Errors
    /// A union or an unknown type. The message names the valid types.
    pub fn parse(text: &str) -> Result<Self, ShapeError> {
        if let Some(items) = text.strip_prefix("array of ") {
            return Ok(Self {
                items: Some(Box::new(Self::parse(items)?)),
                ..Self::of("array")
            });
        }
        if let Some(values) = text.strip_prefix("map of ") {
            return Ok(Self {
                additional_properties: Some(Box::new(Self::parse(values)?)),
                ..Self::of("object")
            });
        }
        match text {
            "string" | "integer" | "number" | "boolean" => Ok(Self::of(text)),
            _ if text.contains(['|', ',']) || text.contains(" or ") => {
                Err(ShapeError::Union(text.to_owned()))
            }
            _ => Err(ShapeError::UnknownType(text.to_owned())),
        }
    }

    /// Sets one keyword of a schema from the API document.
    ///
    /// # Errors
    /// Fails if the keyword is not supported, so that no keyword is ignored silently.
    pub fn set(&mut self, key: &str, value: &Value) -> Result<(), ShapeError> {
        match key {
            "format" => {
                self.format = value
                    .as_str()
                    .filter(|name| FORMATS.contains(name))
                    .map(str::to_owned)
            }
            "pattern" => self.pattern = value.as_str().map(str::to_owned),
            "enum" => self.choices = value.as_array().cloned(),
            "minimum" => self.minimum = Some(value.clone()),
            "maximum" => self.maximum = Some(value.clone()),
            "minLength" => self.min_length = value.as_u64(),
            "maxLength" => self.max_length = value.as_u64(),
            "default" => {
                self.default = Some(value.clone()).filter(|value| !is_empty_collection(value))
            }
            // The description of the API's field does not fit the argument of a tool, which has its
            // own description.
            "description" => {}
            _ => return Err(ShapeError::Keyword(key.to_owned())),
        }
        Ok(())
    }

    /// Checks `value` against the type, the bounds and the choices. Lengths, patterns and items are
    /// not checked.
    ///
    /// # Errors
    /// The violated constraint.
    pub fn admits(&self, value: &Value) -> Result<(), ShapeError> {
        let fits = match self.kind.as_str() {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            _ => value.is_object(),
        };
        if !fits {
            return Err(ShapeError::WrongType {
                value: value.clone(),
                kind: self.kind.clone(),
            });
        }
        let number = |bound: &Option<Value>| bound.as_ref().and_then(Value::as_f64);
        if let (Some(value), Some(least)) = (value.as_f64(), number(&self.minimum))
            && value < least
        {
            return Err(ShapeError::TooSmall { value, least });
        }
        if let (Some(value), Some(most)) = (value.as_f64(), number(&self.maximum))
            && value > most
        {
            return Err(ShapeError::TooLarge { value, most });
        }
        match &self.choices {
            Some(choices) if !choices.contains(value) => Err(ShapeError::NotAChoice {
                value: value.clone(),
                choices: choices.clone(),
            }),
            _ => Ok(()),
        }
    }
}

fn is_empty_collection(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}
