//! Errors in single values of the manifest. A problem quotes such an error and gives its position.

use serde_json::Value;

/// The reason why a schema or a value does not fit the types of arguments.
///
/// The messages of schemas from the API document continue a sentence that names the schema.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ShapeError {
    /// The schema is a combination of others.
    #[error("is a {0}")]
    Combinator(String),
    /// The schema is an object with its own fields.
    #[error("is an object with fields of its own")]
    Fields,
    /// The schema contains itself, and arguments have no types with names.
    #[error("contains itself ({0})")]
    CircularReference(String),
    /// The schema has no type.
    #[error("has no type")]
    NoType,
    /// A keyword is not supported.
    #[error("has `{0}`, which input schemas do not support")]
    Keyword(String),
    /// A type of the manifest is a union.
    #[error(
        "`{0}` is a union, which many clients cannot read (choose one type, and say in `doc` how it \
         is read)"
    )]
    Union(String),
    /// A type of the manifest is unknown.
    #[error(
        "`{0}` is not a type (write string, integer, number, boolean, `array of …` or `map of …`)"
    )]
    UnknownType(String),
    /// A value does not have the required type.
    #[error("{value} is not of type {kind}")]
    WrongType {
        /// The value.
        value: Value,
        /// The required type.
        kind: String,
    },
    /// A number is below the minimum.
    #[error("{value} is less than {least}")]
    TooSmall {
        /// The number.
        value: f64,
        /// The minimum.
        least: f64,
    },
    /// A number is above the maximum.
    #[error("{value} is more than {most}")]
    TooLarge {
        /// The number.
        value: f64,
        /// The maximum.
        most: f64,
    },
    /// A value is not one of the choices.
    #[error("{value} is not one of {}", Value::from(choices.clone()))]
    NotAChoice {
        /// The value.
        value: Value,
        /// The choices.
        choices: Vec<Value>,
    },
}

/// An error in a reference to the API document.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReferenceError {
    /// The reference has no dot.
    #[error("`{0}` is not a reference (write `Schema.field` or `operationId.parameter`)")]
    Syntax(String),
    /// The first part is unknown.
    #[error("`{reference}`: the API document has no schema or operation `{owner}`{hint}")]
    UnknownOwner {
        /// The reference.
        reference: String,
        /// Its first part.
        owner: String,
        /// The suggestion of a known name.
        hint: String,
    },
    /// The second part is unknown.
    #[error("`{reference}`: `{owner}` has no `{field}`{hint}")]
    UnknownField {
        /// The reference.
        reference: String,
        /// Its first part.
        owner: String,
        /// Its second part.
        field: String,
        /// The suggestion of a known name.
        hint: String,
    },
    /// The schema has no fields that can be read.
    #[error("`{reference}`: `{owner}` {source}")]
    Schema {
        /// The reference.
        reference: String,
        /// Its first part.
        owner: String,
        /// The reason.
        source: Box<ShapeError>,
    },
}

/// An error in the URI of a resource template.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UriTemplateError {
    /// The URI does not begin with the scheme of the project.
    #[error("`{uri}` does not begin with `{scheme}://` (add that prefix)")]
    Scheme {
        /// The URI.
        uri: String,
        /// The scheme of the project.
        scheme: String,
    },
    /// A variable is invalid or repeated.
    #[error("`{{{0}}}` is not a valid variable, or occurs twice (rename it)")]
    Variable(String),
    /// A segment is neither a word nor a variable.
    #[error("`{0}` is not a valid segment of the URI (write a word, or one variable in braces)")]
    Segment(String),
    /// The URI has no variable.
    #[error("`{0}` has no variable (add one, or make the text a guide)")]
    NoVariable(String),
}
